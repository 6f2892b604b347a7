"""Drawing over pictures that are there: `hires img2img`, `hires hires`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires.commands import groups
from hires.commands.door import USER_ERROR, door, engine_of
from hires.commands.flags import (
    Negative,
    OverPlan,
)
from hires.commands.groups import Given, takes
from hires.errors import HiresError

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.recipes.img2img_request import Img2Img

app = typer.Typer()


@app.command()
@takes(*groups.DRAWING, *groups.RUNNING)
def img2img(
    given: Given,
    picture: Annotated[Path, typer.Argument(help="The picture to draw over, or a folder of them.")],
    prompt: Annotated[str | None, typer.Argument(help="What it shall show.")] = None,
    negative: Negative = None,
    denoise: Annotated[float | None, typer.Option(help="Denoising strength, 0 to 1 [0.75].")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT that is drawn [the picture's].")] = None,
    scale: Annotated[float | None, typer.Option(help="Draw at the picture's size times this.")] = None,
    resize_mode: Annotated[
        str | None,
        typer.Option(help="just resize, crop and resize, resize and fill, or latent upscale [just resize]."),
    ] = None,
    upscaler: Annotated[str | None, typer.Option(help="For what grows, see `hires upscalers` [None: Lanczos].")] = None,
    mask: Annotated[
        str | None,
        typer.Option(help="Picture whose white is repainted; a folder of them; or alpha: what is transparent."),
    ] = None,
    mask_blur: Annotated[str | None, typer.Option(help="Pixels, or two numbers across,down [4].")] = None,
    invert_mask: Annotated[
        bool | None, typer.Option("--invert-mask/--no-invert-mask", help="Repaint what is black.")
    ] = None,
    fill: Annotated[
        str | None,
        typer.Option(help="What is repainted begins from: fill, original, latent noise, latent nothing [original]."),
    ] = None,
    only_masked: Annotated[
        bool | None, typer.Option("--only-masked/--whole", help="Draw only the masked part, at the full size.")
    ] = None,
    padding: Annotated[int | None, typer.Option(help="With --only-masked: pixels around the mask [32].")] = None,
    mask_weight: Annotated[
        float | None, typer.Option(help="Inpainting models: how much of what is masked is hidden [1].")
    ] = None,
    mask_overlay: Annotated[
        bool | None, typer.Option("--overlay/--no-overlay", help="Keep all that is outside the mask as it is [on].")
    ] = None,
    save_mask: Annotated[
        bool | None, typer.Option("--save-mask", help="Write the mask, as the result shows through it.")
    ] = None,
    save_mask_composite: Annotated[
        bool | None, typer.Option("--save-mask-composite", help="Write what was drawn, transparent outside the mask.")
    ] = None,
    soft_inpainting: Annotated[bool, typer.Option(help="Soft inpainting; goes with a large --mask-blur.")] = False,
    soft_bias: Annotated[float | None, typer.Option(help="Soft inpainting: schedule bias, 0 to 8 [1].")] = None,
    soft_preservation: Annotated[
        float | None, typer.Option(help="Soft inpainting: preservation strength, 0 to 8 [0.5].")
    ] = None,
    soft_contrast: Annotated[
        float | None, typer.Option(help="Soft inpainting: transition contrast boost, 1 to 32 [4].")
    ] = None,
    soft_influence: Annotated[float | None, typer.Option(help="Soft inpainting: mask influence, 0 to 1 [0].")] = None,
    soft_threshold: Annotated[
        float | None, typer.Option(help="Soft inpainting: difference threshold, 0 to 8 [0.5].")
    ] = None,
    soft_difference_contrast: Annotated[
        float | None, typer.Option(help="Soft inpainting: difference contrast, 2 to 8 [2].")
    ] = None,
    sketch: Annotated[Path | None, typer.Option(help="Begin from this: the picture painted over.")] = None,
    inpaint_sketch: Annotated[
        Path | None, typer.Option(help="The picture painted over; repaint where it differs from the picture.")
    ] = None,
    mask_transparency: Annotated[
        float | None, typer.Option(help="With --inpaint-sketch: how far the picture shows through, 0 to 100 [0].")
    ] = None,
    outpaint: Annotated[str | None, typer.Option(help="Room on these sides: left,right,up,down.")] = None,
    outpaint_pixels: Annotated[int | None, typer.Option(help="How much room on each side [128].")] = None,
    outpaint_method: Annotated[
        str | None, typer.Option(help="fill from the borders, or noise of the picture's texture [fill].")
    ] = None,
    color_correction: Annotated[
        bool | None, typer.Option("--color-correction/--no-color-correction", help="Keep the picture's colours.")
    ] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Factor on the first noise, 0 to 1.5 [1].")] = None,
    extra_noise: Annotated[float | None, typer.Option(help="More of it, for more detail, 0 to 1 [0].")] = None,
    fix_steps: Annotated[
        bool | None, typer.Option("--fix-steps/--no-fix-steps", help="Make all steps, not the denoised share of them.")
    ] = None,
    image_cfg_scale: Annotated[
        float | None, typer.Option(help="InstructPix2Pix models: how near to keep to the picture [1.5].")
    ] = None,
    background: Annotated[str | None, typer.Option(help="Colour under what is transparent [#ffffff].")] = None,
    loops: Annotated[int | None, typer.Option(help="Loopback: draw so often over the result.")] = None,
    final_denoise: Annotated[float | None, typer.Option(help="Loopback: the last loop's strength [0.5].")] = None,
    denoising_curve: Annotated[str | None, typer.Option(help="Loopback: Linear, Aggressive or Lazy [Linear].")] = None,
    append_interrogation: Annotated[
        str | None, typer.Option(help="Loopback: say behind the prompt what is there, by CLIP or DeepBooru [None].")
    ] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Take all settings from a picture or infotext.")] = None,
    from_info: Annotated[
        bool, typer.Option(help="Take prompts, seed, CFG, sampler, steps and model from each picture's infotext.")
    ] = False,
    steps: Annotated[int | None, typer.Option(help="Sampling steps, of which the denoised share is made [20].")] = None,
    plan: OverPlan = False,
) -> None:
    """Draw over a picture: all of it, or what a mask, a sketch or new room around it says."""
    with door() as stop:
        from hires.commands.over_pictures import draw_all, img2img_request, jobs, plans
        from hires.progress import Display

        engine, request = engine_of(given, stop), img2img_request(given)
        if loops is not None and not plan:
            _loop_back(engine, sketch or picture, request, given)
            return
        todo, left_out = jobs(sketch or picture, mask)
        for line in left_out:
            typer.echo(f"note: {line}", err=True)
        if plan:
            typer.echo("\n".join(plans(engine, todo, request, given)))
            return
        failed = False
        for number, (path, done) in enumerate(draw_all(engine, todo, request, given, Display), start=1):
            count = f"[{number}/{len(todo)}] " if len(todo) > 1 else ""
            if isinstance(done, HiresError):
                typer.echo(f"hires: {count}{path}: {done}", err=True)
                failed = True
                continue
            for made in (*done.paths, *done.masks):
                typer.echo(str(made))
            typer.echo(f"{count}{done.summary}", err=True)
        if failed:
            raise typer.Exit(USER_ERROR)


def _loop_back(engine: Engine, picture: Path, request: Img2Img, given: dict[str, Any]) -> None:
    from hires.loopback import Loopback, loop_back
    from hires.progress import Display

    names = {"loops": "loops", "final_denoise": "final_denoise", "denoising_curve": "curve"}
    names["append_interrogation"] = "append_interrogation"
    loopback = Loopback(**{name: given[flag] for flag, name in names.items() if given[flag] is not None})
    mask, sketch = given["mask"], given["inpaint_sketch"]
    with Display() as display:
        for done in loop_back(engine, picture, request, loopback, mask=mask, sketch=sketch, on_event=display):
            for path in (*done.paths, *done.masks):
                typer.echo(str(path))
            typer.echo(done.summary, err=True)


@app.command()
@takes(groups.SECOND_PASS, groups.MODEL, groups.VAE, groups.SAMPLING, groups.DIALECT, groups.STEERING, *groups.RUNNING)
def hires(
    given: Given,
    picture: Annotated[Path, typer.Argument(help="The picture to make larger and draw over.")],
    prompt: Annotated[str | None, typer.Argument(help="What it shows [as its infotext says].")] = None,
    negative: Negative = None,
    steps: Annotated[int | None, typer.Option(help="The first pass' steps [as its infotext says, or 20].")] = None,
    batch_count: Annotated[int | None, typer.Option(help="Pictures, each with the next seed [1].")] = None,
    plan: OverPlan = False,
) -> None:
    """Hires fix on a picture that is there: its second pass alone, by the picture's own settings and these."""
    with door() as stop:
        from hires.commands.over_pictures import hires_request
        from hires.progress import Display

        engine, request = engine_of(given, stop), hires_request(picture, given)
        if plan:
            typer.echo(engine.hires_plan(picture, request))
            return
        with Display() as display:
            drawn = engine.hires(picture, request, on_event=display)
        for path in drawn.paths:
            typer.echo(str(path))
        typer.echo(drawn.summary, err=True)
