"""`hires pocket train pictures`, `classifier`, `detector`, `measures`: what the model's pictures are measured with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.pocket.cli import (
    DRAWINGS,
    Batch,
    Device,
    Minutes,
    Out,
    Resume,
    Seed,
    SheetEvery,
    Steps,
    app,
    chosen_device,
    door,
    progress,
    run_stage,
    train_app,
)

__all__ = ["app"]

PICTURES, CLASSIFIER, DETECTOR, MEASURES = "pictures", "classifier", "detector", "measures"


@train_app.command()
def pictures(
    out: Out = Path("training"),
    count: Annotated[int, typer.Option(min=1, help="Pictures to draw.")] = 6000,
    seed: Seed = 0,
    decoded: Annotated[float, typer.Option(min=0, max=1, help="Share that goes through the autoencoder.")] = 0.3,
    checkpoint: Annotated[Path | None, typer.Option(help="Whose autoencoder [the built-in model's].")] = None,
) -> None:
    """Draw pictures with one and several subjects for the classifier and the detector. What is there is kept."""
    with door() as stop:
        from hires.models.native import native_size
        from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
        from hires.pocket.pool import PoolPlan, autoencoder_pass, write_pool

        path = checkpoint or BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME
        through = autoencoder_pass(path)
        plan = PoolPlan(count, seed, decoded, native_size(path, "sd1"))
        write_pool(out / PICTURES, plan, through, say=progress("pictures drawn"), stop=stop.is_set)


@train_app.command()
def classifier(
    out: Out = Path("training"),
    steps: Steps = 3000,
    minutes: Minutes = None,
    device: Device = "auto",
    resume: Resume = True,
    seed: Seed = 0,
    batch: Batch = 32,
    sheet_every: SheetEvery = 1000,
) -> None:
    """Train the classifier of tags on the drawings and on the pictures with one subject."""
    with door() as stop:
        from hires.pocket.classifier import ClassifierRecipe, ClassifierStage
        from hires.pocket.pool import Pool
        from hires.pocket.shards import Shards

        recipe = ClassifierRecipe(seed=seed, batch=batch)
        stage = ClassifierStage(Pool(out / PICTURES), Shards(out / DRAWINGS), recipe, chosen_device(device))
        run_stage(stage, out / CLASSIFIER, steps, minutes, sheet_every, resume, stop)


@train_app.command()
def detector(
    out: Out = Path("training"),
    steps: Steps = 3000,
    minutes: Minutes = None,
    device: Device = "auto",
    resume: Resume = True,
    seed: Seed = 0,
    batch: Batch = 24,
    sheet_every: SheetEvery = 500,
) -> None:
    """Train the detector of subjects on the pictures, whole and damaged."""
    with door() as stop:
        from hires.pocket.detector import DetectorRecipe, DetectorStage
        from hires.pocket.pool import Pool

        stage = DetectorStage(Pool(out / PICTURES), DetectorRecipe(seed=seed, batch=batch), chosen_device(device))
        run_stage(stage, out / DETECTOR, steps, minutes, sheet_every, resume, stop)


@train_app.command()
def measures(
    out: Out = Path("training"),
    to: Annotated[Path | None, typer.Option(help="Folder to write to [OUT/export/measures].")] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Say how right they are on held-out drawings.")
    ] = True,
) -> None:
    """Write tags.safetensors and faces.safetensors, and say how right they are on drawings that they never saw."""
    with door():
        from hires.pocket.checking import check_text
        from hires.pocket.classifier import load_classifier
        from hires.pocket.detector import load_detector
        from hires.pocket.sight import write_weights

        folder = to or out / "export" / MEASURES
        tags, faces = folder / "tags.safetensors", folder / "faces.safetensors"
        write_weights(out / CLASSIFIER, CLASSIFIER, tags)
        write_weights(out / DETECTOR, DETECTOR, faces)
        for path in (tags, faces):
            typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        if check:
            typer.echo(check_text(load_classifier(tags), load_detector(faces)))
