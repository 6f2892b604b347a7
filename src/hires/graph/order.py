"""Orders and cycles of directed graphs, without recursion: a workflow may be a chain of 100,000 nodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def strong_components(roots: Iterable[N], sources: Callable[[N], Iterable[N]]) -> list[list[N]]:
    """The strongly connected components of what the roots depend on (Tarjan 1972), every one after its sources.

    Read as a flat list this is a topological order, if no component has more than one node.
    """
    index: dict[N, int] = {}
    low: dict[N, int] = {}
    open_nodes: list[N] = []
    is_open: set[N] = set()
    components: list[list[N]] = []
    for root in roots:
        if root in index:
            continue
        path = [(root, iter(sources(root)))]
        index[root] = low[root] = len(index)
        open_nodes.append(root)
        is_open.add(root)
        while path:
            current, rest = path[-1]
            descended = False
            for source in rest:
                if source not in index:
                    index[source] = low[source] = len(index)
                    open_nodes.append(source)
                    is_open.add(source)
                    path.append((source, iter(sources(source))))
                    descended = True
                    break
                if source in is_open:
                    low[current] = min(low[current], index[source])
            if descended:
                continue
            path.pop()
            if path:
                parent = path[-1][0]
                low[parent] = min(low[parent], low[current])
            if low[current] == index[current]:
                component: list[N] = []
                while not component or component[-1] != current:
                    component.append(open_nodes.pop())
                    is_open.discard(component[-1])
                components.append(component[::-1])
    return components
