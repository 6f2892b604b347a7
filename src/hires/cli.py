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
from hires.measuring import app as pocket_app

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
Memory = Annotated[str | None, typer.Option(help="What a run may use, like 4GB (on the CPU: the whole process).")]


VaeMode = Annotated[
    str | None,
    typer.Option(help="Decode and encode: auto, untiled, exact, exact-lowram, exact-disk, fast or blend [auto]."),
]
VaeTile = Annotated[int | None, typer.Option(help="Side of the VAE's tiles in pixels, where it is tiled [512].")]
Tiled = Annotated[
    bool | None, typer.Option("--tiled/--no-tiled", help="Tiled Diffusion: denoise in tiles joined at every step.")
]
Tile = Annotated[str | None, typer.Option(help="Tile size in latent cells of 8 pixels, WIDTHxHEIGHT or one [96].")]
TileOverlap = Annotated[int | None, typer.Option(help="How far tiles overlap, in latent cells [48].")]
TileBatch = Annotated[int | None, typer.Option(help="Tiles at once [4].")]
TileMethod = Annotated[
    str | None, typer.Option(help="Cosine, MultiDiffusion, Mixture of Diffusers or SpotDiffusion [Cosine].")
]
Jitter = Annotated[bool | None, typer.Option("--jitter/--no-jitter", help="Move the tiles from step to step.")]
TilePrompts = Annotated[
    str | None,
    typer.Option(
        help="What tiles are told: the prompt and their part of the regions (regions), beside these only the words "
        "that the model looks for there (attention), or the prompt alone (off) [regions]."
    ),
]
MendAbove = Annotated[
    float | None, typer.Option(help="Draw joins of a higher seam index once more, as 1.03; 0 never [0].")
]
RegionPrompt = Annotated[
    list[str] | None,
    typer.Option(help="x,y,width,height:prompt[:negative[:Foreground[:feather[:seed]]]], in fractions. Repeatable."),
]
RegionFile = Annotated[Path | None, typer.Option(help='Regions as JSON {"bbox_controls": [...]}.')]
RegionBackground = Annotated[str | None, typer.Option(help="Under regions draw: fill (what is bare), on, off [fill].")]
Plan = Annotated[bool, typer.Option("--plan", help="Say the tiles and the memory it would take, and stop.")]


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
    vae_mode: VaeMode = None,
    vae_tile: VaeTile = None,
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
    tiled: Tiled = None,
    tile: Tile = None,
    tile_overlap: TileOverlap = None,
    tile_batch: TileBatch = None,
    tile_method: TileMethod = None,
    jitter: Jitter = None,
    tile_passes: Annotated[str | None, typer.Option(help="Tiles in: both passes, first pass or second pass.")] = None,
    region: RegionPrompt = None,
    regions: RegionFile = None,
    region_background: RegionBackground = None,
    deep_shrink: Annotated[
        float | None, typer.Option(help="Deep Shrink: the factor, 2 for twice the model's own size.")
    ] = None,
    plan: Plan = False,
    models_dir: ModelsDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    weights: Weights = None,
    memory: Memory = None,
) -> None:
    """Draw from text: one pass, or two with hires fix, with or without a refiner."""
    given = dict(locals())
    with door() as stop:
        from hires.options import request_from_options
        from hires.progress import Display
        from hires.recipes.describe import describe, notices
        from hires.recipes.tiled import plan_lines

        engine = _engine(given, stop)
        request, facts = engine.prepare(request_from_options(given))
        typer.echo(describe(request, facts), err=True)
        for line in plan_lines(request):
            typer.echo(line, err=not plan)
        if plan:
            typer.echo(engine.forecast(request).describe())
            return
        for notice in notices(request, facts):
            typer.echo(f"note: {notice}", err=True)
        with Display() as display:
            drawn = engine.txt2img(request, on_event=display)
        for picture in drawn.paths:
            typer.echo(str(picture))
        typer.echo(drawn.summary, err=True)


