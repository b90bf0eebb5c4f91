#!/usr/bin/env python3
"""Benchmarks the same model in PyTorch, from uint8 pixels on the host to codes on the host. Batch
norms are folded, memory is channels-last, the three heads are unrolled as one batched product,
without gradients: what a careful user would write. Forms:
  eager     as written, with weights in the type
  autocast  weights in fp32, and autocast to the type
  graphs    eager, recorded once as a CUDA graph and replayed
  compile   torch.compile
Prints a line of JSON for each form, type and batch: images a second. `cargo bench --bench encode`
prints this project's figures.
needs: torch==2.11.0
usage: encode_peer.py [--model models/cifar10.safetensors] [--device cpu|cuda] [--batches 1,32] [--types fp32,bf16] [--threads N]
                      [--forms eager,autocast,graphs,compile] [--few 8,32,256]: the batches of graphs and compile"""
import argparse, json, re, statistics, struct, sys, time

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    print(json.dumps({"skipped": f"PyTorch, which cannot be imported: {error}"}))
    sys.exit()

# blocks, kernel, stride of the first, expansion, input channels, output channels
STAGES = [(1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80), (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192),
          (1, 3, 1, 6, 192, 320)]
TYPES = {"F32": torch.float32, "F16": torch.float16}


def read(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    card = json.loads(header.pop("__metadata__")["scihcgrl"])
    return card, {
        name: torch.frombuffer(data, dtype=TYPES[t["dtype"]], offset=t["data_offsets"][0], count=max(1, torch.Size(t["shape"]).numel()))
        .reshape(t["shape"]).float() for name, t in header.items()}


class Model:
    def __init__(self, path, device, kind):
        self.card, w = read(path)
        self.device, self.kind = device, kind
        w = {name: tensor.to(device) for name, tensor in w.items()}
        conv = lambda name, norm, stride, groups: self.folded(w, name, norm, stride, groups)
        self.stem = conv("_conv_stem", "_bn0", 2, 1)
        self.blocks, at = [], 0
        for count, _, stride, expansion, into, out in STAGES:
            for i in range(count):
                into, stride, path = (into if i == 0 else out), (stride if i == 0 else 1), f"_blocks.{at}."
                wide, at = into * expansion, at + 1
                expand = conv(path + "_expand_conv", path + "_bn0", 1, 1) if expansion > 1 else None
                self.blocks.append((expand, conv(path + "_depthwise_conv", path + "_bn1", stride, wide),
                                    conv(path + "_project_conv", path + "_bn2", 1, 1), stride == 1 and into == out))
        self.head = conv("_conv_head", "_bn1", 1, 1)
        heads = [f"policy.{bits}." for bits in self.card["lengths"]]
        stack = lambda of: torch.stack([of(head) for head in heads])
        self.project = stack(lambda h: w[h + "project_weight"].T.contiguous())
        self.project_bias = stack(lambda h: w[h + "project_bias"][None])
        self.input = stack(lambda h: w[h + "weight_ih"].T.contiguous())
        self.both = stack(lambda h: (w[h + "weight_ih"] + w[h + "weight_hh"]).T.contiguous())
        self.bias = stack(lambda h: (w[h + "bias_ih"] + w[h + "bias_hh"])[None])
        self.action = stack(lambda h: w[h + "action_weight"].T.contiguous())
        self.action_bias = stack(lambda h: w[h + "action_bias"][None])
        self.mean, self.deviation = w["policy.feature_mean"], w["policy.feature_deviation"]
        self.pixels = [torch.tensor(self.card[name], device=device).view(3, 1, 1) for name in ("mean", "deviation")]

    def folded(self, w, name, norm, stride, groups):
        w = {key.removeprefix("backbone."): value for key, value in w.items() if re.match(rf"backbone\.({name}|{norm})\.", key)}
        scale = w[norm + ".weight"] / (w[norm + ".running_var"] + 1e-3).sqrt()
        weight = (w[name + ".weight"] * scale.view(-1, 1, 1, 1)).to(self.kind, memory_format=torch.channels_last)
        return weight, (w[norm + ".bias"] - w[norm + ".running_mean"] * scale).to(self.kind), stride, groups

    @staticmethod
    def conv(x, folded):
        weight, bias, stride, groups = folded
        kernel, side = weight.shape[-1], x.shape[-1]
        missing = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        if missing % 2:
            x, missing = F.pad(x, [missing // 2, missing - missing // 2] * 2), 0
        return F.conv2d(x, weight, bias, stride, missing // 2, 1, groups)

    def encode(self, rgb, autocast=None):  # [batch, side, side, 3] uint8 on the device
        if autocast is None:
            return self.policies(self.feature(rgb))
        with torch.autocast(self.device, autocast):
            feature = self.feature(rgb)
        return self.policies(feature)

    def feature(self, rgb):
        x = rgb.permute(0, 3, 1, 2).float().div_(255).sub_(self.pixels[0]).div_(self.pixels[1]).to(self.kind)
        x = F.relu6(self.conv(x, self.stem), True)
        for expand, depthwise, project, shortcut in self.blocks:
            y = F.relu6(self.conv(x, expand), True) if expand else x
            y = self.conv(F.relu6(self.conv(y, depthwise), True), project)
            x = x + y if shortcut else y
        return F.relu6(self.conv(x, self.head), True).mean((2, 3), dtype=torch.float32)

    def policies(self, x):  # [batch, feature]
        x = ((x - self.mean) / self.deviation)[None] @ self.project + self.project_bias
        states = [torch.tanh(x @ self.input + self.bias)]
        for _ in range(max(self.card["lengths"]) - 1):
            states.append(torch.baddbmm(self.bias, states[-1], self.both).tanh())
        return torch.stack(states) @ self.action + self.action_bias >= 0  # [bits, heads, batch, 1]


def form_of(name, model, rgb, kind):
    """Returns a function from pixels on the host to codes on the host."""
    device = model.device
    if name == "graphs":
        still, stream = rgb.to(device), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                model.encode(still)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            codes = model.encode(still)

        def replayed(rgb):
            still.copy_(rgb)
            graph.replay()
            return codes.cpu()

        return replayed
    encode = torch.compile(model.encode, dynamic=False) if name == "compile" else model.encode
    autocast = kind if name == "autocast" else None
    return lambda rgb: encode(rgb.to(device), autocast).cpu()


def rate(codes, rgb, seconds):
    for _ in range(5):
        codes(rgb)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        codes(rgb)
        times.append(time.perf_counter() - started)
    return len(rgb) / statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(number) for number in text.split(",")]
    names = lambda text: text.split(",")
    parser.add_argument("--model", default="models/cifar10.safetensors")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=numbers, default=[1, 32])
    parser.add_argument("--few", type=numbers, default=[8, 32, 256])
    parser.add_argument("--types", type=names, default=["fp32", "bf16"])
    parser.add_argument("--forms", type=names, default=["eager"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for form in options.forms:
        for name in options.types:
            kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
            if form == "autocast" and kind == torch.float32:
                continue
            model = Model(options.model, options.device, torch.float32 if form == "autocast" else kind)
            side = model.card["input_size"]
            for batch in options.few if form in ("graphs", "compile") else options.batches:
                rgb = torch.randint(256, (batch, side, side, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
                with torch.no_grad():
                    images = rate(form_of(form, model, rgb, kind), rgb, options.seconds)
                line = {"peer": "PyTorch", "form": form, "type": name, "batch": batch, "images_per_s": round(images, 1)}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
