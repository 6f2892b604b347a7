"""The `hires` command. Each command is a few lines over `hires.api`; everything heavy is imported inside them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires import __version__
from hires.errors import HiresError, Interrupted
from hires.pocket.cli import app as pocket_app

if TYPE_CHECKING:
    from hires.api import Engine

USER_ERROR, OUR_FAULT, STOPPED = 2, 1, 130

app = typer.Typer(
    name="hires",
    help="Large, detailed images with Stable Diffusion: draw small, enlarge, draw again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

workflow_app = typer.Typer(
    help="Look at workflows and convert them, in any file: JSON, pictures, latents, infotext.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(workflow_app, name="workflow")
app.add_typer(pocket_app, name="pocket")

ModelsDir = Annotated[Path | None, typer.Option(help="Folder with checkpoints/, vae/, loras/ ... (or A1111's names).")]
InputDir = Annotated[Path | None, typer.Option(help="Folder of the pictures that workflows load.")]
OutputDir = Annotated[Path | None, typer.Option(help="Folder for results.")]
CustomNodesDir = Annotated[
    Path | None, typer.Option(help="Folder of other people's nodes; their code is run with your rights.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Weights = Annotated[str | None, typer.Option(help="Hold weights as auto, float32, float16 or bfloat16.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hires {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Large, detailed images with Stable Diffusion: draw small, enlarge, draw again."""


