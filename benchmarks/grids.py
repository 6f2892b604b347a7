"""Grids against running each of their cells alone: denoiser calls and processor seconds, by the built-in model.

Alone means that nothing is kept from cell to cell but the loaded model. Every cell's picture is compared with that of
the cell alone. The last table is what it brings to send cells of one shape through the network together (`--together`).

    python -m benchmarks.grids [--quick] [--case switch|denoise|editing|seeds|together]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hires.api import Engine, HiresFix, Txt2Img
from hires.gridding.planning import plan_grid
from hires.imaging.pictures import open_picture
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
from hires.recipes.grids.axes import Request
from hires.recipes.grids.request import AxisValues, GridRequest
from hires.recipes.request import Refiner
from hires.settings import Settings

PROMPT = "1girl, smile, beach"
OTHER = "other-pocket"
UPSCALERS = "Latent, Latent (bicubic), Latent (nearest-exact), Lanczos, Nearest, hires-pocket-x4"


@dataclass(frozen=True)
class Row:
    """A case: its cells, denoiser calls predicted and made, processor seconds; the same of the cells alone; whether
    all pictures are equal to the byte."""

    cells: int
    predicted: int
    calls: int
    seconds: float
    calls_alone: int
    seconds_alone: float
    equal: bool


def engine_in(folder: Path, together: int = 1) -> Engine:
    places = Settings(models_dir=folder / "models", output_dir=folder / "out", cache_dir=folder / "cache")
    engine = Engine(replace(places, device="cpu", together=together))
    engine.txt2img(prompt=PROMPT, checkpoint=BUILT_IN_NAME, steps=1, width=64, height=64, seed=0)
    return engine


def other_checkpoint(folder: Path) -> None:
    """The built-in model with its last layer a little stronger: another model, to hand over to."""
    path = folder / "models" / "checkpoints" / f"{OTHER}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    source = next(BUILT_IN_FOLDER.rglob(BUILT_IN_NAME))
    weights = load_file(source)
    weights["model.diffusion_model.out.2.weight"] = weights["model.diffusion_model.out.2.weight"] * 1.02
    with safe_open(source, "pt") as file:
        save_file(weights, path, metadata=file.metadata())


def cases(quick: bool) -> dict[str, GridRequest]:
    """The grids by name."""
    steps, size = (10, 64) if quick else (50, 128)
    base = Txt2Img(
        prompt=PROMPT, negative="dull", checkpoint=BUILT_IN_NAME, steps=steps, width=size, height=size, seed=7
    )
    shares = (0.5, 0.6, 0.7, 0.8, 1.0)
    switches = ", ".join(str(round(steps * share)) for share in shares)
    hires = replace(base, steps=steps if quick else 20, hires=HiresFix(scale=2, steps=4 if quick else 10))
    editing = replace(base, prompt=f"1girl, [beach:forest:{round(steps * shares[0])}]")
    wheres = ", ".join(f"{round(steps * share)}]" for share in (0.5, 0.6, 0.7, 0.8, 0.9))
    seeds, cfgs = ("1-2", "4, 7") if quick else ("1-4", "3, 5, 7, 9")

    def grid(request: Request, *axes: tuple[str, str]) -> GridRequest:
        return GridRequest(request, tuple(AxisValues(*axis) for axis in axes))

    return {
        "switch": grid(replace(base, refiner=Refiner(OTHER)), ("Refiner switch step", switches)),
        "denoise": grid(
            hires,
            ("Denoising", "0.3-0.7 (+0.2)" if quick else "0-1 (+0.1)"),
            ("Hires upscaler", "Latent, Lanczos" if quick else UPSCALERS),
        ),
        "editing": grid(editing, ("Prompt S/R", wheres)),
        "seeds": grid(replace(base, steps=min(steps, 20)), ("Seed", seeds), ("CFG Scale", cfgs)),
    }


def compare(engine: Engine, request: GridRequest) -> Row:
    """A grid drawn, and then each of its cells alone."""
    forget(engine)
    plan = plan_grid(engine, request)
    begin = time.process_time()
    made = engine.grid(plan.request)
    seconds = time.process_time() - begin
    calls_alone, seconds_alone, equal = 0, 0.0, True
    for cell in plan.cells.cells:
        forget(engine)
        begin = time.process_time()
        assert isinstance(cell.request, Txt2Img)
        alone = engine.txt2img(cell.request)
        seconds_alone += time.process_time() - begin
        calls_alone += alone.counts.denoiser_calls
        drawn = open_picture(made.folder / made.record.at(cell.index).pictures[0])
        equal = equal and np.array_equal(np.asarray(drawn), np.asarray(alone.pictures[0]))
    return Row(
        cells=len(plan.cells.cells),
        predicted=sum(cost.shared for cost in plan.costs.values()),
        calls=sum(cell.calls for cell in made.record.cells),
        seconds=seconds,
        calls_alone=calls_alone,
        seconds_alone=seconds_alone,
        equal=equal,
    )


def forget(engine: Engine) -> None:
    """As an engine that has drawn nothing yet."""
    engine.results.clear()
    engine.trajectories.clear()


def together(folder: Path, size: int, count: int, steps: int) -> tuple[float, float, int]:
    """Processor seconds of a grid of seeds and CFG scales, its cells one after the other and `count` at a time; the
    largest difference of a pixel, of 255."""
    base = Txt2Img(prompt=PROMPT, checkpoint=BUILT_IN_NAME, steps=steps, width=size, height=size, seed=7)
    grid = GridRequest(base, (AxisValues("Seed", "1-4"), AxisValues("CFG Scale", "4, 7")))
    taken: list[float] = []
    drawn = []
    for number in (1, count):
        engine = engine_in(folder / str(number), number)
        begin = time.process_time()
        made = engine.grid(grid)
        taken.append(time.process_time() - begin)
        paths = [made.folder / cell.pictures[0] for cell in made.record.cells]
        drawn.append(np.stack([np.asarray(open_picture(path).convert("RGB")).astype(int) for path in paths]))
    return taken[0], taken[1], int(np.abs(drawn[0] - drawn[1]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, small pictures: under two minutes")
    parser.add_argument("--case", action="append", choices=[*cases(True), "together"])
    args = parser.parse_args()
    chosen = args.case or [*cases(args.quick), "together"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        other_checkpoint(folder)
        engine = engine_in(folder)
        print(
            f"{'grid':>8} {'cells':>5} {'predicted':>9} {'calls':>6} {'seconds':>8} {'alone':>12} {'seconds':>8} equal"
        )
        for title, request in cases(args.quick).items():
            if title in chosen:
                row = compare(engine, request)
                numbers = f"{row.cells:>5} {row.predicted:>9} {row.calls:>6} {row.seconds:>8.1f}"
                alone = f"{row.calls_alone:>12} {row.seconds_alone:>8.1f}"
                print(f"{title:>8} {numbers} {alone} {'yes' if row.equal else 'NO'}", flush=True)
        if "together" in chosen:
            print("cells through the network together: processor seconds, and without; largest difference of a pixel")
            for size in (64,) if args.quick else (64, 128, 256):
                for count in (2, 4, 8):
                    single, beside, apart = together(folder / f"{size}-{count}", size, count, 20)
                    ratio = f"{single / beside:.2f} times as fast"
                    print(
                        f"{size:>5} pixels, {count} at a time: {beside:.1f}, {single:.1f}, {ratio}; {apart}", flush=True
                    )


if __name__ == "__main__":
    main()
