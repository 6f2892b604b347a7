"""`hires pocket evaluate` and `hires pocket sheet`, beside the commands that train. Heavy imports are inside."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hires.commands.additions import app
from hires.commands.stages import door
from hires.pocket import BUILT_IN_NAME, GUIDANCE

if TYPE_CHECKING:
    from hires.api import Engine

__all__ = ["app"]

Checkpoint = Annotated[str, typer.Option("--checkpoint", "-m", help="A model that knows our drawings, by name.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the first caption and its picture; the others follow.")]
ModelsDir = Annotated[Path | None, typer.Option(help="Folder with checkpoints/, upscale_models/ ...")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps of a first pass.")]
Cfg = Annotated[float, typer.Option(min=0, help="Guidance scale.")]


@contextmanager
def engine_for(stop: threading.Event, models_dir: Path | None, device: str | None) -> Iterator[Engine]:
    """An engine whose own outputs are thrown away: evaluation keeps its pictures itself."""
    from hires.api import Engine
    from hires.settings import load_settings

    with tempfile.TemporaryDirectory(prefix="hires-evaluate-") as outputs:
        yield Engine(load_settings({"models_dir": models_dir, "device": device, "output_dir": outputs}), stop=stop)


@app.command()
def evaluate(
    checkpoint: Checkpoint = BUILT_IN_NAME,
    count: Annotated[int, typer.Option(min=2, help="Captions to draw.")] = 24,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the report; a stopped run goes on.")] = Path(
        "evaluation"
    ),
    seed: Seed = 0,
    steps: Steps = 20,
    hires_steps: Annotated[int, typer.Option(min=1, help="Steps of a second pass.")] = 12,
    cfg: Cfg = GUIDANCE,
    upscaler: Annotated[str, typer.Option(help="Upscaler of the second pass.")] = "Latent",
    denoise: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="Denoising strengths to try at 2x; may be repeated.")
    ] = None,
    upscalers: Annotated[bool, typer.Option("--upscalers/--no-upscalers", help="Measure x4 upscalers.")] = True,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Draw random captions and measure tags, yield, detail and content kept. Needs the extra `train`."""
    with door() as stop:
        from hires.evaluating import DENOISES, Evaluation, EvaluationPlan, run

        plan = EvaluationPlan(checkpoint, seed, steps, hires_steps, cfg, upscaler)
        with engine_for(stop, models_dir, device) as engine:
            evaluation = Evaluation(engine, plan, count, out, lambda line: typer.echo(line, err=True))
            typer.echo(run(evaluation, sorted(set(denoise or DENOISES)), upscalers))


@app.command()
def sheet(
    checkpoint: Checkpoint = BUILT_IN_NAME,
    count: Annotated[int, typer.Option(min=1, help="Captions to draw.")] = 64,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("sheet.png"),
    seed: Seed = 0,
    columns: Annotated[int, typer.Option(min=1, help="Pictures in a row.")] = 8,
    steps: Steps = 20,
    cfg: Cfg = GUIDANCE,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Draw random captions at the model's own size, unselected, as one labelled picture. Needs the extra `train`."""
    with door() as stop:
        from hires.errors import OutputError
        from hires.evaluating import Evaluation, EvaluationPlan
        from hires.evaluating import sheet as drawn_sheet

        plan = EvaluationPlan(checkpoint, seed, steps=steps, cfg=cfg)
        with engine_for(stop, models_dir, device) as engine, tempfile.TemporaryDirectory() as pictures:
            evaluation = Evaluation(engine, plan, count, Path(pictures), lambda line: typer.echo(line, err=True))
            picture = drawn_sheet(evaluation, columns)
            try:
                out.parent.mkdir(parents=True, exist_ok=True)
                picture.save(out)
            except (OSError, ValueError) as problem:
                raise OutputError(f"{out} could not be written: {problem}", "Name a .png file.") from None
            typer.echo(out)
