"""ParseNet: which part of an upright face each pixel is (skin, eyes, hair, background ... 19 of them).

The layout of the weights is that of the file that is about under the name parsing_parsenet.pth.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad

PUT_BACK = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)
"""Skin, brows, eyes, glasses, ears, nose, mouth and lips. Background (0), hat, hair and clothes stay the picture's."""
SLOPE = 0.2


class Convolution(nn.Module):
    """A 3x3 convolution, mirrored at the border; `resize` is "up" (before it), "down" (a stride of 2) or ""."""

    def __init__(
        self, inputs: int, outputs: int, resize: str = "", *, norm: bool = False, active: bool = False
    ) -> None:
        super().__init__()
        self.resize, self.active = resize, active
        self.conv2d = nn.Conv2d(inputs, outputs, 3, stride=2 if resize == "down" else 1, bias=not norm)
        if norm:
            self.norm = nn.ModuleDict({"norm": nn.BatchNorm2d(outputs)})

    def forward(self, x: Tensor) -> Tensor:
        if self.resize == "up":
            x = interpolate(x, scale_factor=2, mode="nearest")
        x = self.conv2d(pad(x, (1, 1, 1, 1), mode="reflect"))
        if hasattr(self, "norm"):
            x = self.norm["norm"](x)
        return leaky_relu(x, SLOPE) if self.active else x


class Residual(nn.Module):
    """Two convolutions beside a shortcut, at another size or not."""

    def __init__(self, inputs: int, outputs: int, resize: str = "") -> None:
        super().__init__()
        if resize or inputs != outputs:
            self.shortcut_func = Convolution(inputs, outputs, resize)
        up, down = (resize if resize == kind else "" for kind in ("up", "down"))
        self.conv1 = Convolution(inputs, outputs, up, norm=True, active=True)
        self.conv2 = Convolution(outputs, outputs, down, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut_func(x) if hasattr(self, "shortcut_func") else x
        made: Tensor = shortcut + self.conv2(self.conv1(x))
        return made


class ParseNet(nn.Module):
    """(batch, 3, h, w) in -1..1 -> (batch, 19, h, w), a logit for each part of a face."""

    def __init__(self, encoder: list[tuple[int, int]], body: int, decoder: list[tuple[int, int]], parts: int) -> None:
        super().__init__()
        first, last = encoder[0][0], decoder[-1][1]
        self.encoder = nn.Sequential(Convolution(3, first), *(Residual(a, b, "down") for a, b in encoder))
        self.body = nn.Sequential(*(Residual(encoder[-1][1], encoder[-1][1]) for _ in range(body)))
        self.decoder = nn.Sequential(*(Residual(a, b, "up") for a, b in decoder))
        self.out_mask_conv = Convolution(last, parts)
        self.out_img_conv = Convolution(last, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        made: Tensor = self.out_mask_conv(self.decoder(features + self.body(features)))
        return made


def build_parsenet(state: Mapping[str, Tensor]) -> ParseNet:
    """The network that a file's tensors belong to, its sizes read from them. KeyError where one is missing."""

    def widths(part: str, first: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        while (weight := state.get(f"{part}.{first + len(found)}.conv1.conv2d.weight")) is not None:
            found.append((int(weight.shape[1]), int(weight.shape[0])))
        return found

    encoder, body, decoder = widths("encoder", 1), widths("body", 0), widths("decoder", 0)
    if not encoder or not decoder:
        raise KeyError("encoder.1.conv1.conv2d.weight")
    network = ParseNet(encoder, len(body), decoder, len(state["out_mask_conv.conv2d.weight"]))
    network.load_state_dict(dict(state))
    return network.eval()


@torch.inference_mode()
def face_mask(network: ParseNet, face: Tensor) -> Tensor:
    """An upright face (size, size, 3) in 0..1 -> (size, size), 1 where it is put back into the picture."""
    where = next(network.parameters()).device
    parts = network((face * 2 - 1).movedim(-1, 0)[None].to(where)).argmax(dim=1)[0].cpu()
    return torch.isin(parts, torch.tensor(PUT_BACK)).float()
