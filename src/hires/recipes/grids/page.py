"""The page of a grid: one HTML file that shows it without a network, a server or anything beside its pictures.

The page holds grid.json's data as it stands, the measures' meanings, the thresholds of the noise floor and the plot.
Whatever a prompt or a file's name holds is data on it, never markup: the data lie in a JSON block without a "<", are
set as text, and the page's policy runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hires.errors import ImageFileError, OutputError, SettingError
from hires.imaging.charts import as_svg
from hires.imaging.measures import MEASURES
from hires.imaging.pictures import open_picture
from hires.recipes.grids.alike import Index, visible_areas
from hires.recipes.grids.noise import ALIKE, thresholds
from hires.recipes.grids.plot import charts_over, plotted_axis

FILE = "index.html"
LINKED, EMBEDDED = "linked", "embedded"
PLACES = (LINKED, EMBEDDED)
MOST_EMBEDDED = 64.0
"""Megabytes of pictures that a page holds unless more is asked for."""
SCRIPTS = ("page.js", "table.js", "list.js", "details.js", "zoom.js", "compare.js", "start.js")
TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".gif": "image/gif",
}


def write_page(
    folder: Path,
    grid: Mapping[str, Any],
    *,
    pictures: str = LINKED,
    most_megabytes: float = MOST_EMBEDDED,
    axis: int | None = None,
) -> Path:
    """Write index.html into a grid's folder, from the data of its grid.json, and give its path.

    With "linked" pictures the page shows the files beside it. With "embedded" ones it holds them and can be sent
    alone; when they have more than `most_megabytes` they are linked all the same, and the page says so. Pictures that
    are missing or cannot be read are shown as missing. The measures are plotted over `axis`, else over the axis that is
    plotted unasked. An older page is replaced. Raises SettingError for data that
    are no grid's or name files outside the folder, OutputError when the page cannot be written.
    """
    if pictures not in PLACES:
        raise SettingError(f"a page's pictures cannot be {pictures!r}", f"Use {' or '.join(PLACES)}.")
    _check(grid)
    found = {name: _inside(folder, name) for name in _names(grid)}
    sizes = [path.stat().st_size for path in found.values() if path.is_file()]
    note = ""
    if pictures == EMBEDDED and sum(sizes) > most_megabytes * 1e6:
        note = f"the pictures lie beside this page: {sum(sizes) / 1e6:.0f} MB are more than {most_megabytes:g} MB"
        pictures = LINKED
    shown = {name: about for name, path in found.items() if (about := _shown(name, path, pictures))}
    sheets = [str(name) for name in (*(grid.get("parts") or ()), *(grid.get("sub_grids") or ()))]
    beside = {name: quote(Path(name).as_posix()) for name in sheets if _inside(folder, name).is_file()}
    text = page(grid, shown, areas=_areas(folder, grid), sheets=beside, note=note, axis=axis)
    target = folder / FILE
    scratch = folder / f".{FILE}.{os.getpid()}"
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise OutputError(f"{target} could not be written ({error.strerror or error})", "Check the folder.") from error
    return target


def page(
    grid: Mapping[str, Any],
    pictures: Mapping[str, Mapping[str, Any]],
    *,
    areas: Sequence[tuple[int, int, float]] = (),
    sheets: Mapping[str, str] | None = None,
    note: str = "",
    axis: int | None = None,
) -> str:
    """The page's HTML. `pictures` says of each picture's name its "source", "width", "height" and "digest"; `areas` on
    which share of their area the cells of two places in the grid's list differ visibly; `sheets` are the composite
    pictures that lie beside the page, by name where to find them."""
    axis = plotted_axis(grid) if axis is None else axis
    charts = charts_over(grid, axis) if axis is not None else []
    series = [each.name for each in charts[0].series if each.name] if charts else []
    data = {
        "grid": grid,
        "pictures": pictures,
        "files": sheets or {},
        "measures": [{"name": name, **asdict(measure)} for name, measure in MEASURES.items()],
        "thresholds": thresholds(grid.get("noise_floor")),
        "areas": areas,
        "alike": ALIKE,
        "series": series,
        "note": note,
    }
    style, script = _style_and_script()
    return _filled(
        _packed("page.html"),
        {
            "title": escape(str(grid.get("title") or "Grid")),
            "policy": escape(policy()),
            "style": style,
            "script": script,
            "data": json_block(data),
            "plots": "".join(as_svg(chart) for chart in charts),
            "plots-title": escape(f"Measures over {charts[0].x_title}" if charts else ""),
            "plots-hidden": "" if charts else " hidden",
        },
    )


def json_block(data: Any) -> str:
    """JSON that can stand in a script element: no "<" in it can end the element, and no number is not finite."""
    text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(name): _finite(value) for name, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with its {{names}} replaced at once, so that no part is looked through for names."""
    return re.sub(r"\{\{([a-z-]+)\}\}", lambda match: parts[match[1]], template)


