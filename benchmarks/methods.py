"""One base picture made large by each method, on one labelled sheet with a table of what each cost and gave.

python -m benchmarks.methods --out methods                     the built-in model, 640 -> 1280, two seeds
python -m benchmarks.methods --out methods --only "SD upscale" --denoise 0.5

Each method runs in a process of its own. Every picture is kept, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.measure import peak_megabytes
from hires.api import Engine, HiresFix, Txt2Img
from hires.pocket import BUILT_IN_NAME, GUIDANCE
from hires.recipes.tiled import TiledDiffusion
from hires.recipes.tiled_img2img import TiledImg2Img
from hires.settings import load_settings
from hires.tiling.seams import seam_index

PROMPT = "1girl, blonde hair, hat, smile, upper body, flower field"
FIRST, TWICE, MIDDLE, LARGE = 160, 320, 640, 1280
TILE, CELL = 320, 8
STEPS = 20
CROP = 320
INK, PAPER = (40, 40, 46), "white"


@dataclass(frozen=True)
class Settings:
    """What all methods share: the upscaler, the strength with which each redraws, and where pictures go."""

    out: Path
    denoise: float
    upscaler: str

    def engine(self) -> Engine:
        return Engine(load_settings({"output_dir": self.out / "work"}))

    def text(self, seed: int) -> Txt2Img:
        return Txt2Img(prompt=PROMPT, checkpoint=BUILT_IN_NAME, seed=seed, steps=STEPS, cfg=GUIDANCE)


@dataclass(frozen=True)
class Result:
    """One picture: processor seconds, MB held at most and before it began, denoiser calls (and calls over tiles), the
    seam index and drift of picture and source at the method's joins, and what the detector finds."""

    method: str
    seed: int
    seconds: float
    peak_mb: float
    begun_mb: float
    calls: int
    tile_calls: int
    joins: int
    index: float
    source_index: float
    drift: float
    source_drift: float
    subjects: int
    good: bool


Joins = tuple[tuple[int, ...], tuple[int, ...]]
Drawing = tuple[Path, int, int, Joins]
"""The file, denoiser calls, calls over tiles, and the joins in rows and columns."""


def whole(engine: Engine, base: Path, seed: int, settings: Settings) -> Drawing:
    """Hires fix: enlarged by the upscaler, and the whole redrawn at once."""
    drawn = engine.tiled(base, undivided(settings, seed, LARGE, settings.denoise))
    return drawn.paths[0], drawn.counts.denoiser_calls, 0, ((), ())


