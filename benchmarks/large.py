"""Stable Diffusion's VAE over large pictures: whole, in exact tiles, in fast ones and blended.

Time, peak memory beyond the weights (each run in a process of its own), and the error against the whole in standard
deviations of its result. Weights are random, in the true layout. Then a picture that would not fit whole, in the
first way that the memory budget allows.

python -m benchmarks.large                                     1024x1024; then 4096x4096 within 3 GB: hours on a CPU
python -m benchmarks.large --large 0                           1024x1024 alone
python -m benchmarks.large --size 128 --tile 8 --widths 32,64,128,128 --large 256 --budget 70MB        seconds
python -m benchmarks.large --device cuda --dtype float16       1024x1024; then 8192x8192 within 4.5 GB
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from benchmarks.measure import peak_megabytes
from hires.models.budget import MEGABYTE, Choice, in_words, parse_bytes, resident_bytes
from hires.models.handles import VaeModel
from hires.nodes.fitting import WHOLE
from hires.nodes.fitting_vae import decode_choices, encode_choices, way_of
from hires.tiling.blend import tiled_scale
from hires.tiling.vae_peak import predicted_decode_peak, predicted_encode_peak
from hires.tiling.vae_tiled import TiledMode, decode_tiled, encode_tiled

WORKS = {
    "decode": ("untiled", "exact", "exact-lowram", "exact-disk", "fast", "blend"),
    "encode": ("untiled", "exact", "exact-lowram", "exact-disk", "fast", "fast-colour", "blend"),
}
CELL = 8
BLEND = 4
"""Overlap of the mode that blends: this part of a tile."""


@dataclass(frozen=True)
class Job:
    """One run. `size` is the picture's side in pixels, `tile` a tile's side in latent cells."""

    work: str
    mode: str
    size: int
    tile: int
    widths: tuple[int, ...]
    device: str
    dtype: str
    threads: int
    folder: str
    keep: bool


@dataclass(frozen=True)
class Measured:
    """Seconds, bytes beyond the weights, what was said on the way, and the file of the result if it was kept."""

    seconds: float
    peak: int
    notes: list[str]
    result: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="pixels a side of the comparison, 0 for none [1024]")
    parser.add_argument("--tile", type=int, default=64, help="latent cells a side of a tile [64]")
    parser.add_argument("--large", type=int, help="pixels a side of the large picture, 0 for none [4096; CUDA: 8192]")
    parser.add_argument("--budget", help="bytes beyond the weights for the large picture [3GB; CUDA: 4.5GB]")
    parser.add_argument("--works", default="decode,encode")
    parser.add_argument("--modes", help="of the comparison, in a row with commas [all]")
    parser.add_argument("--widths", default="128,256,512,512", help="channels of the VAE's levels [Stable Diffusion's]")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, help="where results and parked tiles lie [the system's temporary one]")
    args = parser.parse_args()
    cuda = args.device.startswith("cuda")
    large = (8192 if cuda else 4096) if args.large is None else args.large
    budget = parse_bytes(args.budget or ("4.5GB" if cuda else "3GB"))
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        shared = {
            "widths": tuple(int(width) for width in args.widths.split(",")),
            "device": args.device,
            "dtype": args.dtype,
            "threads": args.threads,
            "folder": folder,
        }
        for work in args.works.split(","):
            if args.size:
                wanted = args.modes.split(",") if args.modes else WORKS[work]
                compare(work, [mode for mode in WORKS[work] if mode in wanted], args.size, args.tile, shared)
            if large:
                fit(work, large, budget, shared)


def compare(work: str, modes: list[str], size: int, tile: int, shared: dict[str, Any]) -> None:
    """A table of modes at one size."""
    print(f"\n{work} {size}x{size}, {shared['dtype']}, {shared['device']}, tiles of {tile * CELL} pixels\n")
    print("| mode | seconds | of untiled | peak MB beyond the weights | predicted | max error | rms error |")
    print("|---|---|---|---|---|---|---|", flush=True)
    whole: Measured | None = None
    for mode in modes:
        job = Job(work, mode, size, tile, keep=True, **shared)
        found = in_own_process(job)
        whole = found if mode == "untiled" else whole
        ratio, error = "", " | "
        if whole is not None:
            ratio = f"{found.seconds / whole.seconds:.2f}"
            error = "0 | 0" if mode == "untiled" else "{:.1e} | {:.1e}".format(*errors(found.result, whole.result))
        predicted = predicted_peak(job)
        cells = [mode, f"{found.seconds:.1f}", ratio, f"{found.peak / MEGABYTE:.0f}", predicted, error]
        print("| " + " | ".join(cells) + " |", flush=True)
        for note in found.notes:
            print(f"  ({note})")


def fit(work: str, size: int, budget: int, shared: dict[str, Any]) -> None:
    """A large picture in the first way whose predicted peak is within the budget."""
    vae = handle(shared["widths"], shared["device"], shared["dtype"], meta=True)
    cells = size // CELL
    choices = list((decode_choices if work == "decode" else encode_choices)(vae, cells, cells))
    chosen = next((choice for choice in choices if choice.need <= budget), None)
    if chosen is None:
        least: Choice = min(choices, key=lambda choice: choice.need)
        print(f"\n{work} {size}x{size}: {in_words(budget)} is too little; {least.name} needs {in_words(least.need)}")
        return
    mode, tile = ("untiled", cells) if chosen.name == WHOLE else way_of(chosen.name) or ("exact", cells)
    print(f"\n{work} {size}x{size} within {in_words(budget)}: {chosen.name}, predicted {in_words(chosen.need)}")
    found = in_own_process(Job(work, mode, size, tile, keep=False, **shared))
    verdict = "within" if found.peak <= budget else "ABOVE"
    print(f"{found.seconds:.0f} s, peak {in_words(found.peak)} beyond the weights: {verdict} the budget", flush=True)
    for note in found.notes:
        print(f"({note})")


def predicted_peak(job: Job) -> str:
    """In MB; nothing for the mode that blends, which is not planned."""
    if job.mode == "blend":
        return ""
    vae = handle(job.widths, job.device, job.dtype, meta=True)
    predicted = predicted_decode_peak if job.work == "decode" else predicted_encode_peak
    cells, tile = job.size // CELL, None if job.mode == "untiled" else job.tile
    mode = "exact" if tile is None else job.mode
    need = predicted(vae.vae, cells, cells, tile, mode=mode, dtype=vae.compute_dtype, device=vae.device)
    return f"{need / MEGABYTE:.0f}"


def errors(one: str | None, whole: str | None) -> tuple[float, float]:
    """(largest, root mean square) difference in standard deviations of the whole."""
    assert one is not None and whole is not None
    reference: Tensor = torch.load(whole, weights_only=True)
    difference = torch.load(one, weights_only=True).sub_(reference)
    deviation = reference.std()
    return float(difference.abs().max() / deviation), float(difference.pow(2).mean().sqrt() / deviation)


def in_own_process(job: Job) -> Measured:
    """The job in a fresh process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (job,))


