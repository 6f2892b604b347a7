"""Questions about pictures and prompts: `hires interrogate`, `hires tokens`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hires.commands.door import USER_ERROR, door, engine_of
from hires.commands.flags import Device, ModelsDir, StyleFiles, StyleNames
from hires.errors import HiresError

app = typer.Typer()


@app.command()
def interrogate(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures.")],
    model: Annotated[
        str, typer.Option(help="A captioner's folder, clip (any BLIP) or deepbooru (any tagger) [the first there is].")
    ] = "",
    threshold: Annotated[float | None, typer.Option(help="How sure of a tag, 0 to 1 [0.5].")] = None,
    ranks: Annotated[bool, typer.Option("--ranks", help="Tags with how sure: (smile:0.987).")] = False,
    discard: Annotated[str | None, typer.Option(help="Tags that are not told, with commas between.")] = None,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Say what pictures show, as a prompt, by a captioning model that is in the models folder."""
    with door() as stop:
        from hires.models.captioners.finding import find_captioner
        from hires.models.captioners.tags import TagRules

        rules = TagRules(discard=tuple((discard or "").split(",")), ranks=ranks)
        if threshold is not None:
            rules = TagRules(threshold, discard=rules.discard, ranks=ranks)
        engine = engine_of({"models_dir": models_dir, "device": device}, stop)
        find_captioner(engine.store, model)
        failed = False
        for picture in pictures:
            if stop.is_set():
                raise KeyboardInterrupt
            try:
                told = engine.interrogate(picture, model, rules)
            except HiresError as error:
                typer.echo(f"hires: {picture}: {error}", err=True)
                failed = True
                continue
            typer.echo(f"{picture}: {told}" if len(pictures) > 1 else told)
        if failed:
            raise typer.Exit(USER_ERROR)


@app.command()
def tokens(
    prompt: Annotated[str, typer.Argument(help="The prompt.")],
    negative: Annotated[
        bool, typer.Option("--negative", help="Count it as a negative prompt, where AND is a word.")
    ] = (False),
    steps: Annotated[int, typer.Option(min=1, help="Of the job, for prompts that change on the way.")] = 20,
    style: StyleNames = None,
    styles: StyleFiles = None,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", "-m", help="Count the embeddings that fit this model by their vectors.")
    ] = "",
    models_dir: ModelsDir = None,
) -> None:
    """Count a prompt's tokens: of those that editing makes of it the longest, by chunks of 75."""
    with door() as stop:
        from hires.recipes.request import Txt2Img
        from hires.recipes.wording import styled

        engine = engine_of({"models_dir": models_dir, "styles": styles}, stop)
        if style:
            texts = ("", prompt) if negative else (prompt, "")
            request = Txt2Img(prompt=texts[0], negative=texts[1], styles=tuple(style))
            request = styled(request, engine.preparation.phrasebook(request).styles)
            prompt = request.negative if negative else request.prompt
        typer.echo(str(engine.count_tokens(prompt, negative=negative, steps=steps, checkpoint=checkpoint)))
