"""`hires upscale`: pictures and folders of them, enlarged one after the other by one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hires.api import Engine, Extras, OnEvent, Upscaled
from hires.errors import HiresError, SettingError
from hires.nodes.context import PICTURES
from hires.options import parse_size
from hires.workers.spread import each

PLAIN = (
    "upscaler",
    "upscaler_2",
    "visibility",
    "crop",
    "max_side",
    "alpha",
    "edge",
    "rule",
    "tile",
    "tiling",
    "steps",
    "seed",
    "prompt",
    "cfg",
    "noise_level",
    "gfpgan_visibility",
    "codeformer_visibility",
    "codeformer_weight",
    "bits",
    "format",
    "quality",
)
"""Flags that are fields of the request under the same name."""
DisplayFactory = Callable[[], AbstractContextManager[OnEvent]]


def request_from_flags(given: Mapping[str, Any]) -> Extras:
    """The request that the command's flags describe; flags that are None were not given."""
    request = replace(Extras(), **{name: given[name] for name in PLAIN if given.get(name) is not None})
    if given.get("by") is not None and given.get("to") is not None:
        raise SettingError("--by and --to contradict each other", "Give one of them.")
    if given.get("by") is not None:
        request = replace(request, scale=given["by"])
    if given.get("to") is not None:
        width, height = parse_size(given["to"], "--to")
        request = replace(request, width=width, height=height)
    return request


def pictures_in(places: Sequence[Path], recursive: bool) -> list[tuple[Path, Path]]:
    """Every picture of files and folders, with the folder, relative to the one named, that its result goes to."""
    found: list[tuple[Path, Path]] = []
    for place in places:
        if not place.is_dir():
            found.append((place, Path()))
            continue
        inside = sorted(place.rglob("*") if recursive else place.iterdir())
        files = [path for path in inside if path.suffix.lower() in PICTURES and path.is_file()]
        if not files:
            more = "" if recursive else " (folders in it are only entered with --recursive)"
            raise SettingError(f"there is no picture in {place}{more}")
        found += [(path, path.parent.relative_to(place)) for path in files]
    return found


def upscale_all(
    engine: Engine,
    files: Sequence[tuple[Path, Path]],
    request: Extras,
    out: Path | None,
    output_dir: Path,
    display: DisplayFactory,
) -> Iterator[tuple[Path, Upscaled | HiresError]]:
    """Enlarge one after the other; a file that fails is told of, and the next one is taken."""
    if out is not None and len(files) != 1:
        raise SettingError(f"--out names one file, and there are {len(files)} pictures", "Use --output-dir.")
    with ExitStack() as stack:
        lanes = stack.enter_context(engine.each_lane()) if len(files) > 1 else [engine]
        alone = len(lanes) == 1

        def enlarge(lane: Engine, file: tuple[int, tuple[Path, Path]]) -> Upscaled:
            path, below = file[1]
            with display() if alone else nullcontext() as on_event:
                return lane.upscale(path, request, out=out, output_dir=output_dir / below, on_event=on_event)

        numbered = [[one] for one in enumerate(files)]
        done: dict[int, Upscaled | HiresError] = {}
        told = 0
        with closing(each(lanes, numbered, enlarge, engine.give_up)) as results:
            for (number, _), result in results:
                if not isinstance(result, Upscaled | HiresError):
                    raise result
                done[number] = result
                while told in done:
                    yield files[told][0], done.pop(told)
                    told += 1


def said(done: Upscaled) -> str:
    """One line: sizes, upscaler, how it was cut, time."""
    width, height = done.picture.size
    how = "; ".join(dict.fromkeys(done.notes))
    return f"{done.source.name}: {width}x{height} by {done.request.upscaler}, {done.report.seconds:.1f} s" + (
        f" ({how})" if how else ""
    )
