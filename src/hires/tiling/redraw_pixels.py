"""What happens to the pixels of a redrawn tile: brought to its crop's size, locked to the source, laid on the canvas.

Pictures are (batch, height, width, 3) float32 in 0..1, masks (height, width).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, pad

from hires.imaging.resample import lanczos
from hires.imaging.resize_modes import centred, covering_size, fitting_size
from hires.tiling.redraw import CELL, Job, Round

Size = tuple[int, int]


def resize(image: Tensor, size: Size) -> Tensor:
    """Lanczos to (height, width), in 8 bits."""
    if tuple(image.shape[1:3]) == size:
        return image
    return lanczos(image.movedim(-1, 1), size[1], size[0]).movedim(1, -1)


def resize_and_fill(image: Tensor, size: Size) -> Tensor:
    """The whole picture in a frame (height, width), its outermost lines drawn out where the aspect differs (A1111)."""
    height, width = image.shape[1:3]
    tall, wide = size
    inner = fitting_size((width, height), (wide, tall))
    scaled = resize(image, inner[::-1])
    top, left = centred(tall, scaled.shape[1]), centred(wide, scaled.shape[2])
    margins = (left, wide - scaled.shape[2] - left, top, tall - scaled.shape[1] - top)
    return pad(scaled.movedim(-1, 1), margins, mode="replicate").movedim(1, -1)


def crop_and_resize(image: Tensor, size: Size) -> Tensor:
    """What `resize_and_fill` put into a frame, brought back to (height, width): the middle of that aspect (A1111)."""
    height, width = image.shape[1:3]
    tall, wide = size
    outer = covering_size((width, height), (wide, tall))
    scaled = resize(image, outer[::-1])
    top, left = -centred(tall, scaled.shape[1]), -centred(wide, scaled.shape[2])
    return scaled[:, top : top + tall, left : left + wide]


def to_bytes(image: Tensor) -> Tensor:
    """The picture's 256 levels, cut off as the originals do; still float32 in 0..1."""
    return (image.clamp(0, 1) * 255).floor() / 255


def low_frequencies(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of (batch, height, width, channels) that takes no account of what lies beyond the border."""
    radius = max(1, int(3 * sigma + 0.5))
    line = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    planes = image.movedim(-1, 1).flatten(0, 1)[:, None]
    height, width = planes.shape[-2:]
    blurred = conv2d(planes, line[None, None, :, None], padding=(radius, 0))
    blurred = conv2d(blurred, line[None, None, None, :], padding=(0, radius))
    down, across = _mass(height, line), _mass(width, line)
    blurred = blurred / (down[:, None] * across[None, :])
    return blurred[:, 0].unflatten(0, (image.shape[0], image.shape[-1])).movedim(1, -1)


def _mass(length: int, line: Tensor) -> Tensor:
    return conv1d(torch.ones(1, 1, length), line[None, None], padding=len(line) // 2)[0, 0]


def locked(image: Tensor, source: Tensor, strength: float, sigma: float) -> Tensor:
    """The image with its low frequencies drawn to the source's: out + strength * blur(source - out).

    Keeps a tile from drifting in tone and composition; detail finer than sigma stays the image's.
    """
    if strength <= 0:
        return image
    return (image + strength * low_frequencies(source - image, sigma)).clamp(0, 1)


def on_cells(image: Tensor) -> Tensor:
    """The picture with its last lines repeated until both sides are multiples of 8."""
    height, width = image.shape[1:3]
    down, across = -height % CELL, -width % CELL
    if not (down or across):
        return image
    return pad(image.movedim(-1, 1), (0, across, 0, down), mode="replicate").movedim(1, -1)


class Canvas:
    """A picture that is being redrawn: what it was when a round began, and what the round has laid on it so far."""

    def __init__(self, image: Tensor, round_: Round) -> None:
        self._blends, self._sees = round_.joined == "blend", round_.sees_former
        self.image = image if self._blends else image.clone()
        height, width = image.shape[1:3]
        if self._blends:
            self._sum = torch.zeros_like(image)
            self._weight = torch.zeros(height, width)

    def view(self, job: Job) -> Tensor:
        """What a job is shown: the canvas as it stands, or as it was before the round."""
        if not self._blends or not self._sees:
            return self._part(self.image, job)
        return self._mixed(job)

    def lay(self, job: Job, tile: Tensor) -> None:
        """Lay a redrawn tile, of the crop's size, on the canvas by the job's mask."""
        mask = job.mask()
        place = (slice(None), *job.crop.slices)
        if self._blends:
            self._sum[place] += tile * mask[..., None]
            self._weight[job.crop.slices] += mask
            return
        alpha, bytes_ = (mask * 255).round()[..., None], (to_bytes(tile) * 255).round()
        below = (self.image[place] * 255).round()
        self.image[place] = ((bytes_ * alpha + below * (255 - alpha)) / 255 + 0.5).floor() / 255

    def finished(self) -> Tensor:
        """The canvas after the round."""
        if not self._blends:
            return self.image
        return (self._sum + self.image * (1 - self._weight.clamp(max=1))[..., None]).clamp(0, 1)

    def _mixed(self, job: Job) -> Tensor:
        rest = (1 - self._weight[job.crop.slices].clamp(max=1))[..., None]
        return (self._part(self._sum, job) + self._part(self.image, job) * rest).clamp(0, 1)

    @staticmethod
    def _part(image: Tensor, job: Job) -> Tensor:
        rows, columns = job.crop.slices
        return image[:, rows, columns]
