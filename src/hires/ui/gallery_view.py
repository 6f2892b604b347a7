"""The gallery's pictures as HTML: the tiles, one picture's details, the trash."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from hires.gallery.index import Entry
from hires.gallery.trash import Thrown
from hires.ui.markup import Say, address, attributes, folded, infotext_table, link, size_of, table, when

if TYPE_CHECKING:
    from hires.server.gallery import Gallery

MOST_THROWN = 300
"""Tiles of the trash that are shown at once."""
RAW = ("workflow", "prompt")
"""Texts that are shown folded."""


def tiles(entries: Sequence[Entry], marked: Collection[str], chosen: str, say: Say) -> str:
    """A tile for each picture."""
    if not entries:
        return f'<div class="empty">{escape(say("No pictures here yet."))}</div>'
    return f'<div class="tiles">{"".join(_tile(entry, marked, chosen, say) for entry in entries)}</div>'


def _tile(entry: Entry, marked: Collection[str], chosen: str, say: Say) -> str:
    on = entry.name in marked
    classes = " ".join(["tile", *(["marked"] if on else []), *(["shown"] if entry.name == chosen else [])])
    stamp = f"{entry.bytes}-{entry.changed:.3f}"
    source = address("gallery/thumbnail", name=entry.name, stamp=stamp)
    label = entry.name.rpartition("/")[2]
    title = f"{entry.name}\n{entry.width}x{entry.height}, {size_of(entry.bytes)}, {when(entry.changed)}"
    return (
        f'<div class="{classes}" {attributes({"name": entry.name})}>'
        f'<button type="button" class="open" title="{escape(title)}"><img loading="lazy" src="{escape(source)}" '
        f'alt="{escape(label)}"><span class="label">{escape(label)}</span></button>'
        f'<button type="button" class="mark" aria-pressed="{str(on).lower()}" '
        f'aria-label="{escape(say("Choose"))} {escape(label)}" title="{escape(say("Choose"))}">✓</button></div>'
    )


def details(gallery: Gallery, name: str, editor: bool, say: Say) -> str:
    """One picture with all that it says of itself; editor: whether it can be opened there."""
    from hires.server.gallery import token

    entry = gallery.index.get(name)
    if entry is None:
        return f'<p class="hint">{escape(say("Choose a picture to see how it was made."))}</p>'
    texts = gallery.texts(name)
    picture = address("gallery/picture", name=name)
    links = [link(picture, say("Full size"))]
    if any(key in texts for key in ("workflow", "prompt", "parameters")):
        if editor:
            links.append(link(address("editor/", template=token(name), source="gallery"), say("Open in the editor")))
        links.append(link(address("gallery/workflow", name=name), say("Save the workflow"), new=False))
    facts = [
        (say("File"), name),
        (say("Size"), f"{entry.width}x{entry.height}, {size_of(entry.bytes)}"),
        (say("Changed"), when(entry.changed)),
    ]
    return (
        f'<img class="large" src="{escape(picture)}" alt="{escape(name)}">'
        f'<div class="links">{"".join(links)}</div>{table(facts)}{texts_of(texts, say)}'
    )


def texts_of(texts: Mapping[str, str], say: Say) -> str:
    """What a picture carries: infotext as a table, every other text behind its name."""
    told = infotext_table(texts.get("parameters", ""), say)
    others = "".join(folded(key, text) for key, text in texts.items() if key != "parameters" and text.strip())
    return told + others


def trash_tiles(thrown: Sequence[Thrown], say: Say) -> str:
    """What lies in the trash, the last of it; a click on a tile brings its picture back."""
    if not thrown:
        return f'<div class="empty">{escape(say("The trash is empty."))}</div>'
    more = len(thrown) - MOST_THROWN
    rest = f'<p class="hint">{escape(say("and {n} more").replace("{n}", str(more)))}</p>' if more > 0 else ""
    return f'<div class="tiles">{"".join(_thrown(one, say) for one in thrown[:MOST_THROWN])}</div>{rest}'


def trash_total(thrown: Sequence[Thrown], say: Say) -> str:
    """How much lies in the trash: "3 pictures, 1.2 MB"."""
    count = say("1 picture") if len(thrown) == 1 else say("{n} pictures").replace("{n}", str(len(thrown)))
    return f"{count}, {size_of(sum(one.bytes for one in thrown))}"


def _thrown(one: Thrown, say: Say) -> str:
    source = address("gallery/thumbnail", name=one.name, trash=one.deletion, stamp=f"{one.bytes}-{one.changed:.3f}")
    label = f"↩ {say('Restore')}"
    return (
        f'<div class="tile" {attributes({"name": one.name, "deletion": one.deletion})}>'
        f'<button type="button" class="open" title="{escape(one.name)}"><img loading="lazy" src="{escape(source)}" '
        f'alt="{escape(one.name)}"><span class="label">{escape(label)}</span></button></div>'
    )


def marked_bar(marked: Sequence[str], say: Say) -> str:
    """What can be done with the pictures that are chosen."""
    if not marked:
        return ""
    told = f"<span>{len(marked)} {escape(say('chosen'))}</span>"
    if len(marked) == 2:
        place = address("gallery/compare", a=marked[0], b=marked[1])
        told += link(f"{place}#compare", say("Compare"))
    else:
        told += f'<span class="hint">{escape(say("Choose two to compare them."))}</span>'
    return f'<div class="links">{told}</div>'