@app.command()
def txt2img(
    prompt: Annotated[str | None, typer.Argument(help="What to draw.")] = None,
    negative: Annotated[str | None, typer.Option("--negative", "-n", help="What to avoid.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Take all settings from a picture's infotext.")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", "-m", help="Model by name or hash.")] = None,
    vae: Annotated[str | None, typer.Option(help="A separate VAE file.")] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", "-s", help="See `hires samplers`.")] = None,
    schedule: Annotated[str | None, typer.Option(help="See `hires samplers`.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps [20].")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance scale [7].")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of the first pass [the model's own].")] = None,
    seed: Annotated[int | None, typer.Option(help="-1 for a random one.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures at once [1].")] = None,
    batch_count: Annotated[int | None, typer.Option(help="Batches one after the other [1].")] = None,
    clip_skip: Annotated[int | None, typer.Option(help="1 = last layer of the text encoder.")] = None,
    hires: Annotated[
        bool | None, typer.Option("--hires/--no-hires", help="A second, larger pass (any option below turns it on).")
    ] = None,
    upscaler: Annotated[str | None, typer.Option(help="Latent, Latent (bicubic) ..., None, Lanczos, Nearest.")] = None,
    scale: Annotated[float | None, typer.Option(help="Hires pass: enlarge by this factor [2].")] = None,
    hires_size: Annotated[
        str | None, typer.Option(help="Hires pass: WIDTHxHEIGHT instead of a factor; 0 for one side keeps the aspect.")
    ] = None,
    denoise: Annotated[float | None, typer.Option(help="Hires pass: denoising strength, 0 to 1 [0.7].")] = None,
    hires_steps: Annotated[int | None, typer.Option(help="Hires pass: steps, 0 = as the first pass.")] = None,
    hires_sampler: Annotated[str | None, typer.Option(help="Hires pass: another sampler.")] = None,
    hires_schedule: Annotated[str | None, typer.Option(help="Hires pass: another schedule.")] = None,
    hires_prompt: Annotated[str | None, typer.Option(help="Hires pass: another prompt.")] = None,
    hires_negative: Annotated[str | None, typer.Option(help="Hires pass: another negative prompt.")] = None,
    hires_cfg: Annotated[float | None, typer.Option(help="Hires pass: another guidance scale.")] = None,
    hires_checkpoint: Annotated[str | None, typer.Option(help="Hires pass: another model.")] = None,
    refiner: Annotated[str | None, typer.Option(help="Checkpoint that takes over during sampling.")] = None,
    switch_at: Annotated[
        float | None, typer.Option(help="Refiner: when this share of the noise is gone [0.8].")
    ] = None,
    switch_by_steps: Annotated[bool | None, typer.Option(help="Refiner: --switch-at is a share of the steps.")] = None,
    switch_step: Annotated[int | None, typer.Option(help="Refiner: its first step, counted from 0.")] = None,
    refiner_passes: Annotated[str | None, typer.Option(help="Refiner: first pass, second pass or both passes.")] = None,
    save_first_pass: Annotated[bool, typer.Option(help="Also write the picture before the hires pass.")] = False,
    variation_seed: Annotated[int | None, typer.Option(help="-1 for a random one.")] = None,
    variation_strength: Annotated[
        float | None, typer.Option(help="0 to 1: how far towards the variation seed.")
    ] = None,
    seed_resize_from: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT whose composition the seed keeps.")] = None,
    ensd: Annotated[int | None, typer.Option(help="Eta noise seed delta.")] = None,
    rng: Annotated[str | None, typer.Option(help="Random numbers as of NV (CUDA's, on any machine) or CPU.")] = None,
    emphasis: Annotated[str | None, typer.Option(help="Original, No norm, Ignore, None or ComfyUI.")] = None,
    eta: Annotated[float | None, typer.Option(help="Noise of ancestral and SDE samplers, 0 to 1.")] = None,
    s_churn: Annotated[float | None, typer.Option(help="Churn of Euler, Heun and DPM2.")] = None,
    s_tmin: Annotated[float | None, typer.Option(help="Lowest sigma with churn.")] = None,
    s_tmax: Annotated[float | None, typer.Option(help="Highest sigma with churn, 0 = any.")] = None,
    s_noise: Annotated[float | None, typer.Option(help="Factor on the noise that samplers add.")] = None,
    dialect: Annotated[str | None, typer.Option(help="Numbers as in the A1111 web UI (webui) or comfyui.")] = None,
    models_dir: ModelsDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    weights: Weights = None,
) -> None:
    """Draw from text: one pass, or two with hires fix, with or without a refiner."""
    given = dict(locals())
    with door() as stop:
        from hires.options import request_from_options
        from hires.progress import Display
        from hires.recipes.describe import describe, notices

        engine = _engine(given, stop)
        request, facts = engine.prepare(request_from_options(given))
        typer.echo(describe(request, facts), err=True)
        for notice in notices(request, facts):
            typer.echo(f"note: {notice}", err=True)
        with Display() as display:
            drawn = engine.txt2img(request, on_event=display)
        for picture in drawn.paths:
            typer.echo(str(picture))
        typer.echo(drawn.summary, err=True)


@app.command()
def run(
    workflows: Annotated[
        list[Path], typer.Argument(help="Workflow files: JSON, or a picture or latent that carries one, or infotext.")
    ],
    node: Annotated[
        list[str] | None, typer.Option(help="Run only the node of this id and what it needs; may be repeated.")
    ] = None,
    custom_nodes_dir: CustomNodesDir = None,
    models_dir: ModelsDir = None,
    input_dir: InputDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    weights: Weights = None,
) -> None:
    """Run ComfyUI workflows, several in one engine, so that what they share is computed once."""
    given = dict(locals())
    with door() as stop:
        from hires.progress import Display, report_lines

        engine = _engine(given, stop)
        failed = False
        for path in workflows:
            try:
                with Display() as display:
                    report = engine.run(path, targets=node, on_event=display)
            except HiresError as error:
                line = str(error)
                typer.echo(f"hires: {line}" if line.startswith(path.name) else f"hires: {path.name}: {line}", err=True)
                failed = True
                continue
            for line in report_lines(path.name, report):
                typer.echo(line, err=line.startswith("hires:"))
            failed = failed or bool(report.failures or report.faults)
        if failed:
            raise typer.Exit(USER_ERROR)


