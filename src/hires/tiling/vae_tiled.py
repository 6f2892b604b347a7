"""A VAE over tiles whose result is that of the whole picture: decoding and encoding, exact and fast.

- "exact": tiles are parked in the host's memory at every norm. No work is repeated but the tiles' margins.
- "exact-lowram": tiles are parked only where a level of the network starts, and computed again from there for each
  norm of the level: about four times the work, a fraction of the memory.
- "exact-disk": as "exact", parked in files.
- "fast": the norms' statistics are those of a sample of tiles; an approximation, except of pictures that the sample
  covers. "fast-colour" (encoding alone) takes only the first level's from the sample: the colour fix.

The trunk at latent resolution is run whole in all of them, with its attention over every position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Literal, get_args

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from hires.errors import SettingError
from hires.steady import Moments
from hires.tiling.blend import OnTile
from hires.tiling.grid import JITTER, Box, cell_boxes
from hires.tiling.parked import DiskParking, MemoryParking, Parking
from hires.tiling.vae_lockstep import Emit, Load, Lockstep, counted
from hires.tiling.vae_run import Note
from hires.tiling.vae_tasks import Program, Shrink, decoder_programs, encoder_programs, is_known_layout, scale_of
from hires.tiling.vae_trunk import run_whole

TiledMode = Literal["exact", "exact-lowram", "exact-disk", "fast", "fast-colour"]
TILED_MODES: tuple[str, ...] = get_args(TiledMode)
Report = Callable[[], None]
SAMPLE_TILES, SAMPLE_CELLS = 8, 64
"""The fast modes' sample: so many tiles at most, of sides of so many latent cells at most."""


@torch.inference_mode()
def decode_tiled(
    vae: AutoencoderKL,
    latent: Tensor,
    tile: int,
    mode: TiledMode = "exact",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_tile: OnTile | None = None,
    note: Note | None = None,
    folder: Path | None = None,
) -> Tensor:
    """Raw latents (batch, channels, h, w) -> pixels (batch, 3, h * 8, w * 8) about -1..1, float32 on the CPU.

    `tile` is the side of a tile in latent cells, without its margin. `note` hears what is worth saying; `folder` is
    where "exact-disk" parks. SettingError for a mode or a network that is not known.
    """
    _check(vae, tile, mode)
    trunk, rest = decoder_programs(vae)
    run = _Run(tile, mode, torch.device(device), rest, "decoder", note, folder)
    size = int(latent.shape[2]), int(latent.shape[3])
    report = counted(on_tile, len(latent) * (1 + run.work(size)))
    scale = scale_of(vae)
    pixels = torch.empty(len(latent), vae.config.out_channels, size[0] * scale, size[1] * scale)
    for picture, one in zip(pixels.split(1), latent.split(1), strict=True):
        features = Features(size, run_whole(trunk, one.to(device, dtype), note, "decoder"))
        report()
        run(size, features.part, _into(picture), report, features.release)
    return pixels


@torch.inference_mode()
def encode_tiled(
    vae: AutoencoderKL,
    image: Tensor,
    tile: int,
    mode: TiledMode = "exact",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_tile: OnTile | None = None,
    note: Note | None = None,
    folder: Path | None = None,
) -> Tensor:
    """Images (batch, height, width, channels) in 0..1 -> the posterior's mean (batch, 4, height/8, width/8), float32
    on the CPU, without the family's scale factor.

    Only three channels count, and sides are cropped to multiples of 8, the offset being half of the rest. `tile` is
    in latent cells; the rest is as for `decode_tiled`.
    """
    _check(vae, tile, mode)
    front, trunk = encoder_programs(vae)
    run = _Run(tile, mode, torch.device(device), front, "encoder", note, folder)
    image = _cropped(image, scale_of(vae))
    size = image.shape[1] // scale_of(vae), image.shape[2] // scale_of(vae)
    report = counted(on_tile, len(image) * (1 + run.work(size)))
    means = []
    for one in image:
        features = Features(size)
        run(size, _pixels_of(one, torch.device(device), dtype), features.put, report)
        moments = run_whole(trunk, features.release(), note, "encoder")
        means.append(moments.chunk(2, dim=1)[0].to("cpu", torch.float32))
        report()
    return torch.cat(means)


class Features:
    """What lies between trunk and tiles: (1, channels, height, width) at latent resolution, on the device."""

    def __init__(self, size: tuple[int, int], whole: Tensor | None = None) -> None:
        self.size = size
        self._whole = whole

    def part(self, box: Box) -> Tensor:
        """What lies in a box."""
        assert self._whole is not None
        return self._whole[(..., *box.slices)]

    def put(self, core: Box, result: Tensor) -> None:
        """Take a tile's result; the whole is of the widest type that a tile has."""
        if self._whole is None:
            self._whole = result.new_empty(1, result.shape[1], *self.size)
        elif result.dtype == torch.float32 != self._whole.dtype:
            self._whole = self._whole.float()
        self._whole[(..., *core.slices)] = result

    def release(self) -> Tensor:
        """The whole; it is not kept here any longer."""
        whole, self._whole = self._whole, None
        assert whole is not None
        return whole


