"""`hires pocket train ...`: the stages that make the built-in model, each resumable. Heavy imports are inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hires.commands.stages import (
    DRAWINGS,
    EXPORT,
    Minutes,
    Out,
    Rate,
    Run,
    Short,
    Start,
    Threads,
    To,
    app,
    at_rate,
    door,
    progress,
    stage_command,
    train_app,
)
from hires.errors import SettingError

__all__ = ["app"]

LATENTS, VAE, MODEL, UPSCALER = "latents", "vae", "model", "upscaler"


@train_app.command()
def data(
    out: Out = Path("training"),
    scenes: Annotated[int, typer.Option(min=1, help="Scenes to draw, three pictures each.")] = 16000,
    size: Annotated[int, typer.Option(min=64, help="Base size in pixels, a multiple of 32.")] = 160,
    seed: Annotated[int, typer.Option(help="Seed of the first scene; the others follow.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
    minutes: Minutes = None,
) -> None:
    """Draw scenes with their captions to disk. What is already drawn is kept."""
    import time

    from hires.pocket.shards import Plan, write_shards

    with door() as stop:
        if size % 32:
            near = size // 32 * 32
            raise SettingError(f"--size {size} is not a multiple of 32", f"Give {near} or {near + 32}.")
        end = None if minutes is None else time.monotonic() + minutes * 60

        def over() -> bool:
            return stop.is_set() or (end is not None and time.monotonic() > end)

        write_shards(out / DRAWINGS, Plan(scenes, size, seed), processes, say=progress("scenes drawn"), stop=over)


@stage_command(steps=20000, batch=32, sheet_every=1000)
def vae(run: Run, start: Start = None, rate: Rate = None, short: Short = False) -> None:
    """Train the autoencoder on crops of the drawings."""
    from hires.pocket.shards import Shards
    from hires.pocket.start import read_start, sizes_of, started_vae
    from hires.pocket.train_vae import VaeRecipe, VaeStage

    recipe, begun = VaeRecipe(seed=run.seed, batch=run.batch), None
    if start is not None:
        checkpoint = read_start(start)
        recipe, begun = replace(recipe, sizes=sizes_of(checkpoint)), started_vae(checkpoint)
    recipe = replace(recipe, optimizer=at_rate(recipe.optimizer, rate), short=short)
    run.train(VaeStage(Shards(run.out / DRAWINGS), recipe, run.where, begun), VAE)


@stage_command(steps=40000, batch=64, sheet_every=2000)
def model(run: Run, start: Start = None, rate: Rate = None, short: Short = False, threads: Threads = 1) -> None:
    """Train the text encoder and the UNet; the drawings are encoded first, once."""
    from hires.pocket.latents import encode_shards
    from hires.pocket.shards import Shards
    from hires.pocket.start import read_start, sizes_of, started_model
    from hires.pocket.train_model import ModelRecipe, ModelStage
    from hires.pocket.train_vae import trained_vae
    from hires.pocket.words import Words

    where, shards, autoencoder = run.where, Shards(run.out / DRAWINGS), trained_vae(run.out / VAE)
    said, stop = progress("scenes encoded"), run.stop.is_set
    latents = encode_shards(shards, autoencoder, run.out / LATENTS, where, say=said, stop=stop)
    words = Words.of_captions(latents.captions)
    recipe, begun = ModelRecipe(seed=run.seed, batch=run.batch, threads=threads), None
    if start is not None:
        checkpoint = read_start(start)
        recipe, begun = replace(recipe, sizes=sizes_of(checkpoint)), started_model(checkpoint, words)
    recipe = replace(recipe, optimizer=at_rate(recipe.optimizer, rate), short=short)
    run.train(ModelStage(latents, words, autoencoder, recipe, where, begun), MODEL)


@stage_command(steps=9500, batch=12, sheet_every=1000)
def upscaler(
    run: Run,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Say PSNR and SSIM at the end.")] = True,
) -> None:
    """Train the x4 upscaler on crops of the drawings, and measure it on drawings that it never saw."""
    from hires.pocket import upscaler as network
    from hires.pocket.shards import Shards

    recipe = network.UpscalerRecipe(seed=run.seed, batch=run.batch)
    stage = network.UpscalerStage(Shards(run.out / DRAWINGS), recipe, run.where)
    run.train(stage, UPSCALER)
    if measure:
        typer.echo(network.as_table(network.measure(stage.learner.average)))


@train_app.command()
def export(out: Out = Path("training"), to: To = None) -> None:
    """Write what is trained as checkpoints/hires-pocket.safetensors and upscale_models/hires-pocket-x4.safetensors."""
    with door():
        from hires.pocket import BUILT_IN_NAME
        from hires.pocket import export as files
        from hires.pocket.shards import Shards
        from hires.pocket.training import CHECKPOINT

        folder = to or out / EXPORT
        written = []
        if (out / MODEL / CHECKPOINT).exists():
            written.append(folder / "checkpoints" / BUILT_IN_NAME)
            files.export_model(out / MODEL, out / VAE, Shards(out / DRAWINGS).plan.size, written[-1])
        if (out / UPSCALER / CHECKPOINT).exists():
            written.append(folder / "upscale_models" / "hires-pocket-x4.safetensors")
            files.export_upscaler(out / UPSCALER, written[-1])
        if not written:
            raise SettingError(f"nothing is trained in {out}", "Run hires pocket train model or upscaler first.")
        for path in written:
            typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
