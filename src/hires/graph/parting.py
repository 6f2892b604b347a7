"""Parts of a workflow whose results are made elsewhere, while the rest is run here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hires.graph.cache import CachedResult
from hires.graph.report import Event, Failure, NodeReport


@dataclass(frozen=True)
class Parting:
    """How a workflow is cut: `parts` are the nodes that are run elsewhere, each with the nodes of which it is given the
    results; what else it needs is run there too. `given`: the nodes that hand work on by themselves, with those whose
    results go along."""

    parts: Mapping[str, tuple[str, ...]]
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class MadePart:
    """What came of a part: a result, or failures; the reports of its nodes."""

    result: CachedResult | None
    nodes: Mapping[str, NodeReport] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


class MakesParts(Protocol):
    """Has the parts of one workflow made."""

    @property
    def parting(self) -> Parting:
        """How it is cut."""

    def make(
        self, node_id: str, key: str, known: Mapping[str, CachedResult], hear: Callable[[Event], None]
    ) -> MadePart:
        """The part that ends in a node, of that content key, from the results of what it needs. Interrupted."""
