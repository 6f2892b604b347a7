"""The prompt matrix: `base | one | two` drawn with every combination of what stands behind the bars."""

from __future__ import annotations

from dataclasses import dataclass

from hires.errors import SettingError

MOST_OPTIONS = 10
BRACKETS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Matrix:
    """at_start puts the options in front of the base; different_seeds counts the seed on from combination to
    combination; negative says that the bars are in the negative prompt. space joins with a blank instead of a comma."""

    at_start: bool = False
    different_seeds: bool = False
    negative: bool = False
    space: bool = False


def split_matrix(prompt: str) -> list[str]:
    r"""The base and the options. Bars inside brackets belong to alternations and choices; `\|` is a bar as text."""
    parts = [""]
    depth: list[str] = []
    index = 0
    while index < len(prompt):
        sign = prompt[index]
        if sign == "\\" and index + 1 < len(prompt):
            parts[-1] += "|" if prompt[index + 1] == "|" else prompt[index : index + 2]
            index += 2
            continue
        if sign in BRACKETS and BRACKETS[sign] in prompt[index:]:
            depth.append(BRACKETS[sign])
        elif depth and sign == depth[-1]:
            depth.pop()
        if sign == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += sign
        index += 1
    return parts


def _options(prompt: str) -> tuple[str, list[str]]:
    base, *options = split_matrix(prompt)
    options = [option.strip(" ,\r\n\t") for option in options]
    if not options:
        raise SettingError("the prompt has no | to make a matrix of", 'Write "a castle | at night | in snow".')
    if len(options) > MOST_OPTIONS:
        raise SettingError(
            f"{len(options)} options have {2 ** len(options)} combinations", f"Use {MOST_OPTIONS} or fewer."
        )
    return base, options


def matrix_prompts(prompt: str, matrix: Matrix) -> list[str]:
    """The prompts of all combinations; combination c has option i where bit i of c is set."""
    base, options = _options(prompt)
    prompts = []
    for number in range(2 ** len(options)):
        chosen = [option for place, option in enumerate(options) if number >> place & 1]
        parts = [*chosen, base] if matrix.at_start else [base, *chosen]
        prompts.append((" " if matrix.space else ", ").join(parts))
    return prompts


def matrix_axes(prompt: str) -> tuple[tuple[tuple[tuple[str, bool], ...], ...], ...]:
    """The marks of columns and rows: columns enumerate the first half of the options (the larger), rows the rest."""
    _, options = _options(prompt)
    half = len(options) - len(options) // 2

    def marks(own: list[str]) -> tuple[tuple[tuple[str, bool], ...], ...]:
        return tuple(
            tuple((option, bool(number >> place & 1)) for place, option in enumerate(own))
            for number in range(2 ** len(own))
        )

    return marks(options[:half]), marks(options[half:])
