"""The size that a picture is enlarged to, by a factor or to a size, and what is cut off afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hires.imaging.sizes import LATENT

SizeRule = Literal["exact", "webui"]


@dataclass(frozen=True)
class Target:
    """factor as asked for; (width, height) to enlarge to; (width, height) to cut out of its middle, or None."""

    factor: float
    size: tuple[int, int]
    crop: tuple[int, int] | None = None

    @property
    def delivered(self) -> tuple[int, int]:
        """(width, height) of the result."""
        return self.crop or self.size


def by_factor(width: int, height: int, factor: float, max_side: int = 0, rule: SizeRule = "exact") -> Target:
    """Both sides times the factor. max_side, unless 0, bounds the longer one: the factor shrinks to meet it.

    "exact" rounds to whole pixels; "webui" floors to multiples of 8, as the A1111 web UI does.
    """
    if max_side and max(width, height) * factor > max_side:
        factor = max_side / max(width, height)
    if rule == "webui":
        return Target(factor, (_floored(width * factor), _floored(height * factor)))
    return Target(factor, (max(1, round(width * factor)), max(1, round(height * factor))))


def to_size(width: int, height: int, to: tuple[int, int], crop: bool = True, rule: SizeRule = "exact") -> Target:
    """The smallest enlargement that covers `to` (width, height); with `crop` its middle of exactly that size."""
    factor = max(to[0] / width, to[1] / height)
    covering = by_factor(width, height, factor, rule=rule)
    if not crop:
        return covering
    if rule == "exact":  # rounding must not leave a line of the target uncovered
        covering = replace(covering, size=(max(covering.size[0], to[0]), max(covering.size[1], to[1])))
    return replace(covering, crop=to)


def _floored(side: float) -> int:
    return max(LATENT, int(side // LATENT * LATENT))