def measured(job: Job) -> Measured:
    """Runs a job and measures it."""
    torch.set_num_threads(job.threads)
    vae = handle(job.widths, job.device, job.dtype)
    given = latent_of(job) if job.work == "decode" else picture_of(job)
    notes: list[str] = []
    on_gpu = vae.device.type == "cuda"
    warm_up(vae)
    before = reset_peak(on_gpu)
    start = time.perf_counter()
    result = done(job, vae, given, notes)
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = (torch.cuda.max_memory_allocated() if on_gpu else int(peak_megabytes() * MEGABYTE)) - before
    if not torch.isfinite(result).all():
        notes.append("the result has numbers that are not finite")
    path = Path(job.folder) / f"{job.work}-{job.mode}.pt" if job.keep else None
    if path is not None:
        torch.save(result, path)
    return Measured(seconds, peak, notes, None if path is None else str(path))


def warm_up(vae: VaeModel) -> None:
    """A tiny picture first, so that what libraries take at their first work is not counted."""
    vae.encode(torch.rand(1, 16 * CELL, 16 * CELL, 3))
    vae.decode_raw(torch.randn(1, 4, 16, 16))


@torch.inference_mode()
def done(job: Job, vae: VaeModel, given: Tensor, notes: list[str]) -> Tensor:
    """The result: pixels about -1..1 or raw latents."""
    if job.mode == "untiled":
        return vae.decode_raw(given) if job.work == "decode" else vae.encode(given)
    if job.mode == "blend":
        return blended(job, vae, given)
    work: Any = decode_tiled if job.work == "decode" else encode_tiled
    where: dict[str, Any] = {"device": vae.device, "dtype": vae.compute_dtype}
    mode = cast(TiledMode, job.mode)
    ticker = Ticker(f"{job.work} {job.size} {job.mode}")
    result = work(vae.vae, given, job.tile, mode, on_tile=ticker, note=notes.append, folder=Path(job.folder), **where)
    return cast(Tensor, result)


