"""Workflow files: `hires run`, `hires workflow show`, `hires workflow convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.commands import groups
from hires.commands.door import HELP, USER_ERROR, door, engine_of
from hires.commands.flags import CustomNodesDir, InputDir, ModelsDir, Plan
from hires.commands.groups import Given, takes
from hires.errors import HiresError

app = typer.Typer()

workflow_app = typer.Typer(
    help="Look at workflows and convert them, in any file: JSON, pictures, latents, infotext.", **HELP
)
app.add_typer(workflow_app, name="workflow")


@app.command()
@takes(groups.MACHINE)
def run(
    given: Given,
    workflows: Annotated[
        list[Path], typer.Argument(help="Workflow files: JSON, or a picture or latent that carries one, or infotext.")
    ],
    node: Annotated[
        list[str] | None, typer.Option(help="Run only the node of this id and what it needs; may be repeated.")
    ] = None,
    plan: Plan = False,
    custom_nodes_dir: CustomNodesDir = None,
    input_dir: InputDir = None,
) -> None:
    """Run ComfyUI workflows, several in one engine, so that what they share is computed once."""
    with door() as stop:
        from hires.progress import Display, report_lines

        engine = engine_of(given, stop)
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
        engine = engine_of(given, stop)
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

        for line in convert(engine_of(given, stop), file, out, to):
            typer.echo(line, err=True)
        typer.echo(str(out))
