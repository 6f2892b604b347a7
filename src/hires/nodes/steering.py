"""ControlNets in a run: what CONDITIONING says of them, turned into what guidance asks at every call."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hires.imaging.batches import repeat_to
from hires.imaging.resample import resample
from hires.models.controlnet import HINT_SHRINKS, ControlNet, hint_side
from hires.models.handles import DiffusionModel
from hires.models.walk import Residuals
from hires.sampling.guidance import Cond, Seen, tensor_key
from hires.sampling.jobs import Place, cut
from hires.sampling.levels import NoiseLevels


@dataclass(frozen=True, eq=False)
class ControlLink:
    """One application of a ControlNet to an entry, and the one before it. image (batch, height, width, 3) in 0..1."""

    net: ControlNet
    image: Tensor
    strength: float
    start_percent: float = 0.0
    end_percent: float = 1.0
    previous: ControlLink | None = None


@dataclass(frozen=True, eq=False)
class Steering:
    """A link made ready for a run; `sigma_end` <= sigma <= `sigma_start` is where it acts."""

    net: ControlNet
    image: Tensor
    strength: float
    sigma_start: float
    sigma_end: float
    previous: Steering | None
    key: bytes
    on_cpu: bool = False
    held: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def residuals(self, seen: Seen) -> Residuals | None:
        """The sum over the chain; None where none acts."""
        before = None if self.previous is None else self.previous.residuals(seen)
        if not self.sigma_end <= seen.sigma <= self.sigma_start:
            return before
        found = self.net.residuals(seen.x, seen.timestep, seen.context, seen.vector, self._hint(seen))
        own = _scaled(found, self.strength)
        return own if before is None else before + own

    def _hint(self, seen: Seen) -> Tensor:
        """The picture at the latent's size, cut to what the entries cover, one for each item of the call."""
        whole = self._whole(seen.size)
        cuts = [self._cut(whole, place) for place in seen.places]
        if len(cuts) == 1 and len(cuts[0]) == 1:
            return cuts[0]
        if len(cuts) == 1:
            return repeat_to(cuts[0], seen.batch).repeat(len(seen.x) // seen.batch, 1, 1, 1)
        return torch.cat([repeat_to(part, seen.batch) for part in cuts])

    def _whole(self, size: tuple[int, int]) -> Tensor:
        """The picture at the size of a latent (height, width), resized once; where the network is, or on the CPU."""
        if size not in self.held:
            pixels = self.image.movedim(-1, 1)[:, :3]
            whole = resample(pixels, size[1] * HINT_SHRINKS, size[0] * HINT_SHRINKS, "nearest-exact", "center")
            self.held.clear()
            self.held[size] = whole if self.on_cpu else whole.to(self.net.placement.device)
        return self.held[size]

    def _cut(self, whole: Tensor, place: Place) -> Tensor:
        h, w, y, x = (side * HINT_SHRINKS for side in place)
        part = cut(whole, (h, w, y, x))
        sides = (hint_side(place[1], self.net.multiple), hint_side(place[0], self.net.multiple))
        return part if sides == (w, h) else resample(part, *sides, "nearest-exact", "disabled")


def _scaled(residuals: Residuals, strength: float) -> Residuals:
    if strength == 1.0:
        return residuals
    return Residuals(
        {number: tensor * strength for number, tensor in residuals.skips.items()},
        None if residuals.middle is None else residuals.middle * strength,
        {number: tensor * strength for number, tensor in residuals.inputs.items()},
    )


class Steerings:
    """The links of one run made ready, each once, so that entries that share a link share its evaluation."""

    def __init__(self, model: DiffusionModel, levels: NoiseLevels) -> None:
        self._model, self._levels = model, levels
        self._made: dict[int, Steering] = {}
        self._bound: dict[str, ControlNet] = {}

    def of(self, options: dict[str, Any]) -> Steering | None:
        """What an entry's options say of ControlNets."""
        link: ControlLink | None = options.get("control")
        return None if link is None else self._ready(link)

    def _ready(self, link: ControlLink) -> Steering:
        if id(link) not in self._made:
            previous = None if link.previous is None else self._ready(link.previous)
            net = self._bound.get(link.net.identity)
            if net is None:
                net = self._bound[link.net.identity] = link.net.bound(self._model)
            net = replace(net, types=link.net.types)
            start, end = (self._levels.percent_to_sigma(percent) for percent in (link.start_percent, link.end_percent))
            facts = (net.identity, net.types, link.strength, start, end)
            digest = hashlib.sha256(repr(facts).encode() + tensor_key(link.image))
            digest.update(b"" if previous is None else previous.key)
            self._made[id(link)] = Steering(
                *(net, link.image, link.strength, start, end, previous, digest.digest()),
                on_cpu=bool(self._model.options.get("hints_on_cpu")),
            )
        return self._made[id(link)]


def spread_to_negative(positive: Sequence[Cond], asks: Sequence[bool], negative: Sequence[Cond]) -> list[Cond]:
    """The negative entries, given the ControlNets of positive ones that ask for it (`asks`), in turn.

    Only entries without an area count, and nothing happens where a negative entry has a ControlNet already (ComfyUI).
    """
    entries = list(negative)
    whole = [index for index, cond in enumerate(entries) if cond.area is None]
    if not whole or any(entries[index].control is not None for index in whole):
        return entries
    steering = [
        cond for cond, wanted in zip(positive, asks, strict=False) if wanted and cond.area is None and cond.control
    ]
    for number, cond in enumerate(steering):
        index = whole[number % len(whole)]
        entries[index] = replace(entries[index], control=cond.control)
    return entries
