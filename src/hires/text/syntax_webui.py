"""The A1111 web UI's prompt dialect: comments, `<lora:...>` tags, AND, BREAK, and `(...)`, `[...]`, `(...:w)`.

`[from:to:when]` and `[a|b]` are in schedule.py: they are expanded before brackets mean emphasis.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hires.errors import PromptError

Weighted = tuple[str, float]

_NETWORK = re.compile(r"<(\w+):([^<>]+)>")
_AND = re.compile(r"\bAND\b")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")
_BREAK = re.compile(r"\bBREAK\b")
PIECE = re.compile(r"\\[()\[\]\\]?|[(\[]|:\s*([+-]?[.\d]+)\s*\)|[)\]]|[^\\()\[\]:]+|:")
"""The signs that brackets are read by; group 1 is the number of a `:w)`."""


@dataclass(frozen=True)
class NetworkTag:
    """`<kind:name:arguments...>` as it stood at `position`; `named` holds arguments of the form `key=value`."""

    kind: str
    name: str
    arguments: Sequence[str] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    position: int = 0

    def strengths(self) -> tuple[float, float, int | None]:
        """(text encoder, UNet, rank to cut to) of a `lora` or `lyco` tag: missing te is 1, missing unet is te."""
        text = self._value(0, "te", 1.0)
        unet = self._value(1, "unet", text)
        rank = self._value(2, "dyn", 0.0)
        if rank < 0 or rank != int(rank):
            raise self._fault(f"the rank {rank:g} is not a whole number", f"<{self.kind}:{self.name}:1:1:8>")
        return text, unet, int(rank) or None

    @property
    def blocks(self) -> str | None:
        """The block weights of `lbw=MIDD`, or of an argument behind the first that is a list or a name."""
        return self.named.get("lbw", next((each for each in self.arguments[1:] if _is_blocks(each)), None))

    def _value(self, index: int, key: str, default: float) -> float:
        numbers = [each for place, each in enumerate(self.arguments) if place == 0 or not _is_blocks(each)]
        stated = self.named.get(key, numbers[index] if index < len(numbers) else None)
        if stated is None:
            return default
        try:
            value = float(stated)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._fault(f"{stated!r} is not a number.", f"<{self.kind}:{self.name}:0.8>")
        return value

    def _fault(self, what: str, example: str) -> PromptError:
        where = f"<{self.kind}:{self.name}> at character {self.position + 1}"
        return PromptError(f"{where}: {what}", f"Write it as {example}.", self.position)


def _is_blocks(argument: str) -> bool:
    return "," in argument or re.fullmatch(r"[A-Za-z][\w.]*", argument) is not None


def strip_comments(text: str) -> str:
    """`text` without `#` comments; a line that starts with `#` goes together with its line break."""
    text = re.sub(r"(?m)^#[^\n]*(?:\n|\Z)", "", text)
    return re.sub(r"#[^\n]*", "", text)


def split_networks(text: str) -> tuple[str, list[NetworkTag]]:
    """Take the extra-network tags out of a prompt."""
    tags = []
    for match in _NETWORK.finditer(text):
        items = [item.strip() for item in match[2].split(":")]
        pairs = [item.partition("=") for item in items[1:]]
        plain = tuple(item for item, equals, _ in pairs if not equals)
        named = {key.strip(): value.strip() for key, equals, value in pairs if equals}
        tags.append(NetworkTag(match[1], items[0], plain, named, match.start()))
    return _NETWORK.sub("", text), tags


def strip_negative_networks(text: str) -> tuple[str, list[str]]:
    """A negative prompt without tags, which mean nothing there, and a warning for each."""
    stripped, tags = split_networks(text)
    return stripped, [
        f"<{tag.kind}:{tag.name}> in the negative prompt has no effect and was removed; put it into the prompt."
        for tag in tags
    ]


def split_and(text: str) -> list[Weighted]:
    """The parts between upper-case ANDs with their weights: `a AND b :0.5` is a at 1 and b at 0.5."""
    return [_split_weight(part) for part in _AND.split(text)]


def parse_attention(text: str) -> list[list[Weighted]]:
    """The (text, weight) pieces between BREAKs, neighbours of equal weight joined. Brackets that do not match, and
    weights that are no numbers, are text; an opening bracket that is never closed holds to the end."""
    pieces: list[str | None] = []  # None stands for BREAK
    groups: dict[str, list[tuple[int, int, float]]] = {"(": [], "[": []}
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        groups[bracket].append((opened[bracket].pop(), len(pieces), factor))

    for match in PIECE.finditer(text):
        token, weight = match[0], match[1]
        if token.startswith("\\"):
            pieces.append(token[1:])
        elif token in opened:
            opened[token].append(len(pieces))
        elif weight is not None:
            factor = stated_weight(weight)
            if opened["("] and factor is not None:
                close("(", factor)
            elif opened["("]:
                pieces.append(token[:-1])
                close("(", 1.1)
            else:
                pieces.append(token)
        elif token == ")" and opened["("]:
            close("(", 1.1)
        elif token == "]" and opened["["]:
            close("[", 1 / 1.1)
        else:
            first, *others = _BREAK.split(token)
            pieces.append(first.rstrip() if others else first)
            for part in others[:-1]:
                pieces += [None, part.strip()]
            for part in others[-1:]:
                pieces += [None, part.lstrip()]
    for bracket, factor in (("(", 1.1), ("[", 1 / 1.1)):
        while opened[bracket]:
            close(bracket, factor)

    round_weights = _products(groups["("], len(pieces))
    square_weights = _products(groups["["], len(pieces))
    sections: list[list[Weighted]] = [[]]
    for piece, outer, inner in zip(pieces, round_weights, square_weights, strict=True):
        weight_here = outer * inner
        section = sections[-1]
        if piece is None:
            sections.append([])
        elif section and section[-1][1] == weight_here:
            section[-1] = (section[-1][0] + piece, weight_here)
        elif piece:
            section.append((piece, weight_here))
    return sections


def _products(groups: Sequence[tuple[int, int, float]], count: int) -> list[float]:
    """For each of `count` pieces the product of the factors of the groups [start, end) around it (groups of one kind
    of bracket never cross)."""
    starts: dict[int, list[tuple[int, float]]] = {}
    for start, end, factor in reversed(groups):  # closed last is outermost
        starts.setdefault(start, []).append((end, factor))
    products = []
    stack: list[tuple[int, float]] = []
    for index in range(count):
        while stack and stack[-1][0] <= index:
            stack.pop()
        for end, factor in starts.get(index, ()):
            if end > index:
                stack.append((end, factor * (stack[-1][1] if stack else 1.0)))
        products.append(stack[-1][1] if stack else 1.0)
    return products


def stated_weight(text: str) -> float | None:
    """The number of a `:w)`; None for what looks like one and is none, as 1.2.3."""
    try:
        value = float(text)
    except ValueError:  # 1.2.3
        return None
    return value if math.isfinite(value) else None


def _split_weight(text: str) -> Weighted:
    colon = text.rfind(":")
    if colon >= 0 and _NUMBER.fullmatch(text[colon + 1 :].strip()):
        return text[:colon].rstrip(), float(text[colon + 1 :])
    return text, 1.0
