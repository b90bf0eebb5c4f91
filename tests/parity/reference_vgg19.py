#!/usr/bin/env python3
"""Writes features_vgg19.f32, which tests/suite/models/parity compares with: fc7 features of
torchvision's VGG-19 on weights that both generate.
needs: torch==2.11.0 torchvision==0.26.0 numpy"""
import pathlib
import numpy
import torch
from torchvision.models import vgg19

STEP = 1 << 22


def noise(start, count):
    """Returns -1024...1023 for `count` entries from `start`, by Murmur's mixer of their numbers."""
    parts = []
    for at in range(start, start + count, STEP):
        x = numpy.arange(at, min(at + STEP, start + count), dtype=numpy.uint32) * numpy.uint32(0x9E3779B1)
        x ^= x >> 15
        x *= numpy.uint32(0x85EBCA6B)
        x ^= x >> 13
        x *= numpy.uint32(0xC2B2AE35)
        parts.append((x >> 21).astype(numpy.int32) - 1024)
    return torch.from_numpy(numpy.concatenate(parts))


def scale(shape):
    """Returns the power of two next to He's bound, sqrt(6 / inputs), divided by 1024; for a bias
    1/8, divided likewise."""
    if len(shape) == 1:
        return 2.0 ** -13
    inputs, power = int(numpy.prod(shape[1:])), 0
    while 12 * 4 ** power < inputs:
        power += 1
    return 2.0 ** -(power + 10)


def pattern(images, side):
    i, c, y, x = torch.meshgrid(*map(torch.arange, (images, 3, side, side)), indexing='ij')
    return (31 * i + 29 * c + 7 * x + 13 * y + x * y % 37 * 5) % 256


net, start = vgg19().eval(), 0
with torch.inference_mode():
    for tensor in net.state_dict().values():
        tensor.copy_((noise(start, tensor.numel()) * scale(tensor.shape)).view(tensor.shape))
        start += tensor.numel()
    net.classifier = net.classifier[:5]  # fc7 and its ReLU are the last
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    net.double()  # so that the reference has no rounding errors of its own
    features = torch.cat([net((pattern(*shape).double() / 255 - mean) / deviation) for shape in ((2, 96), (1, 224))])
out = pathlib.Path(__file__).with_name('features_vgg19.f32')
out.write_bytes(features.contiguous().numpy().astype('<f4').tobytes())
print(out, tuple(features.shape), 'of', start, 'weights; above 0:', float((features > 0).double().mean()), 'largest', float(features.max()))
