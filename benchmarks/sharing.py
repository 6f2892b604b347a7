"""Work shared between runs: five switching points of a refiner over 50 steps.

Each base step is computed once, whatever the number of switching points, and every picture is bit-equal to the one
that an engine of its own draws.

    python -m benchmarks.sharing [--sampler "DPM++ 2M SDE"] [--size 128]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import make_checkpoint
from hires.api import Drawn, Engine, Txt2Img
from hires.recipes.request import Refiner
from hires.settings import Settings

STEPS = 50
SWITCHES = (25, 30, 35, 40, 50)


def shared_runs(models: Path, folder: Path, sampler: str, size: int) -> list[dict[str, int | bool]]:
    """One row per switching point: steps computed and reused in a shared engine, and whether alone gives the same."""

    def engine() -> Engine:
        return Engine(Settings(models_dir=models, output_dir=folder / "out", cache_dir=folder / "cache", device="cpu"))

    request = Txt2Img(
        prompt="a red fox on snow",
        negative="blurry",
        checkpoint="thin_sdxl_base",
        sampler=sampler,
        steps=STEPS,
        seed=7,
        width=size,
        height=size,
    )
    together = engine()
    rows: list[dict[str, int | bool]] = []
    for switch in SWITCHES:
        with_refiner = replace(request, refiner=Refiner("thin_sdxl_refiner", switch_step=switch))
        shared = together.txt2img(with_refiner)
        alone = engine().txt2img(with_refiner)
        rows.append(
            {
                "switch": switch,
                "computed": shared.counts.computed_steps,
                "refiner": STEPS - switch,
                "base": shared.counts.computed_steps - (STEPS - switch),
                "calls": shared.counts.denoiser_calls,
                "calls_alone": alone.counts.denoiser_calls,
                "equal": equal(shared, alone),
            }
        )
    return rows


def equal(one: Drawn, other: Drawn) -> bool:
    """Whether two results hold the same pixels."""
    pairs = zip(one.pictures, other.pictures, strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampler", default="DPM++ 2M")
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layout in ("thin_sdxl_base", "thin_sdxl_refiner"):
            make_checkpoint(layout, folder / "models")
        rows = shared_runs(folder / "models", folder, args.sampler, args.size)
    print(f"{'switch':>6} {'base steps':>10} {'refiner steps':>13} {'calls':>6} {'calls alone':>11} bit-equal to alone")
    for row in rows:
        counts = f"{row['switch']:>6} {row['base']:>10} {row['refiner']:>13} {row['calls']:>6} {row['calls_alone']:>11}"
        print(f"{counts} {'yes' if row['equal'] else 'NO'}")
    base, calls = sum(int(row["base"]) for row in rows), sum(int(row["calls"]) for row in rows)
    alone = sum(int(row["calls_alone"]) for row in rows)
    print(f"base steps in all: {base}; denoiser calls {calls}, each alone {alone}: {alone / calls:.2f} times as many")


if __name__ == "__main__":
    main()
