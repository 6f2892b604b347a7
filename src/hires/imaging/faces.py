"""Faces brought upright to one size and put back: similarity by five points, warp, soft mask.

A similarity is a (2, 3) matrix that takes a point (x, y, 1) of a picture to one of the upright face; pixel centres are
at whole numbers, as in OpenCV's warps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, grid_sample, pad

FACE_SIZE = 512
TEMPLATE: NDArray[np.float64] = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Eyes, tip of the nose and corners of the mouth of FFHQ's faces at 512x512, as facexlib has them."""
OUTSIDE = (132 / 255, 133 / 255, 135 / 255)
"""The grey that an upright face has where it leaves the picture (facexlib's)."""
BORDER, FADE = 10, 22
"""Pixels at the border of an upright face that are never put back, and over how many further ones it fades in."""
MASK_SIGMA = 11.0
MASK_RADIUS = 50

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """Part of a picture, in whole pixels; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.bottom - self.top, self.right - self.left


def similarity(points: NDArray[np.float64], goal: NDArray[np.float64] = TEMPLATE) -> Matrix:
    """The rotation, scale and shift that bring `points` (n, 2) nearest to `goal` in the least-squares sense.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns (1991), without
    mirroring. ValueError where all points are one.
    """
    mean, goal_mean = points.mean(axis=0), goal.mean(axis=0)
    x, y = (points - mean).T
    u, v = (goal - goal_mean).T
    spread = float((x * x + y * y).sum())
    if spread == 0 or not np.isfinite(spread):
        raise ValueError("the points of a face must differ")
    a, b = float((x * u + y * v).sum()) / spread, float((x * v - y * u).sum()) / spread
    linear = np.array([[a, -b], [b, a]])
    return np.concatenate([linear, (goal_mean - linear @ mean)[:, None]], axis=1)


def inverse(matrix: Matrix) -> Matrix:
    """The similarity that undoes another."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -(linear @ matrix[:, 2])[:, None]], axis=1)


def scale_of(matrix: Matrix) -> float:
    """How many times larger a similarity makes things."""
    return float(math.hypot(matrix[0, 0], matrix[1, 0]))


def moved(points: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    """(n, 2) -> (n, 2)"""
    made: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return made


def covered(matrix: Matrix, height: int, width: int, size: int = FACE_SIZE, around: int = 1) -> Box:
    """The part of a picture of that size that an upright face comes from, and so many pixels around it."""
    last = size - 1
    corners = moved(np.array([[0, 0], [last, 0], [0, last], [last, last]], dtype=np.float64), inverse(matrix))
    left, top = np.floor(corners.min(axis=0)).astype(int) - around
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1 + around
    left, top = (min(max(int(edge), 0), side) for edge, side in ((left, width), (top, height)))
    right, bottom = (min(max(int(edge), 0), side) for edge, side in ((right, width), (bottom, height)))
    return Box(left, top, right, bottom)


def warp(picture: Tensor, matrix: Matrix, height: int, width: int, outside: tuple[float, ...]) -> Tensor:
    """(h, w, channels) -> (height, width, channels), bilinear: each pixel is read where `matrix` takes it from.

    `outside` are the values beyond the picture, a number for each channel; they are blended in over its last pixel.
    """
    back = torch.from_numpy(inverse(matrix))
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ back.T
    old_height, old_width = picture.shape[:2]
    places = (places + 0.5) * 2 / torch.tensor([old_width, old_height]) - 1
    shift = torch.tensor(outside, dtype=picture.dtype)
    moved_back = grid_sample(
        (picture - shift).movedim(-1, 0)[None], places[None].to(picture.dtype), mode="bilinear", align_corners=False
    )
    return moved_back[0].movedim(0, -1) + shift


def upright(picture: Tensor, matrix: Matrix, size: int = FACE_SIZE) -> Tensor:
    """A picture (h, w, 3) -> the face (size, size, 3). One that is made smaller is averaged first, so as not to alias.

    Only the part that the face comes from is read.
    """
    height, width = picture.shape[:2]
    times = max(1, int(1 / scale_of(matrix)))
    box = covered(matrix, height, width, size, 2 * times)
    if min(box.size) < 1:
        return torch.tensor(OUTSIDE).expand(size, size, 3).clone()
    part = picture[box.top : box.bottom, box.left : box.right, :3].float()
    shift = np.array([[1.0, 0.0, box.left], [0.0, 1.0, box.top]])
    if times > 1:
        part = avg_pool2d(part.movedim(-1, 0)[None], times, ceil_mode=True)[0].movedim(0, -1)
        middle = (times - 1) / 2
        shift = np.array([[times, 0.0, box.left + middle], [0.0, times, box.top + middle]])
    return warp(part, composed(matrix, shift), size, size, OUTSIDE)


def composed(outer: Matrix, inner: Matrix) -> Matrix:
    """outer after inner"""
    linear = outer[:, :2] @ inner[:, :2]
    return np.concatenate([linear, (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]], axis=1)


def soft_mask(face: Tensor) -> Tensor:
    """(size, size) of 0 and 1 -> 0..1: blurred twice with a deviation of 11 pixels, nothing at the border.

    The lines beyond the border are mirrored. Radius, deviation and border are facexlib's, for faces of 512; there the
    border is a hard edge, which shows where a face goes on beyond it, so here it fades.
    """
    line = torch.exp(-(torch.arange(-MASK_RADIUS, MASK_RADIUS + 1, dtype=torch.float32) ** 2) / (2 * MASK_SIGMA**2))
    line = line / line.sum()
    mask = face.float()[None, None]
    for kernel in (line[:, None], line[None, :]) * 2:
        rows, columns = (side // 2 for side in kernel.shape)
        mask = conv2d(pad(mask, (columns, columns, rows, rows), mode="reflect"), kernel[None, None])
    places = torch.arange(len(face))
    within = ((torch.minimum(places, len(face) - 1 - places) - BORDER + 1) / FADE).clamp(0, 1)
    return mask[0, 0].clamp(0, 1) * within[:, None] * within[None, :]


def put_back(picture: Tensor, face: Tensor, mask: Tensor, matrix: Matrix, visibility: float = 1.0) -> None:
    """Lay an upright face (size, size, 3) over a picture (h, w, 3 or 4) in place, by mask (size, size) * visibility.

    Only the part of the picture that the face covers is written.
    """
    box = covered(matrix, picture.shape[0], picture.shape[1], face.shape[0])
    height, width = box.size
    if min(height, width) < 1:
        return
    to_box = inverse(matrix) - np.array([[0.0, 0.0, box.left], [0.0, 0.0, box.top]])
    made = warp(torch.cat([face, mask[..., None]], dim=-1), to_box, height, width, (0.0, 0.0, 0.0, 0.0))
    share = (made[..., 3:] * visibility).clamp(0, 1)
    # Beyond the face's last pixel the warp fades to black; the mask is 0 there.
    part = picture[box.top : box.bottom, box.left : box.right, :3]
    part += (made[..., :3] - part) * share