@workflow_app.command("show")
def workflow_show(
    file: Annotated[Path, typer.Argument(help="JSON, PNG, WebP, JPEG, AVIF, .latent, or a text file of infotext.")],
    models_dir: ModelsDir = None,
    custom_nodes_dir: CustomNodesDir = None,
) -> None:
    """Print a workflow as a tree: every output, what it is made from, and all settings."""
    given = dict(locals())
    with door() as stop:
        engine = _engine(given, stop)
        for line in engine.tree(engine.read(file)):
            typer.echo(line)


@workflow_app.command("convert")
def workflow_convert(
    file: Annotated[Path, typer.Argument(help="The workflow, in any file that `hires run` takes.")],
    out: Annotated[Path, typer.Argument(help="The new file; one that is there is not written over.")],
    to: Annotated[str, typer.Option(help="api, ui (the node editor's file) or infotext (as A1111 writes it).")],
    models_dir: ModelsDir = None,
    custom_nodes_dir: CustomNodesDir = None,
) -> None:
    """Convert a workflow between API format, the node editor's file and A1111's infotext."""
    given = dict(locals())
    with door() as stop:
        from hires.converting import convert

        for line in convert(_engine(given, stop), file, out, to):
            typer.echo(line, err=True)
        typer.echo(str(out))


@app.command()
def models(models_dir: ModelsDir = None) -> None:
    """List the models that were found: kind, family, precision, size and hash."""
    with door() as stop:
        from hires.progress import models_table

        models_table(_engine({"models_dir": models_dir}, stop).models())


@app.command()
def samplers() -> None:
    """List samplers and schedules, with the names of both the web UI and ComfyUI."""
    with door():
        from hires.progress import samplers_table

        samplers_table()


@app.command()
def demo(
    output_dir: OutputDir = None,
    prompt: Annotated[str | None, typer.Option(help="What to draw instead.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed.")] = None,
) -> None:
    """Draw one prompt small, directly large, and with hires fix, by the built-in model; put them side by side."""
    with door() as stop:
        from hires.demo import run_demo
        from hires.progress import Display

        engine = _engine({"output_dir": output_dir}, stop)
        for line in run_demo(engine, Display, prompt, seed):
            typer.echo(line)


def _engine(given: dict[str, Any], stop: threading.Event) -> Engine:
    from hires.api import Engine
    from hires.settings import load_settings

    names = ("models_dir", "input_dir", "output_dir", "custom_nodes_dir", "device", "weights")
    engine = Engine(load_settings({name: given.get(name) for name in names}), stop=stop)
    for problem in engine.custom.problems:
        typer.echo(f"hires: {problem}", err=True)
    return engine


@contextmanager
def door() -> Iterator[threading.Event]:
    """What every command stands in: Ctrl-C stops after the current step, and errors become one line each."""
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: _interrupt(stop))
    try:
        yield stop
    except HiresError as error:
        typer.echo(f"hires: {error}", err=True)
        raise typer.Exit(USER_ERROR) from error
    except (Interrupted, KeyboardInterrupt) as error:
        typer.echo("hires: stopped; what was finished before is kept", err=True)
        raise typer.Exit(STOPPED) from error
    except typer.Exit:
        raise
    except Exception as error:
        typer.echo(f"hires: {_logged(error)}", err=True)
        raise typer.Exit(OUR_FAULT) from error
    finally:
        signal.signal(signal.SIGINT, previous)


def _interrupt(stop: threading.Event) -> None:
    """The first Ctrl-C asks to stop at the next step, the second stops at once."""
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()


def _logged(error: Exception) -> str:
    """Keep the traceback of a fault of ours in the log; the line that says so."""
    line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    log = Path(os.environ.get("HIRES_LOG", "~/.cache/hires/hires.log")).expanduser()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        traceback.print_exception(error, file=sys.stderr)
        return f"a fault in hires: {line}"
    return f"a fault in hires: {line}. The traceback is in {log}"


def main() -> None:
    """Entry point of the `hires` command."""
    app()
