"""`hires pocket train ...`: the stages that make the built-in model, each resumable. Heavy imports are inside."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires.errors import HiresError, Interrupted, SettingError

if TYPE_CHECKING:
    import torch

    from hires.pocket.training import Recipe, Stage

USER_ERROR, STOPPED = 2, 130
DRAWINGS, LATENTS, VAE, MODEL, UPSCALER, EXPORT = "drawings", "latents", "vae", "model", "upscaler", "export"
HELP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(help="The built-in model: how it is made and measured.", **HELP)
train_app = typer.Typer(help="Train the built-in model on our drawings: data, vae, model, upscaler, export.", **HELP)
app.add_typer(train_app, name="train")

Out = Annotated[Path, typer.Option(help="Folder of the whole training; each stage has its own folder in it.")]
Steps = Annotated[int, typer.Option(min=1, help="Length of the run; the learning rate falls at its end.")]
Minutes = Annotated[float | None, typer.Option(min=0, help="Stop after this time; the next call goes on.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from the folder's checkpoint.")]
Seed = Annotated[int, typer.Option(help="Every random choice follows from it.")]
Batch = Annotated[int, typer.Option(min=1, help="Samples a step.")]
SheetEvery = Annotated[int, typer.Option(min=1, help="Steps between contact sheets.")]
Start = Annotated[Path | None, typer.Option(help="Begin from the weights of this checkpoint, not from random ones.")]
Short = Annotated[
    bool, typer.Option("--short/--no-short", help="Multiply in bfloat16 on a CPU that has instructions for it.")
]
Rate = Annotated[float | None, typer.Option(min=1e-7, help="Learning rate [the stage's own].")]


@contextmanager
def door() -> Iterator[threading.Event]:
    """Errors as one line; Ctrl-C or a terminate signal asks to stop at the next step, with a checkpoint written."""
    stop = threading.Event()
    known = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except HiresError as error:
        typer.echo(f"hires: {error}", err=True)
        raise typer.Exit(USER_ERROR) from error
    except Interrupted as error:
        typer.echo("hires: stopped; the same command goes on from here", err=True)
        raise typer.Exit(STOPPED) from error
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)


def at_rate(recipe: Recipe, rate: float | None) -> Recipe:
    """The optimiser's recipe at a learning rate of the user's choice."""
    return recipe if rate is None else replace(recipe, rate=rate)


def chosen_device(name: str) -> torch.device:
    """`auto` is the first CUDA device where there is one."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(f"there is no device {name!r}", "Give auto, cpu, cuda or cuda:1.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            f"this machine has {torch.cuda.device_count()} CUDA devices, so no {name}", "Try --device cpu."
        )
    return device


def progress(what: str) -> Any:
    """A line a tenth of the work."""
    told = [0]

    def say(done: int, total: int) -> None:
        tenth = done * 10 // total
        if tenth > told[0]:
            told[0] = tenth
            typer.echo(f"{what}: {done} of {total}")

    return say


def run_stage(
    stage: Stage, folder: Path, steps: int, minutes: float | None, sheet_every: int, resume: bool, stop: threading.Event
) -> None:
    """Train and say how far it came."""
    from hires.pocket.training import Limits, train

    limits = Limits(steps, minutes, sheet_every=sheet_every)
    done = train(stage, folder, limits, resume=resume, say=typer.echo, stop=stop.is_set)
    typer.echo(f"{done} of {steps} steps are done: {folder}")


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


@train_app.command()
def vae(
    out: Out = Path("training"),
    steps: Steps = 20000,
    minutes: Minutes = None,
    device: Device = "auto",
    resume: Resume = True,
    seed: Seed = 0,
    batch: Batch = 32,
    sheet_every: SheetEvery = 1000,
    start: Start = None,
    rate: Rate = None,
    short: Short = False,
) -> None:
    """Train the autoencoder on crops of the drawings."""
    with door() as stop:
        from hires.pocket.shards import Shards
        from hires.pocket.start import read_start, sizes_of, started_vae
        from hires.pocket.train_vae import VaeRecipe, VaeStage

        recipe, begun = VaeRecipe(seed=seed, batch=batch), None
        if start is not None:
            checkpoint = read_start(start)
            recipe, begun = replace(recipe, sizes=sizes_of(checkpoint)), started_vae(checkpoint)
        recipe = replace(recipe, optimizer=at_rate(recipe.optimizer, rate), short=short)
        stage = VaeStage(Shards(out / DRAWINGS), recipe, chosen_device(device), begun)
        run_stage(stage, out / VAE, steps, minutes, sheet_every, resume, stop)


@train_app.command()
def model(
    out: Out = Path("training"),
    steps: Steps = 40000,
    minutes: Minutes = None,
    device: Device = "auto",
    resume: Resume = True,
    seed: Seed = 0,
    batch: Batch = 64,
    sheet_every: SheetEvery = 2000,
    start: Start = None,
    rate: Rate = None,
    short: Short = False,
    threads: Annotated[int, typer.Option(min=1, help="Parts of a batch at once, one thread each (CPU).")] = 1,
) -> None:
    """Train the text encoder and the UNet; the drawings are encoded first, once."""
    with door() as stop:
        from hires.pocket.latents import encode_shards
        from hires.pocket.shards import Shards
        from hires.pocket.start import read_start, sizes_of, started_model
        from hires.pocket.train_model import ModelRecipe, ModelStage
        from hires.pocket.train_vae import trained_vae
        from hires.pocket.words import Words

        where, shards, autoencoder = chosen_device(device), Shards(out / DRAWINGS), trained_vae(out / VAE)
        latents = encode_shards(
            shards, autoencoder, out / LATENTS, where, say=progress("scenes encoded"), stop=stop.is_set
        )
        words = Words.of_captions(latents.captions)
        recipe, begun = ModelRecipe(seed=seed, batch=batch, threads=threads), None
        if start is not None:
            checkpoint = read_start(start)
            recipe, begun = replace(recipe, sizes=sizes_of(checkpoint)), started_model(checkpoint, words)
        recipe = replace(recipe, optimizer=at_rate(recipe.optimizer, rate), short=short)
        stage = ModelStage(latents, words, autoencoder, recipe, where, begun)
        run_stage(stage, out / MODEL, steps, minutes, sheet_every, resume, stop)


@train_app.command()
def upscaler(
    out: Out = Path("training"),
    steps: Steps = 9500,
    minutes: Minutes = None,
    device: Device = "auto",
    resume: Resume = True,
    seed: Seed = 0,
    batch: Batch = 12,
    sheet_every: SheetEvery = 1000,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Say PSNR and SSIM at the end.")] = True,
) -> None:
    """Train the x4 upscaler on crops of the drawings, and measure it on drawings that it never saw."""
    with door() as stop:
        from hires.pocket import upscaler as network
        from hires.pocket.shards import Shards

        recipe = network.UpscalerRecipe(seed=seed, batch=batch)
        stage = network.UpscalerStage(Shards(out / DRAWINGS), recipe, chosen_device(device))
        run_stage(stage, out / UPSCALER, steps, minutes, sheet_every, resume, stop)
        if measure:
            typer.echo(network.as_table(network.measure(stage.learner.average)))


@train_app.command()
def export(
    out: Out = Path("training"),
    to: Annotated[Path | None, typer.Option(help="Models folder to write to [OUT/export].")] = None,
) -> None:
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
