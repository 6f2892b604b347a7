"""The grids that were drawn, as HTML: what each compares, how much of it there is, where it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from hires.errors import HiresError
from hires.server.gallery import Grid
from hires.ui.markup import Say, address, attributes, link, when


@dataclass(frozen=True)
class Told:
    """What the record of a grid says: its title, how many cells are drawn, failed and there are; a picture of it."""

    title: str
    done: int
    failed: int
    count: int
    picture: str

    @property
    def is_whole(self) -> bool:
        return self.done == self.count


def told_of(grid: Grid) -> Told | None:
    """What a grid's record says; None where it cannot be read."""
    from hires.recipes.grids.record import DONE, FAILED, read_data

    try:
        data = read_data(grid.folder)
        states = [cell.get("state") for cell in data["cells"]]
        sheets = [str(name) for name in data.get("parts") or ()]
        pictures = [str(name) for cell in data["cells"] for name in cell.get("pictures") or ()]
    except (HiresError, KeyError, TypeError, AttributeError):
        return None
    first = next((name for name in [*sheets, *pictures] if _is_here(grid, name)), "")
    picture = f"{grid.name}/{first}" if first else ""
    return Told(str(data.get("title") or grid.name), states.count(DONE), states.count(FAILED), len(states), picture)


def _is_here(grid: Grid, name: str) -> bool:
    path = (grid.folder / name).resolve()
    return path.is_relative_to(grid.folder.resolve()) and path.is_file()


def grids_html(grids: Sequence[Grid], busy: set[str], say: Say) -> str:
    """A card for each grid, the newest first; `busy` are those a job goes on with."""
    if not grids:
        text = say("No grids here yet. Draw one below, or with the scripts of txt2img.")
        return f'<div class="empty">{escape(text)}</div>'
    return f'<div class="grids">{"".join(_card(grid, grid.name in busy, say) for grid in grids)}</div>'


def _card(grid: Grid, busy: bool, say: Say) -> str:
    known = told_of(grid)
    place = f"gallery/grids/{quote(grid.name)}/"
    if known is None:
        return f'<div class="card"><b>{escape(grid.name)}</b> <span>{escape(say("cannot be read"))}</span></div>'
    facts = [grid.name, f"{known.done} / {known.count} {say('cells')}"]
    facts += [f"{known.failed} {say('failed')}"] if known.failed else []
    facts.append(when(grid.changed))
    picture = ""
    if known.picture:
        source = escape(address("gallery/thumbnail", name=known.picture, stamp=f"{grid.changed:.3f}"))
        small = f'<img loading="lazy" alt="" src="{source}">'
        picture = f'<a href="{escape(place)}" target="_blank" rel="noopener">{small}</a>'

    def button(act: str, label: str) -> str:
        off = " disabled" if busy else ""
        return f"<button type='button' {attributes({'name': grid.name, 'act': act})}{off}>{escape(label)}</button>"

    acts = [link(place, say("Open"))]
    if not known.is_whole:
        acts.append(button("resume", say("is being drawn") if busy else say("Draw what is missing")))
    acts.append(button("extend", say("Add values")))
    return (
        f'<div class="card">{picture}<div><b>{escape(known.title)}</b>'
        f'<div class="facts">{escape(" · ".join(facts))}</div><div class="acts">{"".join(acts)}</div></div></div>'
    )


def axes_of_grid(data: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, values as they were written) of each axis of a grid's data; three of them."""
    axes = [
        (str(axis.get("label", "")), str(axis.get("text") or ", ".join(map(str, axis.get("values") or ()))))
        for axis in data.get("axes") or ()
        if isinstance(axis, dict)
    ]
    return [*axes, ("Nothing", ""), ("Nothing", ""), ("Nothing", "")][:3]