def _packed(name: str) -> str:
    return files("hires.recipes.grids").joinpath("data", name).read_text(encoding="utf-8")


def _style_and_script() -> tuple[str, str]:
    script = '"use strict";\n(() => {\n' + "\n".join(_packed(name) for name in SCRIPTS) + "})();\n"
    return _packed("page.css"), script


def policy() -> str:
    """What pages of this version may do: show pictures beside the page or in it; run no script and take no style but
    the page's own."""
    own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in _style_and_script()]
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' data: file:; "
        f"style-src 'sha256-{own[0]}'; script-src 'sha256-{own[1]}'"
    )


def _check(grid: Mapping[str, Any]) -> None:
    if grid.get("format") != 1:
        raise SettingError(f"a grid of format {grid.get('format')!r} cannot be shown", "This version knows format 1.")
    if not isinstance(grid.get("axes"), list) or not isinstance(grid.get("cells"), list):
        raise SettingError("the grid has no axes or no cells", "Give the data of a grid.json.")
    for number, cell in enumerate(grid["cells"]):
        index = cell.get("index") if isinstance(cell, Mapping) else None
        if not isinstance(index, list) or not all(isinstance(place, int) for place in index):
            raise SettingError(f"cell {number} of the grid has no index", "Give the data of a grid.json.")
    for name, known in (grid.get("noise_floor") or {}).items():
        if not isinstance(known, Mapping) or not isinstance(known.get("deviation"), int | float):
            raise SettingError(f"the grid's noise floor of {name!r} states no deviation", "Draw its repeats again.")


def _names(grid: Mapping[str, Any]) -> Iterator[str]:
    for cell in [*grid["cells"], *(grid.get("repeats") or ())]:
        yield from cell.get("pictures") or ()
        if cell.get("first_pass"):
            yield cell["first_pass"]


def _areas(folder: Path, grid: Mapping[str, Any]) -> list[tuple[int, int, float]]:
    """(place, place, share) of the cells that were compared."""
    places: dict[Index, int] = {}
    pictures: dict[Index, Path] = {}
    for number, cell in enumerate(grid["cells"]):
        x, y, z = [*cell["index"], 0, 0, 0][:3]
        if cell.get("pictures"):
            places[x, y, z], pictures[x, y, z] = number, folder / cell["pictures"][0]
    return [(places[one], places[other], share) for (one, other), share in visible_areas(pictures).items()]


def _inside(folder: Path, name: str) -> Path:
    """The file of that name; a grid.json from elsewhere must not show other files of this machine."""
    path = folder / name
    if not name or Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise SettingError(f"the grid names a picture outside its folder: {name!r}", "Its pictures lie beside it.")
    return path


def _shown(name: str, path: Path, pictures: str) -> dict[str, Any] | None:
    """Where a picture comes from and what is known of it; None for one that is missing or broken."""
    kind = TYPES.get(path.suffix.lower())
    if kind is None or not path.is_file():
        return None
    status = path.stat()
    try:
        width, height, digest = _looked_at(path, status.st_size, status.st_mtime_ns)
    except ImageFileError:
        return None
    source = quote(Path(name).as_posix())
    if pictures == EMBEDDED:
        source = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return {"source": source, "width": width, "height": height, "digest": digest}


@lru_cache(maxsize=4096)
def _looked_at(path: Path, size: int, changed: int) -> tuple[int, int, str]:
    """Width, height and a digest of the pixels; kept, for a page is written anew with every few cells."""
    picture = open_picture(path)
    pixels = picture.tobytes()
    return picture.width, picture.height, hashlib.sha256(f"{picture.mode} {picture.size}".encode() + pixels).hexdigest()
