"""`hires grid-page`: the page and the plot of a grid that was drawn, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.commands.door import door

app = typer.Typer()


@app.command("grid-page")
def grid_page(
    folder: Annotated[Path, typer.Argument(help="The grid's folder, with its grid.json.")],
    embed: Annotated[
        bool, typer.Option("--embed/--link", help="Put the pictures into the page, so that it can be sent alone.")
    ] = False,
    megabytes: Annotated[float, typer.Option(min=0, help="More pictures than that are linked all the same.")] = 64.0,
    plot: Annotated[str | None, typer.Option(help='Plot the measures over this axis, like "Steps".')] = None,
) -> None:
    """Write the page and the plot of a grid again: with its pictures inside, or with another axis plotted."""
    with door():
        from hires.recipes.grids.page import EMBEDDED, LINKED, write_page
        from hires.recipes.grids.plot import axis_named, write_plot
        from hires.recipes.grids.record import read_record

        grid = read_record(folder).data()
        axis = None if plot is None else axis_named(grid, plot)
        plotted = write_plot(folder, grid, axis)
        where = EMBEDDED if embed else LINKED
        typer.echo(write_page(folder, grid, pictures=where, most_megabytes=megabytes, axis=axis))
        if plotted is not None:
            typer.echo(plotted)
