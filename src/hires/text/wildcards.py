"""Prompts with choices: `__name__` takes a line of a file, `{a|b|c}` one of its options, by the seed.

    {a|b}  {3::a|b}  {2$$a|b|c}  {1-2$$ and $$a|b|c}  __colours__  __animals/*__

A number and `::` in front of an option or a line weighs it; `n$$` takes n different options, joined by ", " or by what
stands up to a second `$$`. Options and lines may hold choices themselves. Braces without a bar or `$$` are text, as is
what a backslash stands before.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from hires.errors import PromptError

SUFFIX: Final = ".txt"
MOST_BYTES: Final = 64_000_000
MOST_DEPTH: Final = 40
MOST_CHOICES: Final = 10_000
MOST_TEXT: Final = 1_000_000

_NAME = re.compile(r"__([^\s{}|,:](?:[^{}|,:\n]*?[^\s{}|,:])??)__(?!_)")
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)::")
_COUNT = re.compile(r"\s*(\d*)\s*(-?)\s*(\d*)\s*\$\$")
_MARK = re.compile(r"\\.|[{}]|__", re.DOTALL)

Option = tuple[float, str]
Lines = Callable[[str], Sequence[Option] | None]


@dataclass(frozen=True)
class Resolved:
    """A prompt after its choices, and (position in what was written, name) of wildcards that have no file."""

    text: str
    unknown: list[tuple[int, str]] = field(default_factory=list)


def has_choices(text: str) -> bool:
    """Whether a text may come out differently from seed to seed."""
    if _NAME.search(text):
        return True
    return any(_is_choice(text[start + 1 : end]) for start, end in _braces(text).items())


def resolve(text: str, seed: int, folders: Sequence[Path] = (), role: str = "prompt") -> Resolved:
    """`text` with every choice made by `seed`, the same on every machine. `role` parts the streams of texts that are
    not to choose alike (prompt, negative prompt). Files are looked for as NAME.txt below `folders`.

    A wildcard without a file stays as it is and is told in `unknown`. PromptError, at its character, for a name that
    leads out of the folders, for wildcards that call each other without end and for a count that cannot be met.
    """
    run = _Run(random.Random(f"{role} {seed}"), file_lines(folders))
    return Resolved(run.expand(text, 0, 0), run.unknown)


def names_in(text: str) -> list[tuple[int, str]]:
    """(position, name) of the wildcards in a text; in one whose choices are made, of those without a file."""
    return [(match.start(), match[1]) for match in _NAME.finditer(text)]


def file_lines(folders: Sequence[Path]) -> Lines:
    """Name or glob of a wildcard -> its weighted lines from the files below `folders`; None where there is no file."""

    @cache
    def lines(name: str) -> Sequence[Option] | None:
        found = [path for folder in folders for path in _files(folder, name)]
        return [option for path in found for option in _read(path)] if found else None

    return lines


def wildcard_names(folders: Sequence[Path]) -> list[str]:
    """The names there are, without their ending, sorted."""
    return sorted(
        {
            path.relative_to(folder).with_suffix("").as_posix()
            for folder in folders
            for path in folder.rglob(f"*{SUFFIX}")
            if path.is_file()
        }
    )


# --- choosing ------------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """One text's choices: the stream of random numbers and what has been seen."""

    stream: random.Random
    lines: Lines
    unknown: list[tuple[int, str]] = field(default_factory=list)
    made: int = 0

    def expand(self, text: str, depth: int, origin: int | None) -> str:
        """`text` with its choices made. `origin` is where it begins in what was written; None once inside a file,
        whose characters are not the user's."""
        if depth > MOST_DEPTH:
            raise PromptError("the choices of the prompt call each other without end", "", origin)
        parts, at, braces = [], 0, _braces(text)
        while (mark := _MARK.search(text, at)) is not None:
            parts.append(text[at : mark.start()])
            chosen, at = self._at(text, mark, braces.get(mark.start()), depth, origin)
            parts.append(chosen)
        parts.append(text[at:])
        whole = "".join(parts)
        if len(whole) > MOST_TEXT:
            raise PromptError("the choices of the prompt make it too long", "", origin)
        return whole

    def _at(self, text: str, mark: re.Match[str], end: int | None, depth: int, origin: int | None) -> tuple[str, int]:
        """What a mark stands for, and where the text goes on; `end` is where a brace is closed."""
        start = mark.start()
        here = None if origin is None else origin + start
        if mark[0] == "__":
            name = _NAME.match(text, start)
            return (self._wildcard(name, depth, here), name.end()) if name else (mark[0], mark.end())
        if end is None:
            return mark[0], mark.end()
        inside = text[start + 1 : end]
        if not _is_choice(inside):
            return "{" + self.expand(inside, depth + 1, None if here is None else here + 1) + "}", end + 1
        return self._options(inside, depth, here), end + 1

    def _wildcard(self, name: re.Match[str], depth: int, here: int | None) -> str:
        options = self._lines_of(name[1], here)
        if options is None:
            self.unknown.append((here or 0, name[1]))
            return name[0]
        if not options:
            return ""
        (index,) = self._pick([weight for weight, _ in options], 1, here)
        return self.expand(options[index][1], depth + 1, None)

    def _lines_of(self, name: str, here: int | None) -> Sequence[Option] | None:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\", "~")):
            raise PromptError(f"the wildcard __{name}__ leads out of its folder", "Name a file below it.", here)
        return self.lines("/".join(parts))

    def _options(self, inside: str, depth: int, here: int | None) -> str:
        low, high, separator, body, shift = _counted(inside)
        options: list[tuple[float, str, int | None]] = []
        at = shift
        for piece in _split(body):
            weight = _WEIGHT.match(piece)
            skip = weight.end() if weight else 0
            begin = None if here is None else here + 1 + at + skip
            options.append((float(weight[1]) if weight else 1.0, piece[skip:], begin))
            at += len(piece) + 1
        whole = _NAME.fullmatch(body.strip())
        if whole and shift:  # {2$$__colours__}: different lines of one file
            lines = self._lines_of(whole[1], here)
            if lines is not None:
                options = [(weight, line, None) for weight, line in lines]
        high = len(options) if high is None else min(high, len(options))
        if low > high:
            raise PromptError(
                f"{{{inside[:40]}}} at character {(here or 0) + 1} asks for {low} of {len(options)} options",
                "Ask for fewer.",
                here,
            )
        wanted = low + int(self.stream.random() * (high - low + 1))
        picked = [options[index] for index in self._pick([weight for weight, _, _ in options], wanted, here)]
        return separator.join(self.expand(text, depth + 1, begin).strip() for _, text, begin in picked)

    def _pick(self, weights: Sequence[float], count: int, here: int | None) -> list[int]:
        """The places of `count` different options, by their weights, in the order in which they are drawn."""
        self.made += count
        if self.made > MOST_CHOICES:
            raise PromptError(f"the prompt makes more than {MOST_CHOICES} choices", "", here)
        rest, picked = list(enumerate(weights)), []
        for _ in range(count):
            mark = self.stream.random() * sum(weight for _, weight in rest)
            place = len(rest) - 1  # where rounding leaves none
            for at, (_, weight) in enumerate(rest):
                mark -= weight
                if mark < 0:
                    place = at
                    break
            picked.append(rest.pop(place)[0])
        return picked


