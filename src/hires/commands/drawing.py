"""Drawing from text: `hires txt2img`, `hires demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.commands import groups
from hires.commands.door import door, engine_of
from hires.commands.flags import (
    Negative,
    OutputDir,
    Plan,
    Tiled,
)
from hires.commands.groups import Given, takes

app = typer.Typer()


@app.command()
@takes(groups.SECOND_PASS, *groups.DRAWING, groups.TILES, *groups.RUNNING)
def txt2img(
    given: Given,
    prompt: Annotated[str | None, typer.Argument(help="What to draw.")] = None,
    negative: Negative = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Take all settings from a picture or infotext.")] = None,
    replace_missing: Annotated[
        bool, typer.Option(help="With --from: draw with what is here in place of models that are not, and say so.")
    ] = False,
    steps: Annotated[int | None, typer.Option(help="Sampling steps [20].")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of the first pass [the model's own].")] = None,
    hires: Annotated[
        bool | None, typer.Option("--hires/--no-hires", help="A second, larger pass (any option below turns it on).")
    ] = None,
    switch_by_steps: Annotated[bool | None, typer.Option(help="Refiner: --switch-at is a share of the steps.")] = None,
    switch_step: Annotated[int | None, typer.Option(help="Refiner: its first step, counted from 0.")] = None,
    refiner_passes: Annotated[str | None, typer.Option(help="Refiner: first pass, second pass or both passes.")] = None,
    save_first_pass: Annotated[bool, typer.Option(help="Also write the picture before the hires pass.")] = False,
    seed_resize_from: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT whose composition the seed keeps.")] = None,
    ensd: Annotated[int | None, typer.Option(help="Eta noise seed delta.")] = None,
    wildcards: Annotated[
        bool | None, typer.Option("--wildcards/--no-wildcards", help="Choices {a|b} and __file__ in prompts [on].")
    ] = None,
    comments: Annotated[
        bool | None, typer.Option("--comments/--no-comments", help="Leave out what stands behind # in prompts [on].")
    ] = None,
    comma_backtrack: Annotated[
        int | None, typer.Option(help="Tokens back that a full chunk is cut at a comma, 0 never [20].")
    ] = None,
    s_churn: Annotated[float | None, typer.Option(help="Churn of Euler, Heun and DPM2.")] = None,
    s_tmin: Annotated[float | None, typer.Option(help="Lowest sigma with churn.")] = None,
    s_tmax: Annotated[float | None, typer.Option(help="Highest sigma with churn, 0 = any.")] = None,
    s_noise: Annotated[float | None, typer.Option(help="Factor on the noise that samplers add.")] = None,
    tiled: Tiled = None,
    tile_passes: Annotated[str | None, typer.Option(help="Tiles in: both passes, first pass or second pass.")] = None,
    deep_shrink: Annotated[
        float | None, typer.Option(help="Deep Shrink: the factor, 2 for twice the model's own size.")
    ] = None,
    plan: Plan = False,
) -> None:
    """Draw from text: one pass, or two with hires fix, with or without a refiner."""
    with door() as stop:
        from hires.commands.taking import with_files_here
        from hires.options import request_from_options
        from hires.progress import Display
        from hires.recipes.describe import describe, notices
        from hires.recipes.tiled import plan_lines

        engine = engine_of(given, stop)
        request = request_from_options(given)
        if from_ is not None:
            request = with_files_here(engine, from_, request, replace_missing)
        request, facts = engine.prepare(request)
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
def demo(
    output_dir: OutputDir = None,
    prompt: Annotated[str | None, typer.Option(help="What to draw instead.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed.")] = None,
) -> None:
    """Draw one prompt small, directly large, and with hires fix, by the built-in model; put them side by side."""
    with door() as stop:
        from hires.demo import run_demo
        from hires.progress import Display

        engine = engine_of({"output_dir": output_dir}, stop)
        for line in run_demo(engine, Display, prompt, seed):
            typer.echo(line)
