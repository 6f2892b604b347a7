"""`hires demo`: what the second pass does, on one prompt, in three pictures and a sheet that compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hires.api import Drawn, Engine, OnEvent
from hires.imaging.sheets import side_by_side
from hires.metadata.files import write_numbered
from hires.pocket import BUILT_IN_NAME, GUIDANCE
from hires.recipes.request import HiresFix, Txt2Img

PROMPT = "1girl, pink hair, long hair, smile, beach, ocean, blue sky, upper body"
SEED = 1
SCALE = 2
SHEET_HEIGHT = 512

DisplayFactory = Callable[[], AbstractContextManager[OnEvent]]


def run_demo(engine: Engine, display: DisplayFactory, prompt: str | None, seed: int | None) -> Iterator[str]:
    """Draw the base, the same prompt directly at the large size, and the hires fix; yields the lines to print."""
    base = Txt2Img(
        prompt=prompt or PROMPT,
        checkpoint=BUILT_IN_NAME,
        seed=SEED if seed is None else seed,
        steps=20,
        cfg=GUIDANCE,
        sampler="DPM++ 2M",
        schedule="Karras",
    )
    base, _ = engine.prepare(base)
    large = {"width": base.width * SCALE, "height": base.height * SCALE}
    hires = HiresFix(upscaler="Lanczos", scale=SCALE, steps=12, denoise=0.5)
    plain = _draw(engine, display, base)
    direct = _draw(engine, display, base, **large)
    fixed = _draw(engine, display, base, hires=hires)
    rows = [
        (f"One pass, {_size(plain)}\nthe model's own size, enlarged here pixel by pixel", plain),
        (f"One pass, {_size(direct)}\ndrawn directly at the large size", direct),
        (
            f"Two passes, {_size(plain)} to {_size(fixed)}\nhires fix: {hires.upscaler}, denoising {hires.denoise}",
            fixed,
        ),
    ]
    sheet = side_by_side([(label, drawn.pictures[0]) for label, drawn in rows], SHEET_HEIGHT)
    path = write_numbered(engine.settings.output_dir, "demo", ".png", lambda file: sheet.save(file, format="PNG"))
    yield f"one pass at {_size(plain)}:   {plain.paths[0]}   ({plain.summary})"
    yield f"one pass at {_size(direct)}:   {direct.paths[0]}   ({direct.summary})"
    yield f"two passes to {_size(fixed)}: {fixed.paths[0]}   ({fixed.summary})"
    yield f"side by side:            {path}"
    yield from _next_steps(fixed.paths[0], engine.settings.output_dir)


def _draw(engine: Engine, display: DisplayFactory, request: Txt2Img, **changes: Any) -> Drawn:
    with display() as on_event:
        return engine.txt2img(request, on_event=on_event, **changes)


def _size(drawn: Drawn) -> str:
    width, height = drawn.pictures[0].size
    return f"{width}x{height}"


def _next_steps(picture: Path, outputs: Path) -> list[str]:
    command = ".venv/bin/hires" if Path(".venv/bin/hires").exists() else "hires"
    return [
        "",
        "Try next:",
        f'  {command} txt2img "1boy, red hair, city, upper body" --scale 2 --denoise 0.5 --output-dir {outputs}',
        f"  {command} txt2img --from {picture} --denoise 0.7 --output-dir {outputs}",
        f"  {command} models     put checkpoints into models/checkpoints and they are listed here",
    ]
