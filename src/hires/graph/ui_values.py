"""`widgets_values`: which of a saved node's values belongs to which input.

By position: the inputs as the editor lists them; sockets take none, most widgets one, a seed two (the value and
what to do after a run), an upload two (the name and the button). Values are never shifted in silence: what fits
no known layout gives the defaults, and the user is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hires.graph.context import Context
from hires.graph.declare import NodeType
from hires.graph.inputs import NOTHING, WIDGET_TYPES, Choice, FileChoice, Float, Input, Int

CONTROLS = ("fixed", "increment", "decrement", "randomize", "increment-wrap", True, False, None)
UPLOADS = ("image_upload", "video_upload", "audio_upload")


def widget_values(
    node_type: NodeType, values: Sequence[Any] | Mapping[str, Any], context: Context
) -> tuple[dict[str, Any], str | None]:
    """Input name -> value of all widgets of a node, and what had to be mended, if anything."""
    note = None
    if isinstance(values, Mapping):
        named = {entry.name: values[entry.name] for entry in _widgets(node_type) if entry.name in values}
    else:
        found, note = _by_position(node_type, list(values), context)
        named = found if found is not None else {}
        if found is None:
            note = "its values fit none of the known layouts; the defaults are taken"
    filled: dict[str, Any] = {}
    for entry in _widgets(node_type):
        value = named.get(entry.name)
        value = default_value(entry, context) if value is None else _without_old_prefix(entry, value, context)
        if value is not NOTHING and not (entry.extra and entry.name not in named):
            filled[entry.name] = value
    return filled, note


def widget_slots(node_type: NodeType) -> list[tuple[str, int]]:
    """The widgets of ComfyUI's node in order, with the number of values each holds."""
    return [(entry.name, 1 + len(_companions(entry))) for entry in _widgets(node_type) if not entry.extra]


def _by_position(node_type: NodeType, values: list[Any], context: Context) -> tuple[dict[str, Any] | None, str | None]:
    """Try the layouts in turn; the first in which every value is legal at its place."""
    plain = _layout(_widgets(node_type))
    counted = _layout(_forced_too(node_type))
    for layout, given in (
        (plain, values),
        (plain, [value for value in values if value is not None]),
        (counted if len(values) == len(counted) else None, values),
    ):
        if layout is not None and len(given) <= len(layout):
            found = _assign(layout, given, context)
            if found is not None:
                return found, None
    if node_type.migrate is not None:
        migrated = _migrated(node_type, values)
        if isinstance(migrated, Mapping):
            return dict(migrated), "its values are in an older layout and were translated"
        found = _assign(plain, migrated, context) if migrated is not None else None
        if found is not None:
            return found, "its values are in an older layout and were translated"
    without: list[Input | str] = list(_widgets(node_type))
    found = _assign(without, values, context) if len(values) <= len(without) else None
    if found is not None:
        return found, "its values lack those of the seed's control; they were read without"
    found = _assign(plain, values[: len(plain)], context)
    return found, f"its last {len(values) - len(plain)} values belong to no input and were left out"


def _migrated(node_type: NodeType, values: list[Any]) -> Mapping[str, Any] | list[Any] | None:
    """What the node makes of an older layout; the file may hold anything, so a hook that stumbles knows none."""
    assert node_type.migrate is not None
    try:
        return node_type.migrate(values)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None


def _layout(entries: Iterable[Input]) -> list[Input | str]:
    slots: list[Input | str] = []
    for entry in entries:
        slots += [entry, *_companions(entry)]
    return slots


def _assign(layout: Sequence[Input | str], values: Sequence[Any], context: Context) -> dict[str, Any] | None:
    """Input name -> value, or None if a value is illegal at its place."""
    found: dict[str, Any] = {}
    for slot, value in zip(layout, values, strict=False):
        if isinstance(slot, str):
            if slot == "control" and not any(value is known or value == known for known in CONTROLS):
                return None
            if slot != "control" and not isinstance(value, str | None):
                return None
        elif not _is_legal(slot, value, context):
            return None
        else:
            found[slot.name] = value
    return found


def _is_legal(entry: Input, value: Any, context: Context) -> bool:
    declaration = entry.declaration
    if isinstance(declaration, FileChoice):
        return isinstance(value, str | None)
    if isinstance(declaration, Choice):
        choices = list(declaration.available(context))
        if any(_without_old_prefix(entry, value, context) == choice for choice in choices):
            return True
        # A list that is empty here, or holds files, may have been another where the workflow was saved.
        looks_like_file = isinstance(value, str) and any("." in str(choice) for choice in choices) and "." in value
        return isinstance(value, str) and (not choices or looks_like_file)
    if entry.type in ("INT", "FLOAT"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if entry.type == "BOOLEAN":
        return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
    return isinstance(value, str)


def _widgets(node_type: NodeType) -> Iterator[Input]:
    return (entry for entry in node_type.widget_order if entry.is_widget)


def _forced_too(node_type: NodeType) -> Iterator[Input]:
    """The layout of old files, which counted inputs that are sockets only (`forceInput`)."""
    return (entry for entry in node_type.widget_order if entry.type in WIDGET_TYPES)


def _companions(entry: Input) -> tuple[str, ...]:
    """The further values that an editor keeps behind a widget's own."""
    if entry.has_control:
        return ("control", "filter") if entry.type == "COMBO" else ("control",)
    declaration = entry.declaration
    uploads = isinstance(declaration, FileChoice) and declaration.upload
    return ("upload",) if uploads or any(entry.more.get(kind) for kind in UPLOADS) else ()


def companion_values(entry: Input) -> list[Any]:
    """The further values as an editor writes them for a widget that nobody has touched: nothing changes after a run."""
    untouched = {"control": "fixed", "filter": "", "upload": "image"}
    return [untouched[name] for name in _companions(entry)]


def default_value(entry: Input, context: Context) -> Any:
    """What an editor shows where the file has no value. A file is never chosen by itself."""
    declaration = entry.declaration
    if entry.default is not NOTHING or isinstance(declaration, FileChoice):
        return entry.default
    if isinstance(declaration, Choice):
        return next(iter(declaration.available(context)), NOTHING)
    if isinstance(declaration, Int | Float):
        return declaration.min or 0
    return False if entry.type == "BOOLEAN" else ""


def _without_old_prefix(entry: Input, value: Any, context: Context) -> Any:
    """Samplers were once called `sample_euler` and so on."""
    if entry.name == "sampler_name" and isinstance(value, str) and value.startswith("sample_"):
        choices = entry.choices(context)
        if choices is not None and value not in choices:
            return value.removeprefix("sample_")
    return value
