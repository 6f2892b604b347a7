"""Comparing settings: `hires grid`, `hires matrix`. Flags of `hires txt2img` say what every cell shares."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires.commands.door import USER_ERROR, door, engine_of
from hires.commands.drawing import txt2img
from hires.commands.groups import Command, own_flags, told_as
from hires.errors import SettingError

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.recipes.grids.request import AxisValues, GridOptions, GridRequest

app = typer.Typer()
LEFT_OUT = ("save_first_pass", "plan")
"""Flags of txt2img that mean something else here."""
AxisFlag = Annotated[str | None, typer.Option(help='Like "Steps: 10-30 (+10)" or "Sampler: Euler a, DPM++ 2M".')]


def with_shared_flags(command: Command) -> Command:
    """The command with txt2img's flags before its own; they come to it as `shared`."""
    shared = [flag for flag in inspect.signature(txt2img).parameters.values() if flag.name not in LEFT_OUT]
    own = own_flags(command, "shared")

    def run(**given: Any) -> None:
        command({one.name: given[one.name] for one in shared}, **{one.name: given[one.name] for one in own})

    return told_as(run, command, [*shared, *own])


Legend = Annotated[bool, typer.Option("--legend/--no-legend", help="Labels beside rows and above columns.")]
Margin = Annotated[int, typer.Option(help="Pixels between cells, 0 to 500.")]
Megapixels = Annotated[float, typer.Option(help="A larger picture of the grid is written in parts.")]
NoiseFloor = Annotated[
    int, typer.Option(help="Draw the first cell with so many other seeds, to tell what they change.")
]
PlanGrid = Annotated[bool, typer.Option("--plan", help="Say the cells and what they cost, and stop.")]


@app.command("grid")
@with_shared_flags
def grid(
    shared: dict[str, Any],
    x: AxisFlag = None,
    y: AxisFlag = None,
    z: AxisFlag = None,
    swap: Annotated[str | None, typer.Option(help="Exchange two axes: XY, XZ or YZ.")] = None,
    on: Annotated[list[Path] | None, typer.Option(help="Draw over this picture (img2img). Repeatable.")] = None,
    mask: Annotated[str | None, typer.Option(help="With --on: what of it is drawn, white; or alpha.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the grid of this folder, as it is or with more values.")
    ] = None,
    keep_random: Annotated[bool, typer.Option(help="Let a seed of -1 be another in each cell.")] = False,
    vary_seeds: Annotated[str, typer.Option(help="Count the seed on along these axes, like XY.")] = "",
    sub_grids: Annotated[bool, typer.Option(help="Also write one picture for each Z value.")] = False,
    legend: Legend = True,
    margin: Margin = 0,
    megapixels: Megapixels = 200.0,
    noise_floor: NoiseFloor = 0,
    plan: PlanGrid = False,
    axes: Annotated[bool, typer.Option("--axes", help="List the axes that there are, and stop.")] = False,
) -> None:
    """Draw one request over the values of up to three axes: X/Y/Z plot. All cells and measures are kept in a folder."""
    own = dict(locals())
    with door() as stop:
        from hires.recipes.grids.request import swapped

        if axes:
            list_axes(bool(on))
            return
        engine = engine_of(shared, stop)
        given = [
            None if text is None else axis_from_flag(text, flag) for flag, text in (("--x", x), ("--y", y), ("--z", z))
        ]
        if resume is not None:
            _check_resumed(shared, resume)
            go_on(engine, resume, given, noise_floor, plan)
            return
        request = grid_request(shared, own, given)
        if swap is not None:
            request = swapped(request, *_two_axes(swap))
        draw(engine, request, noise_floor, plan)


@app.command("matrix")
@with_shared_flags
def matrix(
    shared: dict[str, Any],
    at_start: Annotated[bool, typer.Option(help="Put what varies in front of the prompt.")] = False,
    different_seeds: Annotated[bool, typer.Option(help="Count the seed on from picture to picture.")] = False,
    of_negative: Annotated[bool, typer.Option(help="The bars are in the negative prompt.")] = False,
    join: Annotated[str, typer.Option(help="Join by comma or space.")] = "comma",
    legend: Legend = True,
    margin: Margin = 0,
    megapixels: Megapixels = 200.0,
    plan: PlanGrid = False,
) -> None:
    r"""Draw "base | one | two" with every combination of what stands behind the bars. `\|` is a bar as text."""
    with door() as stop:
        from hires.options import request_from_options
        from hires.recipes.grids.request import GridOptions, GridRequest
        from hires.recipes.grids.script_args import matrix_from_script_args

        engine = engine_of(shared, stop)
        side = "negative" if of_negative else "positive"
        made = matrix_from_script_args([at_start, different_seeds, side, join], "txt2img")
        options = GridOptions(legend=legend, margin=margin, megapixels=megapixels)
        draw(engine, GridRequest(request_from_options(shared), (), options, made.matrix), 0, plan)


