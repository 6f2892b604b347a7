"""`hires serve`: HTTP in the dialects of the A1111 web UI and of ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.commands.door import door
from hires.commands.flags import Device, InputDir, Memory, ModelsDir, OutputDir, StyleFiles, Together, Weights, Workers

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; another than this machine's own needs --auth.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for a free one.", min=0, max=65535)] = 7860,
    models_dir: ModelsDir = None,
    input_dir: InputDir = None,
    output_dir: OutputDir = None,
    auth: Annotated[
        list[str] | None, typer.Option(help="user:password that every request must carry. Repeatable.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="A page of another site that may call, as https://example.org. Repeatable.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="What this machine is called besides localhost, as studio.lan. Repeatable.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let everybody at that address in, without a password.")
    ] = False,
    options: Annotated[Path, typer.Option(help="File that keeps the options that clients set.")] = Path(
        "hires-options.json"
    ),
    server_stop: Annotated[bool, typer.Option("--server-stop", help="Let clients end the server.")] = False,
    styles: StyleFiles = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the jobs and their history, for one server at a time [user/jobs].")
    ] = None,
    device: Device = None,
    weights: Weights = None,
    memory: Memory = None,
    workers: Workers = None,
    together: Together = None,
) -> None:
    """Answer browsers by a page, and programs as the A1111 web UI (/sdapi/v1) and ComfyUI do; /docs lists routes."""
    given = dict(locals())
    with door():
        from hires.server.guard import Rules
        from hires.server.serving import Place, serve_forever
        from hires.settings import load_settings
        from hires.ui.page import mount_page

        folders = ("models_dir", "input_dir", "output_dir", "data_dir")
        names = (*folders, "device", "weights", "memory", "workers", "together")
        settings = load_settings({key: given[key] for key in names} | {"styles_files": styles})
        rules = Rules(tuple(auth or ()), tuple(cors_origin or ()), tuple(name or ()))
        place = Place(host, port, open_, server_stop, options)
        serve_forever(settings, rules, place, lambda line: typer.echo(line, err=True), mount_page)
