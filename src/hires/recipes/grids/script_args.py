"""Grids as the web UI's interface asks for them: the positional arguments of X/Y/Z plot and of Prompt matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hires.errors import SettingError
from hires.recipes.grids.axes import IMG2IMG
from hires.recipes.grids.axis_table import find_axis
from hires.recipes.grids.matrix import Matrix
from hires.recipes.grids.request import AxisValues, GridOptions, GridRequest
from hires.recipes.grids.values import join_values
from hires.recipes.img2img_request import Img2Img
from hires.recipes.request import Txt2Img

AXIS_DEFAULTS: tuple[Any, ...] = (0, "", [])
"""type, values as text, values chosen from a list: thrice, for X, Y and Z."""
XYZ_DEFAULTS: tuple[Any, ...] = (*AXIS_DEFAULTS * 3, True, False, False, False, False, False, False, 0, False)
"""Then: draw legend, include sub images, include sub grids, keep -1 for seeds, vary seeds for X, Y, Z, grid margins in
pixels, and whether values are read from the text where there is a list."""
MATRIX_DEFAULTS: tuple[Any, ...] = (False, False, "positive", "comma", 0)
"""Put variable parts at start, different seed for each picture, prompt, joining char, grid margins."""


def grid_from_script_args(args: Sequence[Any], tab: str) -> GridRequest:
    """The grid of X/Y/Z plot's arguments on a tab, txt2img or img2img; its base is the tab's default, to be replaced.

    A type is a number of the tab's list or a label. Axes with a list of choices read what was chosen from it, or the
    text where nothing was, or where the last argument says so. Missing arguments have their defaults.
    """
    given = [*args, *XYZ_DEFAULTS[len(args) :]]
    text_only = bool(given[17])
    axes = tuple(_axis(given[at], given[at + 1], given[at + 2], text_only, tab) for at in (0, 3, 6))
    options = GridOptions(
        legend=bool(given[9]),
        sub_images=bool(given[10]),
        sub_grids=bool(given[11]),
        keep_random=bool(given[12]),
        vary_x=bool(given[13]),
        vary_y=bool(given[14]),
        vary_z=bool(given[15]),
        margin=_margin(given[16]),
    )
    return GridRequest(Img2Img() if tab == IMG2IMG else Txt2Img(), axes, options)


def _axis(kind: Any, text: Any, chosen: Any, text_only: bool, tab: str) -> AxisValues:
    if isinstance(kind, float) and kind.is_integer():
        kind = int(kind)
    if isinstance(kind, bool) or not isinstance(kind, int | str):
        raise SettingError(f"the type of an axis is a number or a label, not {kind!r}")
    axis = find_axis(int(kind) if isinstance(kind, str) and kind.isdecimal() else kind, tab)
    items = chosen if isinstance(chosen, list | tuple) else [chosen] if chosen else []
    if axis.choices is not None and items and not text_only:
        return AxisValues(axis.label, join_values([str(item) for item in items]))
    return AxisValues(axis.label, "" if text is None else str(text))


def _margin(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError, OverflowError):
        raise SettingError(f"the margins of a grid are a number of pixels, not {value!r}") from None


def matrix_from_script_args(args: Sequence[Any], tab: str) -> GridRequest:
    """The grid of Prompt matrix's arguments on a tab; its base is the tab's default, to be replaced."""
    at_start, different, side, delimiter, margin = [*args, *MATRIX_DEFAULTS[len(args) :]][: len(MATRIX_DEFAULTS)]
    for what, value, known in (
        ("prompt", side, ("positive", "negative")),
        ("joining character", delimiter, ("comma", "space")),
    ):
        if value not in known:
            raise SettingError(f"a prompt matrix has no {what} {value!r}", f"Use {' or '.join(known)}.")
    matrix = Matrix(bool(at_start), bool(different), side == "negative", delimiter == "space")
    options = GridOptions(margin=_margin(margin), sub_images=True)
    return GridRequest(Img2Img() if tab == IMG2IMG else Txt2Img(), (), options, matrix)
