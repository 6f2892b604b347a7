"""Words for a picture: by a captioning model, where its files are there."""

from __future__ import annotations

from hires.api import Engine
from hires.server.pictures import stored
from hires.server.running import places


def caption(engine: Engine, picture: str, model: str, most_pixels: int) -> str:
    """What a picture shows, as a prompt. ModelFileError says which files to add."""
    with places(engine, save=False) as folder:
        return engine.interrogate(stored(picture, folder, most_pixels), model)
