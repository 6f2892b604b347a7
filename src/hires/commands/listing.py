"""What there is: `hires models`, `hires samplers`."""

from __future__ import annotations

import typer

from hires.commands.door import door, engine_of
from hires.commands.flags import ModelsDir

app = typer.Typer()


@app.command()
def models(models_dir: ModelsDir = None) -> None:
    """List the models that were found: kind, family, precision, size and hash."""
    with door() as stop:
        from hires.progress import models_table

        models_table(engine_of({"models_dir": models_dir}, stop).models())


@app.command()
def samplers() -> None:
    """List samplers and schedules, with the names of both the web UI and ComfyUI."""
    with door():
        from hires.progress import samplers_table

        samplers_table()
