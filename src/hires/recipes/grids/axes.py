"""What an axis of a grid is: a name, the values that it may have, and how each changes a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import PurePath
from typing import Any

from hires.errors import HiresError, SettingError
from hires.models.names import folded, stem
from hires.recipes.grids.values import decimal_numbers, split_values, whole_numbers
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import number
from hires.recipes.request import Txt2Img
from hires.text.styles import Style

Request = Txt2Img | Img2Img
TXT2IMG, IMG2IMG = "txt2img", "img2img"
TABS = (TXT2IMG, IMG2IMG)


class Stage(IntEnum):
    """Where in a cell's work a value first makes a difference. What lies before it, cells share."""

    LOADED = 0
    FIRST_PASS = 1
    SWITCHED = 2
    ENLARGED = 3
    SECOND_PASS = 4
    DECODED = 5


@dataclass(frozen=True)
class Known:
    """What there is to choose from.

    names(kind) lists the files of a kind; find(kind, name) gives the listed name that one means, and
    upscaler(name) that of an upscaler for the hires pass; both raise HiresError where there is none.
    """

    names: Callable[[str], Sequence[str]]
    find: Callable[[str, str], str]
    upscaler: Callable[[str], str]
    upscalers: Sequence[str] = ()
    styles: Mapping[str, Style] | None = None


Read = Callable[[str, Known], Sequence[Any]]
Apply = Callable[[Request, Any, Sequence[Any]], Request]
"""apply(request, value, values): the request with a value of an axis that has these."""


@dataclass(frozen=True)
class Axis:
    """One kind of axis. read(text, known) gives its values; needs(request) says what a request lacks for it, or "".

    cost is the web UI's: how dear it is to change the value, 0 to 1; those axes change least often. A `bare` label is
    the value alone.
    """

    label: str
    read: Read
    apply: Apply
    stage: Stage = Stage.FIRST_PASS
    cost: float = 0.0
    tabs: tuple[str, ...] = TABS
    needs: Callable[[Request], str] = lambda request: ""
    choices: Callable[[Known], Sequence[str]] | None = None
    bare: bool = False
    shown: Callable[[Any], str] = lambda value: text_of(value)
    early: bool = False
    """Whether it is applied before the other axes, which build upon what it sets."""

    def title(self, value: Any) -> str:
        """The label of a value in the legend."""
        text = self.shown(value)
        return text if self.bare or not self.label or not text else f"{self.label}: {text}"


def text_of(value: Any) -> str:
    """A value as a person writes it; numbers rounded to 8 places."""
    if isinstance(value, bool):
        return str(value)
    return number(round(value, 8)) if isinstance(value, int | float) else str(value)


def tab_of(request: Request) -> str:
    """The tab of the web UI that a request belongs to."""
    return IMG2IMG if isinstance(request, Img2Img) else TXT2IMG


def base_of(request: Request) -> Txt2Img:
    """The fields that every kind of request has."""
    return request.base if isinstance(request, Img2Img) else request


def with_base(request: Request, **changes: Any) -> Request:
    """The request with fields of its base changed."""
    if isinstance(request, Img2Img):
        return replace(request, base=replace(request.base, **changes))
    return replace(request, **changes)


# --- reading values --------------------------------------------------------------------------------------------


def whole(text: str, known: Known) -> list[int]:
    return whole_numbers(text)


def decimal(text: str, known: Known) -> list[float]:
    return decimal_numbers(text)


def texts(text: str, known: Known) -> list[str]:
    return split_values(text)


def each(read: Callable[[str, Known], Any]) -> Read:
    """Values read one by one."""
    return lambda text, known: [read(item, known) for item in split_values(text)]


def one_of(choices: Sequence[str]) -> Read:
    """Values of a fixed list, in any letter case."""

    def read(item: str, known: Known) -> str:
        for choice in choices:
            if choice.lower() == item.lower():
                return choice
        raise SettingError(f"there is no {item!r}", f"Use one of {', '.join(choices)}.")

    return each(read)


def closest(kind: str, text: str, known: Known) -> str:
    """The listed name that a text means: a file of that name, else the shortest name that contains it."""
    try:
        return known.find(kind, text)
    except HiresError:
        wanted = folded(text)
        containing = sorted((name for name in known.names(kind) if wanted in folded(name)), key=lambda n: (len(n), n))
        if not containing:
            raise
        return containing[0]


def base_name(name: str | None) -> str:
    """A file's name without folder and ending; None stands for none."""
    return "None" if name is None else stem(PurePath(name.replace("\\", "/")).name)


# --- changing requests -----------------------------------------------------------------------------------------


def field(name: str) -> Apply:
    """A field of the base."""
    return lambda request, value, values: with_base(request, **{name: value})


def hires_field(*names: str) -> Apply:
    """Fields of the hires pass."""

    def apply(request: Request, value: Any, values: Sequence[Any]) -> Request:
        hires = base_of(request).hires
        assert hires is not None
        return with_base(request, hires=replace(hires, **dict.fromkeys(names, value)))

    return apply


def needs_hires(request: Request) -> str:
    if isinstance(request, Img2Img):
        return "img2img has no hires pass"
    return "" if request.hires is not None else "there is no hires pass; turn hires fix on"