@app.command()
def upscale(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    by: Annotated[float | None, typer.Option(help="Enlarge by this factor [4].")] = None,
    to: Annotated[str | None, typer.Option(help="Enlarge to WIDTHxHEIGHT instead, covering it.")] = None,
    crop: Annotated[bool | None, typer.Option("--crop/--no-crop", help="Cut what --to covers to its size.")] = None,
    max_side: Annotated[int | None, typer.Option(help="With --by: no side longer than this.")] = None,
    upscaler: Annotated[str | None, typer.Option(help="See `hires upscalers` [Lanczos].")] = None,
    upscaler_2: Annotated[str | None, typer.Option("--upscaler2", help="A second one, blended in.")] = None,
    visibility: Annotated[float | None, typer.Option(help="Share of the second upscaler, 0 to 1.")] = None,
    tile: Annotated[int | None, typer.Option(help="Pixels a side that are enlarged at once [what fits].")] = None,
    alpha: Annotated[str | None, typer.Option(help="Transparency: keep, two-background or flatten.")] = None,
    edge: Annotated[str | None, typer.Option(help="clip, or wrap for textures that are laid side by side.")] = None,
    rule: Annotated[str | None, typer.Option(help="exact, or webui: sizes and roundings of A1111's Extras.")] = None,
    tiling: Annotated[str | None, typer.Option(help="exact, or a1111: the web UI's tiles, in 8 bits.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of LDSR [100] and SD x4 [75].")] = None,
    seed: Annotated[int | None, typer.Option(help="Of LDSR and SD x4 [0].")] = None,
    prompt: Annotated[str | None, typer.Option(help="For SD x4: what the picture shows.")] = None,
    cfg: Annotated[float | None, typer.Option(help="For SD x4 with a prompt: its guidance scale [9].")] = None,
    noise_level: Annotated[int | None, typer.Option(help="For SD x4: how much is drawn anew, 0 to 350 [20].")] = None,
    bits: Annotated[int | None, typer.Option(help="8 or 16 a channel [as the source].")] = None,
    out: Annotated[Path | None, typer.Option(help="The new file, for one picture.")] = None,
    format: Annotated[str | None, typer.Option(help="png, jpg, webp, avif or tiff.")] = None,
    quality: Annotated[int | None, typer.Option(help="Of JPEG, WebP and AVIF, 1 to 100 [90].")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also the folders in folders.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and stop.")] = False,
    models_dir: ModelsDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
) -> None:
    """Enlarge pictures by an upscaler, or two blended; what the files say of themselves is kept."""
    given = dict(locals())
    with door() as stop:
        from hires.progress import Display
        from hires.upscaling import pictures_in, request_from_flags, said, upscale_all

        engine = _engine(given, stop)
        request = engine.prepare_extras(request_from_flags(given), out)
        files = pictures_in(images, recursive)
        if plan:
            for path, _ in files:
                typer.echo("\n".join(engine.upscale_plan(path, request)))
            return
        failed = False
        done = upscale_all(engine, files, request, out, engine.settings.output_dir, Display)
        for number, (path, result) in enumerate(done, start=1):
            count = f"[{number}/{len(files)}] " if len(files) > 1 else ""
            if isinstance(result, HiresError):
                typer.echo(f"hires: {count}{path}: {result}", err=True)
                failed = True
                continue
            typer.echo(str(result.path))
            typer.echo(f"{count}{said(result)}", err=True)
        if failed:
            raise typer.Exit(USER_ERROR)


@app.command("sd-upscale")
def sd_upscale(
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="What the picture shows.")] = None,
    negative: Annotated[str | None, typer.Option("--negative", "-n", help="What to avoid.")] = None,
    by: Annotated[float | None, typer.Option(help="Enlarge by this factor [2].")] = None,
    to: Annotated[str | None, typer.Option(help="Enlarge to WIDTHxHEIGHT instead.")] = None,
    upscaler: Annotated[str | None, typer.Option(help="See `hires upscalers` [Lanczos].")] = None,
    denoise: Annotated[float | None, typer.Option(help="Denoising strength, 0 to 1 [0.35].")] = None,
    tile: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of a tile [the model's own size].")] = None,
    overlap: Annotated[int | None, typer.Option(help="Pixels that tiles share at least [64, or an eighth].")] = None,
    batch_size: Annotated[int | None, typer.Option(help="With --preset a1111: its batches share seeds [1].")] = None,
    mend_above: MendAbove = None,
    preset: Annotated[str | None, typer.Option(help="even, or a1111: its joins and seeds [even].")] = None,
    noise: Annotated[str | None, typer.Option(help="Drawn for the whole canvas, or for each tile [canvas].")] = None,
    lock: Annotated[float | None, typer.Option(help="0 to 1: hold low frequencies to the source's [1].")] = None,
    size_conditioning: Annotated[str | None, typer.Option(help="What SDXL is told: crop, canvas or native.")] = None,
    tile_prompts: TilePrompts = None,
    region: Annotated[
        list[str] | None, typer.Option(help="x,y,width,height:prompt[:negative], in fractions. Repeatable.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", "-m", help="Model by name or hash.")] = None,
    vae: Annotated[str | None, typer.Option(help="A separate VAE file.")] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", "-s", help="See `hires samplers`.")] = None,
    schedule: Annotated[str | None, typer.Option(help="See `hires samplers`.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps, of which the denoised share is made [20].")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance scale [7].")] = None,
    seed: Annotated[int | None, typer.Option(help="-1 for a random one.")] = None,
    batch_count: Annotated[int | None, typer.Option(help="Variants, each with the next seed [1].")] = None,
    clip_skip: Annotated[int | None, typer.Option(help="1 = last layer of the text encoder.")] = None,
    dialect: Annotated[str | None, typer.Option(help="Numbers as in the A1111 web UI (webui) or comfyui.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say the tiles and denoiser calls, and stop.")] = False,
    models_dir: ModelsDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    weights: Weights = None,
    memory: Memory = None,
) -> None:
    """Enlarge pictures and redraw them in overlapping tiles."""
    given = dict(locals())
    with door() as stop:
        from hires.redrawing import sd_upscale_request

        _redraw(_engine(given, stop), images, sd_upscale_request(given), plan)


@app.command()
def ultimate(
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="What the picture shows.")] = None,
    negative: Annotated[str | None, typer.Option("--negative", "-n", help="What to avoid.")] = None,
    by: Annotated[float | None, typer.Option(help="Enlarge by this factor [2].")] = None,
    to: Annotated[str | None, typer.Option(help="Enlarge to WIDTHxHEIGHT instead.")] = None,
    upscaler: Annotated[str | None, typer.Option(help="See `hires upscalers` [Lanczos].")] = None,
    denoise: Annotated[float | None, typer.Option(help="Denoising strength, 0 to 1 [0.35].")] = None,
    tile: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of a cell [the model's own size].")] = None,
    padding: Annotated[int | None, typer.Option(help="Pixels of context around each cell [fits the model].")] = None,
    mask_blur: Annotated[int | None, typer.Option(help="How softly cells are joined, 0 to 64 [8].")] = None,
    mode: Annotated[str | None, typer.Option(help="Linear, Chess or None (seams only) [Linear].")] = None,
    seams: Annotated[
        str | None, typer.Option(help='None, "Band Pass", "Half Tile", "Half Tile + Intersections" [None].')
    ] = None,
    seam_denoise: Annotated[float | None, typer.Option(help="Denoising strength over seams [0.35].")] = None,
    seam_width: Annotated[int | None, typer.Option(help="Pixels of a band [64].")] = None,
    seam_blur: Annotated[int | None, typer.Option(help="Mask blur over seams [4].")] = None,
    seam_padding: Annotated[int | None, typer.Option(help="Context over seams [16].")] = None,
    mend_above: MendAbove = None,
    preset: Annotated[str | None, typer.Option(help="even, a1111 or comfyui: their geometry [even].")] = None,
    noise: Annotated[str | None, typer.Option(help="Drawn for the whole canvas, or for each tile [canvas].")] = None,
    lock: Annotated[float | None, typer.Option(help="0 to 1: hold low frequencies to the source's [1].")] = None,
    size_conditioning: Annotated[str | None, typer.Option(help="What SDXL is told: crop, canvas or native.")] = None,
    tile_prompts: TilePrompts = None,
    region: Annotated[
        list[str] | None, typer.Option(help="x,y,width,height:prompt[:negative], in fractions. Repeatable.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", "-m", help="Model by name or hash.")] = None,
    vae: Annotated[str | None, typer.Option(help="A separate VAE file.")] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", "-s", help="See `hires samplers`.")] = None,
    schedule: Annotated[str | None, typer.Option(help="See `hires samplers`.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps, of which the denoised share is made [20].")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance scale [7].")] = None,
    seed: Annotated[int | None, typer.Option(help="-1 for a random one.")] = None,
    batch_count: Annotated[int | None, typer.Option(help="Variants, each with the next seed [1].")] = None,
    clip_skip: Annotated[int | None, typer.Option(help="1 = last layer of the text encoder.")] = None,
    dialect: Annotated[str | None, typer.Option(help="Numbers as in the A1111 web UI (webui) or comfyui.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say the tiles and denoiser calls, and stop.")] = False,
    models_dir: ModelsDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    weights: Weights = None,
    memory: Memory = None,
) -> None:
    """Enlarge pictures and redraw them cell by cell, with context around each."""
    given = dict(locals())
    with door() as stop:
        from hires.redrawing import ultimate_request

        _redraw(_engine(given, stop), images, ultimate_request(given), plan)


def _redraw(engine: Engine, images: list[Path], request: Any, plan: bool) -> None:
    from hires.progress import Display
    from hires.redrawing import redraw_all

    for image in images if plan else ():
        typer.echo(f"{image.name}: {engine.redraw_plan(image, request)}")
    if plan:
        return
    for done in redraw_all(engine, images, request, Display):
        for path in done.paths:
            typer.echo(str(path))
        for note in done.notes:
            typer.echo(note, err=True)
        typer.echo(done.summary, err=True)


@app.command()
def upscalers(models_dir: ModelsDir = None) -> None:
    """List the upscalers that were found, by the names that --upscaler takes."""
    with door() as stop:
        from hires.models.upscale_names import upscaler_names

        for name in upscaler_names(_engine({"models_dir": models_dir}, stop).store):
            typer.echo(name)


@app.command("tiled")
def tiled_command(
    picture: Annotated[Path, typer.Argument(help="The picture to enlarge and draw over.")],
    prompt: Annotated[str, typer.Option("--prompt", help="What the picture shows.")] = "",
    negative: Annotated[str | None, typer.Option("--negative", "-n", help="What to avoid.")] = None,
    scale: Annotated[float | None, typer.Option(help="Enlarge by this factor [2].")] = None,
    upscaler: Annotated[str | None, typer.Option(help="None (Lanczos), Nearest, or a model's name [None].")] = None,
    denoise: Annotated[float | None, typer.Option(help="Denoising strength, 0 to 1 [0.4].")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in the place of the picture's size.")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", "-m", help="Model by name or hash.")] = None,
    vae: Annotated[str | None, typer.Option(help="A separate VAE file.")] = None,
    vae_mode: VaeMode = None,
    vae_tile: VaeTile = None,
    sampler: Annotated[str | None, typer.Option("--sampler", "-s", help="See `hires samplers`.")] = None,
    schedule: Annotated[str | None, typer.Option(help="See `hires samplers`.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps [20].")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance scale [7].")] = None,
    seed: Annotated[int | None, typer.Option(help="-1 for a random one.")] = None,
    tile: Tile = None,
    tile_overlap: TileOverlap = None,
    tile_batch: TileBatch = None,
    tile_method: TileMethod = None,
    jitter: Jitter = None,
    region: RegionPrompt = None,
    regions: RegionFile = None,
    region_background: RegionBackground = None,
    invert_noise: Annotated[
        int | None, typer.Option(help="Noise inversion: so many steps up from the picture keep closer to it.")
    ] = None,
    retouch: Annotated[float | None, typer.Option(help="Noise inversion: above 1 smooths [1].")] = None,
    renoise: Annotated[
        float | None, typer.Option(help="Noise inversion: fresh noise in flat parts, 0 to 2 [1].")
    ] = None,
    kernel: Annotated[
        int | None, typer.Option(help="Noise inversion: size of what counts as flat, pixels [64].")
    ] = None,
    plan: Plan = False,
    models_dir: ModelsDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    weights: Weights = None,
    memory: Memory = None,
) -> None:
    """Enlarge a picture and draw over it in tiles that are joined at every step (Tiled Diffusion)."""
    given = dict(locals())
    with door() as stop:
        from hires.imaging.pictures import open_picture
        from hires.options import tiled_img2img_from_options
        from hires.progress import Display

        engine, request = _engine(given, stop), tiled_img2img_from_options(given)
        width, height = open_picture(picture).size
        prepared, _ = engine.prepare_tiled(request, width, height)
        typer.echo(prepared.plan(width, height).describe(), err=not plan)
        if plan:
            return
        with Display() as display:
            drawn = engine.tiled(picture, request, on_event=display)
        for path in drawn.paths:
            typer.echo(str(path))
        typer.echo(drawn.summary, err=True)


@app.command()
def run(
    workflows: Annotated[
        list[Path], typer.Argument(help="Workflow files: JSON, or a picture or latent that carries one, or infotext.")
    ],
    node: Annotated[
        list[str] | None, typer.Option(help="Run only the node of this id and what it needs; may be repeated.")
    ] = None,
    plan: Plan = False,
    custom_nodes_dir: CustomNodesDir = None,
    models_dir: ModelsDir = None,
    input_dir: InputDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    weights: Weights = None,
    memory: Memory = None,
) -> None:
    """Run ComfyUI workflows, several in one engine, so that what they share is computed once."""
    given = dict(locals())
    with door() as stop:
        from hires.progress import Display, report_lines

        engine = _engine(given, stop)
        failed = False
        for path in workflows:
            try:
                if plan:
                    typer.echo(f"{path.name}: {engine.forecast(path).describe()}")
                    continue
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

    names = ("models_dir", "input_dir", "output_dir", "custom_nodes_dir", "device", "weights", "memory")
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
