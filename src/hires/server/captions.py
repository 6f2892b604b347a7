"""Words for a picture: by a captioning model, where its files are there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hires.api import Engine
from hires.server.pictures import stored


def caption(engine: Engine, picture: str, model: str, most_pixels: int) -> str:
    """What a picture shows, as a prompt. ModelFileError says which files to add."""
    with tempfile.TemporaryDirectory(prefix="hires-job-") as folder:
        return engine.interrogate(stored(picture, Path(folder), most_pixels), model)