OF_THE_MACHINE = ("models_dir", "output_dir", "device", "weights", "memory", "workers", "together", "styles")
"""Flags that say nothing of what is drawn."""


def _check_resumed(shared: dict[str, Any], folder: Path) -> None:
    given = [name for name, value in shared.items() if value not in (None, False, []) and name not in OF_THE_MACHINE]
    if given:
        flag = "a prompt" if given[0] == "prompt" else f"--{given[0].strip('_').replace('_', '-')}"
        raise SettingError(
            f"the grid in {folder.name} has its own settings; {flag} cannot change them", "Leave it out."
        )


def list_axes(over_picture: bool) -> None:
    """Print the axes of a tab with the numbers that the web UI's interface gives them."""
    from hires.recipes.grids.axis_table import axes_of

    for number, axis in enumerate(axes_of("img2img" if over_picture else "txt2img")):
        typer.echo(f"{number:3} {axis.label}")


def axis_from_flag(text: str, flag: str) -> AxisValues:
    """The axis of "Label: values"."""
    from hires.recipes.grids.request import AxisValues

    label, colon, values = text.partition(":")
    if not colon and label.strip().lower() != "nothing":
        raise SettingError(
            f"{flag} should look like 'Steps: 10, 20', not {text!r}", "hires grid --axes lists the axes."
        )
    return AxisValues(label.strip(), values.strip())


def grid_request(shared: dict[str, Any], own: dict[str, Any], given: Sequence[AxisValues | None]) -> GridRequest:
    """The grid that flags describe."""
    from hires.options import request_from_options
    from hires.recipes.grids.request import AxisValues, GridRequest
    from hires.recipes.img2img_request import Img2Img, Inpaint

    axes = tuple(axis or AxisValues("Nothing") for axis in given)
    if not any(given):
        raise SettingError("the grid has no axes", 'Give one: --x "Steps: 10, 20".')
    options = _options(own)
    if not own["on"]:
        if own["mask"] is not None:
            raise SettingError("there is no picture for the mask", "Name it with --on.")
        return GridRequest(request_from_options(shared), axes, options)
    denoise = shared["denoise"]
    base = request_from_options({**shared, "denoise": None})
    request = Img2Img(base, inpaint=Inpaint() if own["mask"] is not None else None)
    request = request if denoise is None else request.of(denoise=denoise)
    mask = own["mask"] if own["mask"] in (None, "alpha") else str(Path(own["mask"]).absolute())
    return GridRequest(request, axes, options, None, tuple(str(path.absolute()) for path in own["on"]), mask)


def _options(own: dict[str, Any]) -> GridOptions:
    from hires.recipes.grids.request import GridOptions

    varied = own["vary_seeds"].upper()
    if set(varied) - set("XYZ, "):
        raise SettingError(f"--vary-seeds takes axes like XY, not {own['vary_seeds']!r}")
    names = ("keep_random", "sub_grids", "legend", "margin", "megapixels")
    vary = {f"vary_{axis.lower()}": axis in varied for axis in "XYZ"}
    return GridOptions(**{name: own[name] for name in names}, **vary)


def _two_axes(text: str) -> tuple[str, str]:

    both = text.upper()
    if both not in ("XY", "YX", "XZ", "ZX", "YZ", "ZY"):
        raise SettingError(f"--swap takes XY, XZ or YZ, not {text!r}")
    return both[0], both[1]


def draw(engine: Engine, request: GridRequest, noise_repeats: int, plan_only: bool) -> None:
    """Say what will be done, do it, and say what came of it."""
    from hires.gridding.planning import plan_grid

    plan = plan_grid(engine, request)
    for line in plan.describe():
        typer.echo(line, err=not plan_only)
    if not plan_only:
        _shown(engine, plan.request, (), noise_repeats)


def go_on(engine: Engine, folder: Path, axes: Sequence[AxisValues | None], noise_repeats: int, plan_only: bool) -> None:
    """The same for a grid that was begun."""
    from hires.gridding.drawing import continued

    _, plan = continued(engine, folder, axes)
    for line in plan.describe():
        typer.echo(line, err=not plan_only)
    if not plan_only:
        _shown(engine, folder, axes, noise_repeats)


def _shown(engine: Engine, request: GridRequest | Path, axes: Sequence[AxisValues | None], noise_repeats: int) -> None:
    from hires.graph.report import Said
    from hires.progress import Display

    with Display(keep=False) as display:
        made = engine.grid(
            request,
            axes,
            on_event=display,
            on_cell=lambda done: display(Said(done.describe())),
            noise_repeats=noise_repeats,
        )
    for path in made.paths:
        typer.echo(str(path))
    typer.echo(f"{made.summary}; all of it is in {made.folder}", err=True)
    for cell in made.failed:
        typer.echo(f"hires: {', '.join(cell.labels)}: {cell.error}", err=True)
    if made.failed:
        raise typer.Exit(USER_ERROR)