def blended(job: Job, vae: VaeModel, given: Tensor) -> Tensor:
    if job.work == "decode":
        return tiled_scale(given, vae.decode_raw, (job.tile, job.tile), job.tile // BLEND, CELL)
    side = job.tile * CELL
    planes = given.movedim(-1, 1)
    return tiled_scale(planes, lambda part: vae.encode(part.movedim(1, -1)), (side, side), side // BLEND, 1 / CELL)


class Ticker:
    """Says once a minute how far a long run is."""

    def __init__(self, what: str) -> None:
        self.what, self.begun = what, time.monotonic()
        self.next = self.begun + 60

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 60
            seconds = time.monotonic() - self.begun
            facts = {"tiles": done, "of": total, "seconds": round(seconds), "peak_mb": round(peak_megabytes())}
            print(self.what, json.dumps(facts), file=sys.stderr, flush=True)


def reset_peak(on_gpu: bool) -> int:
    """Begins a new peak; what is held now, in bytes."""
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return int(peak_megabytes() * MEGABYTE)
    return resident_bytes()


def handle(widths: tuple[int, ...], device: str, dtype: str, *, meta: bool = False) -> VaeModel:
    """A VAE of Stable Diffusion's layout with random weights; on "meta", one without any."""
    number: torch.dtype = getattr(torch, dtype)
    with torch.device("meta" if meta else "cpu"):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=2,
            latent_channels=4,
        )
    if not meta:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, weight in vae.named_parameters():
                fill(name, weight, generator)
    vae = vae.eval().requires_grad_(False)
    if not meta:
        torch.nn.Module.to(vae, device, number)
    return VaeModel(vae, "random", torch.device(device), number, 0.18215)


def fill(name: str, weight: Tensor, generator: torch.Generator) -> None:
    """Weights that keep a signal's deviation; norms near one, biases near zero."""
    if weight.ndim > 1:
        weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)
    else:
        weight.normal_(1.0 if name.endswith("weight") else 0.0, 0.05, generator=generator)


def latent_of(job: Job) -> Tensor:
    """A latent (1, 4, h, w) whose tone changes over the picture, as tiles that do not share statistics would show."""
    cells = job.size // CELL
    noise = torch.randn(1, 4, cells, cells, generator=torch.Generator().manual_seed(1))
    slope = torch.linspace(-2.0, 2.0, cells)
    return noise + slope[None, None, None, :] * torch.tensor([1.0, -1.0, 0.5, 0.0])[None, :, None, None]


def picture_of(job: Job) -> Tensor:
    """A picture (1, size, size, 3) in 0..1: slopes of colour under grain."""
    slope = torch.linspace(0.0, 0.7, job.size)
    picture = torch.rand(1, job.size, job.size, 3, generator=torch.Generator().manual_seed(1)).mul_(0.3)
    picture[..., 0] += slope
    picture[..., 1] += slope[:, None]
    picture[..., 2] += slope.flip(0)
    return picture


if __name__ == "__main__":
    main()
