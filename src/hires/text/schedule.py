"""Prompts that change while sampling: `[from:to:when]` and `[a|b]`, as in the A1111 web UI.

The grammar: plain text, `(prompt)`, `(prompt:prompt)`, `[prompt]`, `[prompt:when]`, `[prompt:prompt:when]` and
`[prompt|prompt|...]`, nested at will. Brackets and colons that fit no rule are text; a bar outside an alternation, or
a lone backslash at the end, makes the whole text plain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+")
_WHEN = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")

Entry = tuple[int, str]


@dataclass
class _Group:
    """A pair of brackets; `marks` are the colons and bars directly inside it (token indices)."""

    opener: int
    bracket: str
    closer: int = -1
    colons: list[int] = field(default_factory=list)
    bars: list[int] = field(default_factory=list)
    broken: bool = False


@dataclass(frozen=True)
class _Switch:
    """A scheduled or alternating group: which of its parts is shown at a step (1-based); None shows nothing."""

    marks: Sequence[int]
    closer: int
    when: str | None

    def shown(self, step: int, when: int | None) -> int | None:
        if when is None:
            return (step - 1) % (len(self.marks) + 1)
        parts = (0, 1) if len(self.marks) == 2 else (None, 0)
        return parts[0] if step <= when else parts[1]


def schedule(prompt: str, steps: int, hires_steps: int | None = None, old: bool = False) -> list[Entry]:
    """(until step, text) entries in order, the last one until the end of the pass.

    A `when` with a dot is a fraction of the pass, any other an absolute step. With `hires_steps` the entries are those
    of the second pass, whose steps follow those of the first: fractions count from 1.0, steps from `steps`. `old` is
    the timeline of the web UI before 1.6: below 1 a fraction, else a step, the same entries in both passes.
    """
    second = hires_steps is not None and not old
    total = hires_steps if second and hires_steps is not None else steps
    tokens = _TOKEN.findall(prompt)
    switches = _parse(tokens) if sum(map(len, tokens)) == len(prompt) else None
    if not switches or isinstance(switches, int):
        return [(total, prompt)]
    whens: dict[int, int] = {}
    ends = {total}
    for opener, switch in switches.items():
        if switch.when is None:
            ends.update(range(1, total + 1))
            continue
        value = float(switch.when)
        if old:
            value = value * total if value < 1 else value
        elif "." in switch.when:
            value = (value - second) * total
        else:
            value -= steps * second
        whens[opener] = int(min(max(value, -1.0), total))
        if whens[opener] >= 1:
            ends.add(whens[opener])
    return [(end, _text_at(tokens, switches, whens, end)) for end in sorted(ends)]


def entry_at(entries: Sequence[Entry], call: int) -> int:
    """Index of the entry in force at a denoiser call (0-based). The web UI counts calls, and an entry until step k
    covers calls 0 to k, one more than its number says; calls past the end use the last entry."""
    return next((index for index, (end, _) in enumerate(entries) if call <= end), len(entries) - 1)


def parse_fault(prompt: str) -> int | None:
    """The character (0-based) that makes a text plain as a whole: a bar outside an alternation, or a backslash at the
    end; None for a text that parses."""
    tokens = _TOKEN.findall(prompt)
    if sum(map(len, tokens)) != len(prompt):  # a backslash at the end, or before a line break
        end = 0
        for match in _TOKEN.finditer(prompt):
            if match.start() != end:
                break
            end = match.end()
        return end
    found = _parse(tokens)
    return sum(map(len, tokens[:found])) if isinstance(found, int) else None


def _parse(tokens: Sequence[str]) -> dict[int, _Switch] | int:
    """The switches by the index of their opening bracket; the index of a bar where the text does not parse."""
    stack: list[_Group] = []
    closed: list[_Group] = []
    free_bars: list[int] = []
    for index, token in enumerate(tokens):
        if token in ("(", "["):
            stack.append(_Group(index, token))
        elif token in (")", "]"):
            if not stack or stack[-1].bracket + token not in ("()", "[]"):
                # A stray bracket may stand in no group, so none of those that are open can become one.
                free_bars += [bar for group in stack for bar in group.bars]
                stack.clear()
                continue
            group = stack.pop()
            group.closer = index
            group.broken = group.broken or not _fits_grammar(group, tokens)
            if group.broken:
                free_bars += group.bars
                if stack:
                    stack[-1].broken = True
            else:
                closed.append(group)
        elif token == "|":
            if not stack:
                return index
            stack[-1].bars.append(index)
        elif token == ":" and stack:
            stack[-1].colons.append(index)
    free_bars += [bar for group in stack for bar in group.bars]
    if free_bars:
        return min(free_bars)
    switches = {}
    for group in closed:
        if group.bracket == "[" and (group.bars or group.colons):
            when = "".join(tokens[group.colons[-1] + 1 : group.closer]).strip() if group.colons else None
            switches[group.opener] = _Switch(group.bars or group.colons, group.closer, when)
    return switches


def _fits_grammar(group: _Group, tokens: Sequence[str]) -> bool:
    if group.bracket == "(":
        return not group.bars and len(group.colons) <= 1
    if not group.colons:
        return True
    last = "".join(tokens[group.colons[-1] + 1 : group.closer])
    return not group.bars and len(group.colons) <= 2 and _WHEN.fullmatch(last) is not None


def _text_at(tokens: Sequence[str], switches: dict[int, _Switch], whens: dict[int, int], step: int) -> str:
    text: list[str] = []
    stack: list[tuple[_Switch, int, bool]] = []  # switch, part that is being read, whether the switch itself is shown
    opener_of: list[int] = []
    shown = True
    for index, token in enumerate(tokens):
        if index in switches:
            stack.append((switches[index], 0, shown))
            opener_of.append(index)
        elif stack and index == stack[-1][0].closer:
            shown = stack.pop()[2]
            opener_of.pop()
            continue
        elif stack and stack[-1][1] < len(stack[-1][0].marks) and index == stack[-1][0].marks[stack[-1][1]]:
            switch, part, outer = stack[-1]
            stack[-1] = (switch, part + 1, outer)
        else:
            if shown:
                text.append(token)
            continue
        switch, part, outer = stack[-1]
        shown = outer and switch.shown(step, whens.get(opener_of[-1])) == part
    return "".join(text)
