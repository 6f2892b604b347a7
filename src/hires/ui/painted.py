"""What is painted in the browser, as files that the line under the form tells by: sent and looked at once it rests,
not at every key."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from hires.errors import SettingError
from hires.ui.asking_over import drawn_over, painted, png_bytes
from hires.ui.fields_over import MASKED
from hires.ui.foretold import Given

EDITORS = ("sketch", "inpaint", "inpaint_sketch")
"""The ways to give a picture that are painted on."""
MOST_FILES = 32


class Paintings:
    """The pictures and masks that were painted lately, in files named by their content, as requests carry them. They
    are there as long as the process; the oldest go first."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="hires-painted-")
        self._files: OrderedDict[Path, None] = OrderedDict()

    def given(self, mode: str, edited: Mapping[str, Any] | None) -> Given | None:
        """What the tab `mode` draws over by its editor's value; None without a picture."""
        if edited is None or edited.get("background") is None:
            return None
        picture = self._kept(drawn_over(mode, edited))
        if mode not in MASKED:
            return Given((picture,))
        try:
            return Given((picture,), self._kept(painted(edited)))
        except SettingError as error:
            return Given((picture,), lack=str(error))

    def _kept(self, picture: Image.Image) -> Path:
        data = png_bytes(picture)
        path = Path(self._folder.name) / f"{hashlib.sha256(data).hexdigest()}.png"
        if path not in self._files:
            path.write_bytes(data)
        self._files[path] = None
        self._files.move_to_end(path)
        while len(self._files) > MOST_FILES:
            self._files.popitem(last=False)[0].unlink(missing_ok=True)
        return path
