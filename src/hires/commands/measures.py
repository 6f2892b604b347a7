"""`hires pocket train pictures`, `classifier`, `detector`, `measures`: what the model's pictures are measured with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.commands.stages import DRAWINGS, Out, Run, door, progress, stage_command, train_app
from hires.commands.training import app

__all__ = ["app"]

PICTURES, CLASSIFIER, DETECTOR, MEASURES = "pictures", "classifier", "detector", "measures"


@train_app.command()
def pictures(
    out: Out = Path("training"),
    count: Annotated[int, typer.Option(min=1, help="Pictures to draw.")] = 6000,
    seed: Annotated[int, typer.Option(help="Every random choice follows from it.")] = 0,
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


@stage_command(steps=3000, batch=32, sheet_every=1000)
def classifier(run: Run) -> None:
    """Train the classifier of tags on the drawings and on the pictures with one subject."""
    from hires.pocket.classifier import ClassifierRecipe, ClassifierStage
    from hires.pocket.pool import Pool
    from hires.pocket.shards import Shards

    recipe = ClassifierRecipe(seed=run.seed, batch=run.batch)
    stage = ClassifierStage(Pool(run.out / PICTURES), Shards(run.out / DRAWINGS), recipe, run.where)
    run.train(stage, CLASSIFIER)


@stage_command(steps=3000, batch=24, sheet_every=500)
def detector(run: Run) -> None:
    """Train the detector of subjects on the pictures, whole and damaged."""
    from hires.pocket.detector import DetectorRecipe, DetectorStage
    from hires.pocket.pool import Pool

    recipe = DetectorRecipe(seed=run.seed, batch=run.batch)
    run.train(DetectorStage(Pool(run.out / PICTURES), recipe, run.where), DETECTOR)


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
