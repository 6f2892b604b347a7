"""Making pictures large: `hires upscale`, `sd-upscale`, `ultimate`, `tiled`, `upscalers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires.commands import groups
from hires.commands.door import USER_ERROR, door, engine_of
from hires.commands.flags import (
    By,
    Device,
    ModelsDir,
    Negative,
    OutputDir,
    Plan,
    RedrawPlan,
    Upscaler,
    Workers,
)
from hires.commands.groups import Given, takes
from hires.errors import HiresError

if TYPE_CHECKING:
    from hires.api import Engine

app = typer.Typer()


@app.command()
def upscale(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    by: Annotated[float | None, typer.Option(help="Enlarge by this factor [4].")] = None,
    to: Annotated[str | None, typer.Option(help="Enlarge to WIDTHxHEIGHT instead, covering it.")] = None,
    crop: Annotated[bool | None, typer.Option("--crop/--no-crop", help="Cut what --to covers to its size.")] = None,
    max_side: Annotated[int | None, typer.Option(help="With --by: no side longer than this.")] = None,
    upscaler: Upscaler = None,
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
    gfpgan_visibility: Annotated[float | None, typer.Option(help="Faces by GFPGAN, 0 to 1 [0].")] = None,
    codeformer_visibility: Annotated[float | None, typer.Option(help="Faces by CodeFormer, 0 to 1 [0].")] = None,
    codeformer_weight: Annotated[
        float | None, typer.Option(help="0 to 1: how much of a face CodeFormer keeps [0].")
    ] = None,
    bits: Annotated[int | None, typer.Option(help="8 or 16 a channel [as the source].")] = None,
    out: Annotated[Path | None, typer.Option(help="The new file, for one picture.")] = None,
    format: Annotated[str | None, typer.Option(help="png, jpg, webp, avif or tiff.")] = None,
    quality: Annotated[int | None, typer.Option(help="Of JPEG, WebP and AVIF, 1 to 100 [90].")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also the folders in folders.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and stop.")] = False,
    models_dir: ModelsDir = None,
    output_dir: OutputDir = None,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Enlarge pictures by an upscaler, or two blended; what the files say of themselves is kept."""
    given = dict(locals())
    with door() as stop:
        from hires.commands.upscaling import pictures_in, request_from_flags, said, upscale_all
        from hires.progress import Display

        engine = engine_of(given, stop)
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
@takes(groups.REDRAWING, groups.MODEL, groups.SAMPLING, groups.DIALECT, groups.FILES, groups.MACHINE)
def sd_upscale(
    given: Given,
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
    tile: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of a tile [the model's own size].")] = None,
    overlap: Annotated[int | None, typer.Option(help="Pixels that tiles share at least [64, or an eighth].")] = None,
    batch_size: Annotated[int | None, typer.Option(help="With --preset a1111: its batches share seeds [1].")] = None,
    preset: Annotated[str | None, typer.Option(help="even, or a1111: its joins and seeds [even].")] = None,
    plan: RedrawPlan = False,
) -> None:
    """Enlarge pictures and redraw them in overlapping tiles."""
    with door() as stop:
        from hires.commands.redrawing import sd_upscale_request

        _redraw(engine_of(given, stop), images, sd_upscale_request(given), plan)


@app.command()
@takes(groups.REDRAWING, groups.MODEL, groups.SAMPLING, groups.DIALECT, groups.FILES, groups.MACHINE)
def ultimate(
    given: Given,
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
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
    preset: Annotated[str | None, typer.Option(help="even, a1111 or comfyui: their geometry [even].")] = None,
    plan: RedrawPlan = False,
) -> None:
    """Enlarge pictures and redraw them cell by cell, with context around each."""
    with door() as stop:
        from hires.commands.redrawing import ultimate_request

        _redraw(engine_of(given, stop), images, ultimate_request(given), plan)


def _redraw(engine: Engine, images: list[Path], request: Any, plan: bool) -> None:
    from hires.commands.redrawing import redraw_all
    from hires.progress import Display

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


@app.command("tiled")
@takes(groups.TILES, groups.MODEL, groups.VAE, groups.SAMPLING, groups.STEERING, groups.FILES, groups.MACHINE)
def tiled_command(
    given: Given,
    picture: Annotated[Path, typer.Argument(help="The picture to enlarge and draw over.")],
    prompt: Annotated[str, typer.Option("--prompt", help="What the picture shows.")] = "",
    negative: Negative = None,
    scale: By = None,
    upscaler: Annotated[str | None, typer.Option(help="None (Lanczos), Nearest, or a model's name [None].")] = None,
    denoise: Annotated[float | None, typer.Option(help="Denoising strength, 0 to 1 [0.4].")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in the place of the picture's size.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps [20].")] = None,
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
) -> None:
    """Enlarge a picture and draw over it in tiles that are joined at every step (Tiled Diffusion)."""
    with door() as stop:
        from hires.imaging.pictures import open_picture
        from hires.options import tiled_img2img_from_options
        from hires.progress import Display

        engine, request = engine_of(given, stop), tiled_img2img_from_options(given)
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
def upscalers(models_dir: ModelsDir = None) -> None:
    """List the upscalers that were found, by the names that --upscaler takes."""
    with door() as stop:
        from hires.models.upscale_names import upscaler_names

        for name in upscaler_names(engine_of({"models_dir": models_dir}, stop).store):
            typer.echo(name)
