"""What Ray costs: a grid and a tiled upscale in this process, by one local worker and by two; equal bytes.

Models and processes are loaded before the clock runs. On a machine with fewer free cores than workers, two cannot be
faster than one.

    python -m benchmarks.workers [--size 128] [--steps 8] [--picture 256]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import make_checkpoint
from hires.api import Engine, Extras, HiresFix, Txt2Img
from hires.recipes.grids.request import AxisValues, GridRequest
from hires.settings import Settings

REPEATS = 3
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


def engine_with(models: Path, folder: Path, setup: str) -> Engine:
    return Engine(
        Settings(
            models_dir=models,
            output_dir=folder / "out" / setup.replace(" ", "-"),
            cache_dir=folder / "cache",
            device="cpu",
            threads=1,
            workers=SETUPS[setup],
        )
    )


def timed(works: Mapping[str, Callable[[int], list[Path]]]) -> dict[str, tuple[float, list[bytes]]]:
    """Of each setup the least seconds of its calls, and their files. The setups take turns, so that what else the
    machine does falls on all alike; a first call of each, for which models are loaded, does not count. The calls have
    seeds of their own."""
    for work in works.values():
        work(0)
    seconds: dict[str, list[float]] = {setup: [] for setup in works}
    files: dict[str, list[bytes]] = {setup: [] for setup in works}
    for number in range(1, REPEATS + 1):
        for setup, work in works.items():
            begun = time.perf_counter()
            paths = work(10 * number)
            seconds[setup].append(time.perf_counter() - begun)
            files[setup] += [path.read_bytes() for path in paths]
    return {setup: (min(seconds[setup]), files[setup]) for setup in works}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="of the cells' first pass")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--picture", type=int, default=256, help="side of the picture that is enlarged")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hires-") as name:
        folder = Path(name)
        models = folder / "models"
        make_checkpoint("upscaler_esrgan_x4", models).parent.rename(models / "upscale_models")
        engines = {setup: engine_with(models, folder, setup) for setup in SETUPS}

        def grid(engine: Engine, seed: int) -> list[Path]:
            made = engine.grid(grid_of(options.size, options.steps, seed))
            return [made.folder / name for cell in made.record.cells for name in cell.pictures]

        def upscale(engine: Engine, seed: int) -> list[Path]:
            request = Extras(upscaler="upscaler_esrgan_x4", scale=4, tile=64)
            return [engine.upscale(picture_of(folder, options.picture, seed), request).path]

        print("| work | by | seconds | of in process | bytes |\n|---|---|---|---|---|")
        for title, work in (("grid, 2 x 2", grid), ("upscale in tiles", upscale)):
            made = timed({setup: partial(work, engine) for setup, engine in engines.items()})
            before, expected = made["in process"]
            for setup, (seconds, files) in made.items():
                equal = "equal" if files == expected else "DIFFERENT"
                print(f"| {title} | {setup} | {seconds:.1f} | {seconds / before:.2f} | {equal} |", flush=True)
        for engine in reversed(engines.values()):
            if engine.workers is not None:
                engine.workers.close()


if __name__ == "__main__":
    main()