# --- reading -------------------------------------------------------------------------------------------------------


def _braces(text: str) -> dict[int, int]:
    """Where each opening brace is closed; those that are not closed are text."""
    opened: list[int] = []
    closed: dict[int, int] = {}
    for mark in _MARK.finditer(text):
        if mark[0] == "{":
            opened.append(mark.start())
        elif mark[0] == "}" and opened:
            closed[opened.pop()] = mark.start()
    return closed


def _is_choice(inside: str) -> bool:
    return _COUNT.match(inside) is not None or len(_split(inside)) > 1


def _split(text: str) -> list[str]:
    """The options between bars; those of inner braces, of `[a|b]` and behind a backslash are not ours."""
    parts, begin, depth, square, skip = [], 0, 0, 0, False
    for at, char in enumerate(text):
        if skip or char == "\\":
            skip = not skip
        elif char in "{}":
            depth += 1 if char == "{" else -1
        elif char in "[]" and depth == 0:
            square = max(square + (1 if char == "[" else -1), 0)
        elif char == "|" and depth == 0 and square == 0:
            parts.append(text[begin:at])
            begin = at + 1
    return [*parts, text[begin:]]


def _counted(inside: str) -> tuple[int, int | None, str, str, int]:
    """(fewest, most or None, separator, options, where they begin) of what stands between braces."""
    count = _COUNT.match(inside)
    if count is None:
        return 1, 1, ", ", inside, 0
    first, dash, last = count.groups()
    low = int(first) if first else 0 if dash else 1
    high = int(last) if last else None if dash else low
    body, shift, separator = inside[count.end() :], count.end(), ", "
    if "$$" in body:
        separator, _, body = body.partition("$$")
        shift += len(separator) + 2
    return low, high, separator, body, shift


def _files(folder: Path, name: str) -> list[Path]:
    """The files below `folder` that a name or glob means, sorted; links that lead out of it are left out."""
    root = folder.resolve()
    pattern = f"{name}{SUFFIX}"
    found = sorted(folder.glob(pattern)) if any(mark in name for mark in "*?[") else [folder / pattern]
    return [path for path in found if path.is_file() and path.resolve().is_relative_to(root)]


def _read(path: Path) -> list[Option]:
    if path.stat().st_size > MOST_BYTES:
        raise PromptError(f"the wildcard file {path} is too large")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"the wildcard file {path} cannot be read: {error}", "It is text in UTF-8.") from None
    options = []
    for line in text.splitlines():
        line = re.sub(r"(?:^|\s)#.*", "", line).strip()
        if line:
            weight = _WEIGHT.match(line)
            options.append((float(weight[1]), line[weight.end() :].strip()) if weight else (1.0, line))
    return options