def undivided(settings: Settings, seed: int, side: int, denoise: float) -> TiledImg2Img:
    """A picture of half that side made twice as large in one piece."""
    one_tile = TiledDiffusion(tile_width=side // CELL, tile_height=side // CELL, overlap=0)
    text = replace(settings.text(seed), steps=redrawn_steps(denoise), tiled=one_tile)
    return TiledImg2Img(text, denoise, settings.upscaler, 2.0)


def redrawn_steps(denoise: float) -> int:
    """As many steps as the methods that redraw tile by tile make of theirs (A1111's rule)."""
    return int(min(denoise, 0.999) * STEPS) + 1


def redrawn(verb: str, **fields: Any) -> Callable[[Engine, Path, int, Settings], Drawing]:
    """SD upscale or Ultimate SD upscale."""

    def draw(engine: Engine, base: Path, seed: int, settings: Settings) -> Drawing:
        given = {"scale": LARGE / MIDDLE, "tile_width": TILE, "tile_height": TILE, **fields}
        given |= {"denoise": settings.denoise, "upscaler": settings.upscaler}
        done = getattr(engine, verb)(base, base=settings.text(seed), **given)
        return done.paths[0], done.counts.denoiser_calls, 0, done.request.plan(MIDDLE, MIDDLE).joins

    return draw


def joint(method: str, overlap: int, jitter: bool = False) -> Callable[[Engine, Path, int, Settings], Drawing]:
    """Tiled Diffusion over the enlarged picture."""

    def draw(engine: Engine, base: Path, seed: int, settings: Settings) -> Drawing:
        tiled = TiledDiffusion(method, TILE // CELL, TILE // CELL, overlap, jitter=jitter)
        text = replace(settings.text(seed), steps=redrawn_steps(settings.denoise), tiled=tiled)
        drawn = engine.tiled(base, TiledImg2Img(text, settings.denoise, settings.upscaler, LARGE / MIDDLE))
        joins = tiled.tiling().joins(LARGE // CELL, LARGE // CELL)
        return drawn.paths[0], drawn.counts.denoiser_calls, drawn.counts.tile_calls, joins

    return draw


METHODS: Mapping[str, Callable[[Engine, Path, int, Settings], Drawing]] = {
    "hires fix + upscaler": whole,
    "SD upscale": redrawn("sd_upscale", overlap=64),
    "Ultimate SD upscale": redrawn("ultimate", padding=32),
    "MultiDiffusion": joint("MultiDiffusion", 12),
    "Mixture of Diffusers": joint("Mixture of Diffusers", 8),
    "jittered grid": joint("Cosine", 0, jitter=True),
}


# ---- one method, in a process of its own ----------------------------------------------------------------------------


def file_of(settings: Settings, method: str, seed: int, suffix: str) -> Path:
    return settings.out / f"{method.replace(' ', '-').replace('+', 'and')}-{seed}{suffix}"


def base_picture(engine: Engine, settings: Settings, seed: int) -> Path:
    """The picture that all methods start from: drawn at the model's own size, and made twice as large two times."""
    path = file_of(settings, "base", seed, ".png")
    if not path.exists():
        hires = HiresFix("Latent", TWICE / FIRST, steps=12, denoise=0.6)
        drawn = engine.txt2img(settings.text(seed), width=FIRST, height=FIRST, hires=hires)
        drawn = engine.tiled(drawn.paths[0], undivided(settings, seed, MIDDLE, 0.35))
        drawn.pictures[0].convert("RGB").save(path)
    return path


def reset_peak() -> float:
    """Forget the peak of memory so far; what is held now, in MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_megabytes()


def measured(method: str, seed: int, settings: Settings) -> Result:
    """One picture by one method, drawn in this process."""
    engine = settings.engine()
    base = base_picture(engine, settings, seed)
    begun = reset_peak()
    start = time.process_time()
    path, calls, tile_calls, joins = METHODS[method](engine, base, seed, settings)
    seconds = time.process_time() - start
    peak = peak_megabytes()
    picture = np.array(Image.open(path).convert("RGB"))
    Image.fromarray(picture).save(file_of(settings, method, seed, ".png"))
    source = np.array(enlarged(base, settings))
    report = seam_index(picture, *joins, reference=source)
    from hires.pocket.detector import one_intact, shipped_detector

    faces = shipped_detector().faces(picture)
    return Result(
        method, seed, seconds, peak, begun, calls, tile_calls, report.lines, report.index,
        report.reference_index or 1.0, report.drift, report.reference_drift or 0.0, len(faces), one_intact(faces),
    )  # fmt: skip


def enlarged(base: Path, settings: Settings) -> Image.Image:
    """The base by the upscaler alone: what methods that redraw begin with."""
    path = base.with_name(base.stem + "-enlarged.png")
    if not path.exists():
        done = settings.engine().upscale(base, scale=LARGE / MIDDLE, upscaler=settings.upscaler)
        done.picture.convert("RGB").save(path)
    return Image.open(path).convert("RGB")


# ---- the sheet and the table ----------------------------------------------------------------------------------------


def table(results: Sequence[Result]) -> str:
    """A line a method, means over its seeds."""
    lines = [
        "| method | CPU s | peak MB | calls (over tiles) | seam index (source) | drift (source) | one intact subject |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        own = [result for result in results if result.method == method]
        if not own:
            continue
        mean = {name: float(np.mean([getattr(result, name) for result in own])) for name in asdict(own[0])
                if name not in ("method", "seed")}  # fmt: skip
        calls = f"{mean['calls']:.0f}" + (f" ({mean['tile_calls']:.0f})" if mean["tile_calls"] else "")
        seams = drift = "no joins"
        if own[0].joins:
            seams = f"{mean['index']:.3f} ({mean['source_index']:.3f})"
            drift = f"{mean['drift']:.4f} ({mean['source_drift']:.4f})"
        good = f"{sum(result.good for result in own)} of {len(own)}"
        peak = f"{mean['peak_mb']:.0f}"
        lines.append(f"| {method} | {mean['seconds']:.0f} | {peak} | {calls} | {seams} | {drift} | {good} |")
    return "\n".join(lines) + "\n"


def sheet(settings: Settings, seed: int, results: Sequence[Result]) -> Image.Image:
    """Each method's picture reduced, and a part of it as it is, under its name and numbers."""
    base = base_picture(settings.engine(), settings, seed)
    cells = [("the base, enlarged by the upscaler", "no denoising", "", enlarged(base, settings))]
    for method in METHODS:
        path = file_of(settings, method, seed, ".png")
        own = [result for result in results if result.method == method]
        if path.exists() and own:
            names = ("seconds", "peak_mb", "index", "source_index")
            seconds, peak, index, source = (np.mean([getattr(each, name) for each in own]) for name in names)
            over = f" ({own[0].tile_calls} over tiles)" if own[0].tile_calls else ""
            cost = f"{seconds:.0f} s, {peak:.0f} MB, {own[0].calls} calls{over}"
            seams = f"seams {index:.2f} (source {source:.2f})" if own[0].joins else "no joins"
            good = f"yield {sum(result.good for result in own)} of {len(own)}"
            cells.append((method, cost, f"{seams}, {good}", Image.open(path).convert("RGB")))
    columns, band, gap = 4, 58, 8
    rows = -(-len(cells) // columns)
    height = band + 2 * CROP + gap
    picture = Image.new("RGB", (columns * (CROP + gap) + gap, rows * (height + gap) + gap), PAPER)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=15)
    for index, (title, cost, gave, large) in enumerate(cells):
        left, top = gap + index % columns * (CROP + gap), gap + index // columns * (height + gap)
        pen.text((left, top), title, fill=INK, font=font)
        for line, text in enumerate((cost, gave)):
            pen.text((left, top + 19 + 18 * line), text, fill=INK, font=ImageFont.load_default(size=13))
        picture.paste(large.resize((CROP, CROP), Image.Resampling.LANCZOS), (left, top + band))
        x, y = (large.width - CROP) // 2, large.height // 4
        picture.paste(large.crop((x, y, x + CROP, y + CROP)), (left, top + band + CROP + gap))
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("methods"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=4)
    parser.add_argument("--denoise", type=float, default=0.2)
    parser.add_argument("--upscaler", default="hires-pocket-x4")
    parser.add_argument("--only", choices=sorted(METHODS), action="append")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    settings = Settings(args.out.resolve(), args.denoise, args.upscaler)
    settings.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(max(torch.get_num_threads(), 1))
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    names = args.only or list(METHODS)
    for seed in seeds:
        for name in names:
            kept = file_of(settings, name, seed, ".json")
            if kept.exists():
                continue
            if args.child:
                kept.write_text(json.dumps(asdict(measured(name, seed, settings))) + "\n", encoding="utf-8")
                continue
            words = ["--child", "--only", name, "--first-seed", str(seed), "--seeds", "1"]
            words += ["--out", str(settings.out), "--denoise", str(args.denoise), "--upscaler", args.upscaler]
            subprocess.run([sys.executable, "-m", "benchmarks.methods", *words], check=True)
            print(f"{name}, seed {seed}: {kept.read_text(encoding='utf-8').strip()}", flush=True)
    if args.child:
        return
    files = [file_of(settings, name, seed, ".json") for name in METHODS for seed in seeds]
    results = [Result(**json.loads(path.read_text(encoding="utf-8"))) for path in files if path.exists()]
    (settings.out / "methods.md").write_text(table(results), encoding="utf-8")
    sheet(settings, args.first_seed, results).save(settings.out / "methods.png", optimize=True)
    print(table(results))


if __name__ == "__main__":
    main()