@dataclass(frozen=True)
class _Run:
    """How the tiled part of a network is run over a canvas of some size (in latent cells)."""

    tile: int
    mode: str
    device: torch.device
    program: Program
    where: str
    note: Note | None
    folder: Path | None

    def __call__(
        self,
        size: tuple[int, int],
        load: Load,
        emit: Emit,
        report: Report,
        release: Callable[[], object] = lambda: None,
    ) -> None:
        known: Mapping[int, Moments] = {}
        if self.mode.startswith("fast"):
            with MemoryParking() as parking:
                known = self._sample(size, load, parking, report)()
        with self._parking() as parking:
            self._all(size, load, emit, parking, known, report, release)()

    def work(self, size: tuple[int, int]) -> int:
        """How many tiles and sweeps it takes."""
        with MemoryParking() as parking:
            sample = self._sample(size, _nothing, parking, _silent)
            known: dict[int, Moments] = {}
            if self.mode.startswith("fast"):
                known = dict.fromkeys(sample.program.norms, Moments(1, torch.zeros(1), torch.zeros(1)))
            whole = self._all(size, _nothing, _drop, parking, known, _silent)
            return whole.work + (sample.work if known else 0)

    def _parking(self) -> Parking:
        return DiskParking(self.folder) if self.mode == "exact-disk" else MemoryParking()

    def _all(
        self,
        size: tuple[int, int],
        load: Load,
        emit: Emit,
        parking: Parking,
        known: Mapping[int, Moments],
        report: Report,
        release: Callable[[], object] = lambda: None,
    ) -> Lockstep:
        program = self.program
        if self.mode == "exact-lowram":
            breaks = [index for index in program.levels if index > 0]
        else:
            breaks = [index for index in program.norms if index not in known]
        cores = cell_boxes(*size, (self.tile, self.tile))
        return Lockstep(
            program,
            cores,
            size,
            load,
            emit,
            self.device,
            parking,
            breaks,
            known,
            report,
            release,
            self.note,
            self.where,
        )

    def _sample(self, size: tuple[int, int], load: Load, parking: Parking, report: Report) -> Lockstep:
        """Some tiles taken through the program for the norms' statistics alone."""
        program = first_level(self.program) if self.mode == "fast-colour" else self.program
        cores = sampled_cores(size, min(self.tile, SAMPLE_CELLS), SAMPLE_TILES)
        return Lockstep(
            program,
            cores,
            size,
            load,
            _drop,
            self.device,
            parking,
            program.norms,
            {},
            report,
            note=self.note,
            where=self.where,
        )


def _silent() -> None: ...


def _nothing(box: Box) -> Tensor:
    raise AssertionError("nothing is loaded while work is counted")


def _drop(core: Box, result: Tensor) -> None: ...


def first_level(program: Program) -> Program:
    """An encoder's program up to where it first halves the size."""
    end = next(index for index, task in enumerate(program.tasks) if isinstance(task, Shrink))
    return replace(
        program, tasks=program.tasks[:end], margins=program.margins[: end + 1], factors=program.factors[: end + 1],
        levels=(),
    )  # fmt: skip


def sampled_cores(size: tuple[int, int], cells: int, count: int) -> list[Box]:
    """At most `count` disjoint tiles, spread evenly over a canvas by the plastic sequence; all if there are no more."""
    boxes = cell_boxes(*size, (cells, cells))
    if len(boxes) <= count:
        return boxes
    rows = len({box.top for box in boxes})
    columns = len(boxes) // rows
    chosen: dict[int, None] = {}
    step = 1
    while len(chosen) < count:
        y, x = (share - floor(share) for share in (step * JITTER["y"], step * JITTER["x"]))
        chosen[int(y * rows) * columns + int(x * columns)] = None
        step += 1
    return [boxes[index] for index in sorted(chosen)]


def _into(picture: Tensor) -> Emit:
    def emit(core: Box, result: Tensor) -> None:
        picture[(..., *core.slices)] = result.to("cpu", torch.float32)

    return emit


def _pixels_of(image: Tensor, device: torch.device, dtype: torch.dtype) -> Load:
    """From an image (height, width, 3) in 0..1 to what the encoder takes: -1..1."""

    def load(box: Box) -> Tensor:
        part = image[box.slices].movedim(-1, 0)[None].to(device, torch.float32)
        return (part * 2.0 - 1.0).to(dtype)

    return load


def _cropped(image: Tensor, scale: int) -> Tensor:
    top, left = ((side % scale) // 2 for side in image.shape[1:3])
    height, width = (side - side % scale for side in image.shape[1:3])
    if not height or not width:
        raise SettingError(f"a picture must have {scale} pixels a side at least", "Enlarge it first.")
    return image[:, top : top + height, left : left + width, :3]


def _check(vae: AutoencoderKL, tile: int, mode: str) -> None:
    if mode not in TILED_MODES:
        raise SettingError(f"there is no tiled VAE mode {mode!r}", f"Take one of {', '.join(TILED_MODES)}.")
    if tile < 1:
        raise SettingError(f"a tile of {tile} latent cells is too small", "Take 8 or more.")
    if not is_known_layout(vae):
        raise SettingError("this VAE's layout is not known to the exact tiled mode", "Take the mode blend or untiled.")
