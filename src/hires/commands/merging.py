"""`hires merge`: two or three checkpoints to a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hires.commands.door import door, engine_of
from hires.commands.flags import ModelsDir

app = typer.Typer()


@app.command()
def merge(
    models: Annotated[list[str], typer.Argument(help="A, or A and B, or A, B and C, by name or hash.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="weighted sum A (1 - M) + B M, add difference A + (B - C) M, no interpolation A [by their number]."
        ),
    ] = None,
    multiplier: Annotated[float | None, typer.Option("--multiplier", "-M", help="M, 0 to 1 [0.3].")] = None,
    half: Annotated[bool, typer.Option("--half", help="Write float16 where the first has float32.")] = False,
    vae: Annotated[str | None, typer.Option(help="Put this VAE in the place of the first's.")] = None,
    discard: Annotated[
        str | None, typer.Option(help="Leave out tensors whose key has this regular expression.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help='The new file ["0.7(a) + 0.3(b).safetensors" beside the checkpoints].')
    ] = None,
    models_dir: ModelsDir = None,
) -> None:
    """Merge checkpoints to a new file, tensor by tensor; nothing is overwritten."""
    with door() as stop:
        from hires.errors import SettingError
        from hires.merging import METHODS_BY_COUNT, Merge
        from hires.progress import Display

        if len(models) not in METHODS_BY_COUNT:
            raise SettingError(f"{len(models)} models were named", "Name one, two or three.")
        given: dict[str, Any] = {"multiplier": multiplier, "vae": vae, "discard": discard, "half": half}
        given |= {"method": method or METHODS_BY_COUNT[len(models)]}
        given |= dict(zip(("first", "second", "third"), models, strict=False))
        request = Merge(**{key: value for key, value in given.items() if value is not None})
        engine = engine_of({"models_dir": models_dir}, stop)
        with Display() as display:
            merged = engine.merge(request, out, on_event=display)
        typer.echo(str(merged.path))
        typer.echo(merged.summary, err=True)
