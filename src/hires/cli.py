"""The `hires` command, put together of `hires.commands`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from hires import __version__
from hires.commands import (
    asking,
    drawing,
    enlarging,
    grid_page,
    gridding,
    inspecting,
    listing,
    merging,
    repainting,
    serving,
    workflows,
)
from hires.commands.door import HELP
from hires.commands.measuring import app as pocket_app
from hires.commands.styles import styles_app

app = typer.Typer(
    name="hires",
    help="Large, detailed images with Stable Diffusion: draw small, enlarge, draw again.",
    pretty_exceptions_enable=False,
    **HELP,
)
for part in (
    drawing.app,
    repainting.app,
    enlarging.app,
    gridding.app,
    grid_page.app,
    inspecting.app,
    workflows.app,
    merging.app,
    asking.app,
    listing.app,
    serving.app,
):
    app.add_typer(part)
app.add_typer(pocket_app, name="pocket")
app.add_typer(styles_app, name="styles")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hires {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Large, detailed images with Stable Diffusion: draw small, enlarge, draw again."""


def main() -> None:
    """Entry point of the `hires` command."""
    app()
