"""RetinaFace with a ResNet-50: boxes and five points of every face in a picture.

Source: Deng and others, RetinaFace: Single-stage Dense Face Localisation in the Wild (2019). The layout of the weights
is that of the PyTorch file that is about under the name detection_Resnet50_Final.pth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu
from torchvision.models import resnet50
from torchvision.ops import nms

STRIDES = (8, 16, 32)
SIDES = ((16, 32), (64, 128), (256, 512))
"""Of the square anchors at each stride, pixels."""
ANCHORS = 2
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MEANS = (123.0, 117.0, 104.0)
"""Of red, green and blue in 0..255. The network takes blue first."""
POINTS = 5
CHANNELS = 256


@dataclass(frozen=True)
class Face:
    """A found face: box (left, top, right, bottom) and the points (5, 2) of eyes, nose and mouth in pixels."""

    score: float
    box: NDArray[np.float64]
    points: NDArray[np.float64]

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes."""
        return float(np.linalg.norm(self.points[0] - self.points[1]))


def convolution(inputs: int, outputs: int, side: int, *, active: bool = True) -> nn.Sequential:
    """A convolution without bias, batch norm and, if `active`, ReLU."""
    layers = [nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if active else []))


class Pyramid(nn.Module):
    """Features of three strides, each with those of the coarser ones added."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (convolution(width, channels, 1) for width in widths)
        self.merge1, self.merge2 = convolution(channels, channels, 3), convolution(channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(features[0]), self.output2(features[1]), self.output3(features[2])
        middle = self.merge2(middle + interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return fine, middle, coarse


class Context(nn.Module):
    """Convolutions of reach 3, 5 and 7 side by side (SSH)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.conv3X3 = convolution(channels, half, 3, active=False)
        self.conv5X5_1 = convolution(channels, quarter, 3)
        self.conv5X5_2 = convolution(quarter, quarter, 3, active=False)
        self.conv7X7_2 = convolution(quarter, quarter, 3)
        self.conv7x7_3 = convolution(quarter, quarter, 3, active=False)

    def forward(self, x: Tensor) -> Tensor:
        near = self.conv5X5_1(x)
        far = self.conv7x7_3(self.conv7X7_2(near))
        return relu(torch.cat([self.conv3X3(x), self.conv5X5_2(near), far], dim=1))


class Head(nn.Module):
    """`numbers` for each anchor at each place."""

    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.conv1x1 = nn.Conv2d(channels, ANCHORS * numbers, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).movedim(1, -1).reshape(len(x), -1, self.numbers)


class RetinaFace(nn.Module):
    """(1, 3, h, w) of blue, green and red less their means -> (n, 4) boxes, (n, 2) logits, (n, 10) points, of all
    anchors: relative to them, see `decoded`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet50(weights=None)
        del self.body.avgpool, self.body.fc
        self.fpn = Pyramid((512, 1024, 2048), CHANNELS)
        self.ssh1, self.ssh2, self.ssh3 = Context(CHANNELS), Context(CHANNELS), Context(CHANNELS)
        self.ClassHead = nn.ModuleList(Head(CHANNELS, 2) for _ in STRIDES)
        self.BboxHead = nn.ModuleList(Head(CHANNELS, 4) for _ in STRIDES)
        self.LandmarkHead = nn.ModuleList(Head(CHANNELS, 2 * POINTS) for _ in STRIDES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        body = self.body
        x = body.layer1(body.maxpool(body.relu(body.bn1(body.conv1(x)))))
        features = []
        for layer in (body.layer2, body.layer3, body.layer4):
            x = layer(x)
            features.append(x)
        contexts = (self.ssh1, self.ssh2, self.ssh3)
        wide = [context(level) for context, level in zip(contexts, self.fpn(features), strict=True)]
        boxes, classes, points = (
            torch.cat([head(level) for head, level in zip(heads, wide, strict=True)], dim=1)[0]
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, classes, points


def anchors(height: int, width: int) -> Tensor:
    """(n, 4): centre x and y, width and height of every anchor in pixels, in the order of the network's output."""
    found = []
    for stride, sides in zip(STRIDES, SIDES, strict=True):
        rows, columns = torch.arange(math.ceil(height / stride)), torch.arange(math.ceil(width / stride))
        places = ((rows + 0.5) * stride, (columns + 0.5) * stride, torch.tensor(sides).float())
        y, x, side = torch.meshgrid(*places, indexing="ij")
        found.append(torch.stack([x, y, side, side], dim=-1).reshape(-1, 4))
    return torch.cat(found)


def decoded(boxes: Tensor, points: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """The network's boxes (n, 4) and points (n, 10) in pixels: left, top, right, bottom and (n, 5, 2)."""
    centre, size = priors[:, :2], priors[:, 2:]
    middle = centre + boxes[:, :2] * CENTRE_VARIANCE * size
    half = size * torch.exp(boxes[:, 2:] * SIZE_VARIANCE) / 2
    places = centre[:, None] + points.reshape(-1, POINTS, 2) * CENTRE_VARIANCE * size[:, None]
    return torch.cat([middle - half, middle + half], dim=1), places


@torch.inference_mode()
def find_faces(network: RetinaFace, picture: Tensor, score: float = 0.97, overlap: float = 0.4) -> list[Face]:
    """The faces in a picture (h, w, 3) in 0..1, the surest first. Boxes that overlap a surer one by more are dropped.

    The thresholds are the A1111 web UI's.
    """
    where = next(network.parameters()).device
    pixels = (picture * 255 - torch.tensor(MEANS)).flip(-1).movedim(-1, 0)[None].to(where)
    boxes, classes, points = (made.cpu().float() for made in network(pixels))
    scores = classes.softmax(dim=-1)[:, 1]
    sure = (scores > score).nonzero().flatten()
    found, places = decoded(boxes[sure], points[sure], anchors(*picture.shape[:2])[sure])
    kept = nms(found, scores[sure], overlap)
    return [Face(float(scores[sure[one]]), found[one].double().numpy(), places[one].double().numpy()) for one in kept]
