"""What files say of themselves, and whether that is true: `hires info`, `hires verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hires.commands.door import USER_ERROR, door, engine_of
from hires.commands.flags import Device, InputDir, Memory, ModelsDir, Weights

app = typer.Typer()


@app.command()
def info(
    files: Annotated[list[Path], typer.Argument(help="Pictures, latents, workflows, infotexts, weights.")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts: a JSON list with an object per file.")] = False,
    models_dir: ModelsDir = None,
) -> None:
    """Say what files say of themselves: prompt, settings, workflow, and the models they name, here or not."""
    with door() as stop:
        from hires.told import told

        engine = engine_of({"models_dir": models_dir}, stop)
        found = [told(engine, path) for path in files]
        if as_json:
            typer.echo(json.dumps([one.record() for one in found], ensure_ascii=False, indent=1))
        else:
            typer.echo("\n\n".join("\n".join(one.lines()) for one in found))
        if any(one.problems for one in found):
            raise typer.Exit(USER_ERROR)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Pictures by hires, the A1111 web UI or ComfyUI.")],
    models_dir: ModelsDir = None,
    input_dir: InputDir = None,
    device: Device = None,
    weights: Weights = None,
    memory: Memory = None,
) -> None:
    """Draw pictures again from what they say, compare the pixels, and say why they differ.

    Exit code 0: all are equal; 1: one differs; 2: one cannot be drawn.
    """
    given = dict(locals())
    with door() as stop:
        from hires.progress import Display
        from hires.told import printable
        from hires.verifying import verify_all

        verdicts = verify_all(engine_of(given, stop), files, Display)
        for verdict in verdicts:
            for line in verdict.lines():
                typer.echo(printable(line))
        if code := max(verdict.code for verdict in verdicts):
            raise typer.Exit(code)
