"""Where a workflow is cut whose tiles are shared out, so that what samples before and after them is run by a worker.

A cut goes through pictures, latents and masks alone. Models and conditioning are made again by whoever needs them,
from the nodes that make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from hires.graph.declare import NodeType
from hires.graph.node_check import ValidNode
from hires.graph.parting import Parting

REDRAWN = {
    "HiresSDUpscale",
    "HiresUltimateUpscale",
    "UltimateSDUpscale",
    "UltimateSDUpscaleNoUpscale",
    "UltimateSDUpscaleCustomSample",
}
"""Nodes that redraw tiles."""
IN_TILES = {*REDRAWN, "HiresUpscale"}
"""Nodes whose tiles are units."""
LINKED = ("model", "positive", "negative", "vae")
"""What tiles are redrawn with is made by other nodes, under the names of the inputs that take it."""
PLAIN = {"IMAGE", "LATENT", "MASK", "INT", "FLOAT", "STRING", "BOOLEAN"}
"""Types whose values are sent from process to process."""
NETWORKS = {"MODEL", "VAE", "GUIDER"}


def samples(name: str) -> bool:
    """Whether the nodes of that name may sample."""
    return "Sampler" in name


class Cutting:
    """The nodes that `targets` need, as a worker or this process runs them."""

    def __init__(self, nodes: Mapping[str, ValidNode], targets: Iterable[str]) -> None:
        self._nodes, self._targets = nodes, set(targets)
        self._readers: dict[str, set[str]] = {}
        left, self._order = sorted(self._targets), dict[str, None]()
        while left:
            id = left.pop()
            if id in self._order:
                continue
            self._order[id] = None
            for link in nodes[id].links.values():
                self._readers.setdefault(link.node, set()).add(id)
                left.append(link.node)

    def parting(self) -> Parting | None:
        """How the workflow is cut; None where it is run as a whole."""
        if any(self._keeps_whole(self._nodes[id]) for id in self._order):
            return None
        ends = [id for id in self._order if id in self._costly and self._is_heavy(id) and not self._is_inner(id)]
        tiles = [id for id in self._order if self._is_in_tiles(id)]
        parts = {id: self._part(id) for id in ends}
        given = {id: tuple(self._seen(id)) for id in tiles}
        cut = {id for ids in (*parts.values(), *given.values()) for id in ids}
        if any(not _is_plain(self._nodes[id].type) for id in cut):
            return None
        return Parting(parts, {id: needs for id, needs in given.items() if needs})

    def _keeps_whole(self, node: ValidNode) -> bool:
        """Whether a node cannot be cut around, or draws no tiles that are shared."""
        name = node.type.name
        if name in IN_TILES:
            alone = name.startswith("Ultimate") and node.constants.get("batch_size", 1) != 1
            return alone or "custom_sampler" in node.links or "batch_size" in node.links
        if samples(name) and {"LATENT", "IMAGE"} & set(node.type.outputs) and not self._is_heavy(node.id):
            return True
        return any(
            (entry := node.type.by_name.get(key)) is not None and entry.lazy and link.node in self._costly
            for key, link in node.links.items()
        )

    @cached_property
    def _costly(self) -> set[str]:
        """Nodes that run a network, or that need such."""
        found = {id for id in self._order if self._is_heavy(id) or self._is_in_tiles(id)}
        left = list(found)
        while left:
            more = self._readers.get(left.pop(), set()) - found
            found |= more
            left += more
        return found

    def _is_in_tiles(self, id: str) -> bool:
        return self._nodes[id].type.name in IN_TILES

    def _is_heavy(self, id: str) -> bool:
        """Whether a node turns what networks are into what can be sent."""
        node = self._nodes[id]
        if node.type.is_output or self._is_in_tiles(id) or not _is_plain(node.type):
            return False
        return any(_source_type(self._nodes, node, name) in NETWORKS for name in node.links)

    def _is_inner(self, id: str) -> bool:
        """Whether a node is run for a part alone, in which it is not the end."""
        while True:
            node, readers = self._nodes[id], self._readers.get(id, set())
            if len(readers) != 1 or id not in self._costly or id in self._targets or node.type.is_output:
                return False
            if self._is_in_tiles(id) or not _is_plain(node.type):
                return False
            (id,) = readers
            if self._is_heavy(id):
                return True

    def _part(self, end: str) -> tuple[str, ...]:
        """The nodes whose results a part is made from."""
        inner, needs, left, passed = {end}, dict[str, None](), [end], {end}
        while left:
            id = left.pop()
            for link in self._nodes[id].links.values():
                if link.node not in self._costly or link.node in passed:
                    continue
                if id in inner and self._is_inner(link.node):
                    inner.add(link.node)
                elif self._leads_across(link.node, link.slot):
                    needs[link.node] = None
                    continue
                passed.add(link.node)
                left.append(link.node)
        return tuple(needs)

    def _seen(self, tiled: str) -> list[str]:
        """The nodes whose results the conditioning of tiles is made from."""
        node = self._nodes[tiled]
        left = [node.links[name] for name in LINKED if name in node.links]
        needs, passed = dict[str, None](), set[str]()
        while left:
            link = left.pop()
            if link.node not in self._costly or link.node in passed:
                continue
            if self._leads_across(link.node, link.slot):
                needs[link.node] = None
                continue
            passed.add(link.node)
            left += self._nodes[link.node].links.values()
        return list(needs)

    def _leads_across(self, id: str, slot: int) -> bool:
        return self._nodes[id].type.outputs[slot] in PLAIN


def _is_plain(node_type: NodeType) -> bool:
    return bool(node_type.outputs) and set(node_type.outputs) <= PLAIN


def _source_type(nodes: Mapping[str, ValidNode], node: ValidNode, name: str) -> str:
    link = node.links[name]
    return nodes[link.node].type.outputs[link.slot]
