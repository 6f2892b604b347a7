"""Styles of prompts: `hires styles list`, `hires styles save`, `hires styles find`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.commands.door import HELP, door
from hires.commands.flags import StyleFiles

styles_app = typer.Typer(help="Named pieces of prompts in CSV files, as the A1111 web UI keeps them.", **HELP)


@styles_app.command("list")
def list_styles(styles: StyleFiles = None) -> None:
    """List the styles there are, with their texts."""
    with door():
        from hires.settings import load_settings
        from hires.text.styles import load_styles

        for style in load_styles(styles or load_settings().styles_files).values():
            typer.echo(f"{style.name}: {style.prompt}" + (f" | not: {style.negative}" if style.negative else ""))


@styles_app.command("save")
def save(
    name: Annotated[str, typer.Argument(help="What the style is called.")],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="Its prompt; {prompt} is where the user's goes.")] = "",
    negative: Annotated[str, typer.Option("--negative", "-n", help="Its negative prompt.")] = "",
    file: Annotated[Path, typer.Option(help="The CSV file it is added to.")] = Path("styles.csv"),
    replace: Annotated[bool, typer.Option("--replace", help="Exchange a style of this name.")] = False,
) -> None:
    """Add a style to a file; all that stands there is kept."""
    with door():
        from hires.text.styles import Style, save_style

        save_style(file, Style(name, prompt, negative), replace=replace)
        typer.echo(f"{file}: {name}")


@styles_app.command("find")
def find(
    picture: Annotated[Path, typer.Argument(help="A picture with generation parameters.")],
    styles: StyleFiles = None,
) -> None:
    """Say which styles a picture was drawn with, and its prompts without them."""
    with door():
        from hires.imaging.pictures import open_picture
        from hires.metadata.files import picture_texts
        from hires.metadata.infotext import read_infotext
        from hires.settings import load_settings
        from hires.text.styles import infer_styles, load_styles

        info = read_infotext(picture_texts(open_picture(picture)).get("parameters", ""))
        known = list(load_styles(styles or load_settings().styles_files).values())
        names, prompt, negative = infer_styles(info.prompt, info.negative, known)
        typer.echo(f"styles: {', '.join(names) or 'none'}")
        typer.echo(f"prompt: {prompt}")
        typer.echo(f"negative prompt: {negative}")
