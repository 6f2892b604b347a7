"""What Ray costs: a grid and a tiled upscale in this process, by one local worker and by two; equal bytes.

Models and processes are loaded before the clock runs. On a machine with fewer free cores than workers, two cannot be
faster than one.

    python -m benchmarks.workers [--size 128] [--steps 8] [--picture 256]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import make_checkpoint
from hires.api import Engine, Extras, HiresFix, Txt2Img
from hires.recipes.grids.request import AxisValues, GridRequest
from hires.settings import Settings

SETUPS = {"in process": "", "1 worker": "1", "2 workers": "2"}


def grid_of(size: int, steps: int, seed: int) -> GridRequest:
    """2 x 2 cells in two groups: each seed's first pass is shared by two denoising strengths."""
    base = Txt2Img(prompt="a red fox on snow", checkpoint="hires-pocket", width=size, height=size, steps=steps)
    base = replace(base, hires=HiresFix(upscaler="Lanczos", scale=1.5, steps=max(steps // 2, 1)))
    axes = (AxisValues("Seed", f"{seed}, {seed + 1}"), AxisValues("Denoising", "0.4, 0.6"))
    return GridRequest(base, axes)


def picture_of(folder: Path, side: int, seed: int) -> Path:
    """A picture of noise, which no cache knows."""
    path = folder / f"noise-{seed}.png"
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def timed(work: Callable[[int], list[Path]]) -> tuple[float, list[bytes]]:
    """Seconds, and the files: of the second call, when all models are loaded. The calls have seeds of their own."""
    work(100)
    begun = time.perf_counter()
    paths = work(1)
    seconds = time.perf_counter() - begun
    return seconds, [path.read_bytes() for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="of the cells' first pass")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--picture", type=int, default=256, help="side of the picture that is enlarged")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hires-") as name:
        folder = Path(name)
        models = folder / "models"
        (models / "upscale_models").mkdir(parents=True)
        make_checkpoint("upscaler_esrgan_x4", models / "upscale_models" / "upscaler_esrgan_x4.safetensors")
        first: dict[str, tuple[float, list[bytes]]] = {}
        print("| work | by | seconds | of in process | bytes |\n|---|---|---|---|---|")
        for setup, workers in SETUPS.items():
            engine = Engine(
                Settings(
                    models_dir=models,
                    output_dir=folder / "out" / setup.replace(" ", "-"),
                    cache_dir=folder / "cache",
                    device="cpu",
                    threads=1,
                    workers=workers,
                )
            )

            def grid(seed: int, engine: Engine = engine) -> list[Path]:
                made = engine.grid(grid_of(options.size, options.steps, seed))
                return [made.folder / name for cell in made.record.cells for name in cell.pictures]

            def upscale(seed: int, engine: Engine = engine) -> list[Path]:
                request = Extras(upscaler="upscaler_esrgan_x4", scale=4, tile=64)
                return [engine.upscale(picture_of(folder, options.picture, seed), request).path]

            for work, do in (("grid, 2 x 2", grid), ("upscale in tiles", upscale)):
                seconds, files = timed(do)
                before, expected = first.setdefault(work, (seconds, files))
                equal = "equal" if files == expected else "DIFFERENT"
                print(f"| {work} | {setup} | {seconds:.1f} | {seconds / before:.2f} | {equal} |", flush=True)
            if engine.workers is not None:
                engine.workers.close()


if __name__ == "__main__":
    main()
