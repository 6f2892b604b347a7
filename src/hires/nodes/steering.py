"""ControlNets in a run: what CONDITIONING says of them, turned into what guidance asks at every call."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

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
    """One application of a ControlNet to an entry, and the one before it. image (batch, height, width, 3) in 0..1.

    soft: the layers near the picture count less. region (1, height, width) in 0..1 is where it acts.
    """

    net: ControlNet
    image: Tensor
    strength: float
    start_percent: float = 0.0
    end_percent: float = 1.0
    previous: ControlLink | None = None
    soft: bool = False
    region: Tensor | None = None


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
    soft: bool = False
    region: Tensor | None = None
    held: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)

    def residuals(self, seen: Seen) -> Residuals | None:
        """The sum over the chain; None where none acts."""
        before = None if self.previous is None else self.previous.residuals(seen)
        if not self.sigma_end <= seen.sigma <= self.sigma_start:
            return before
        found = self.net.residuals(seen.x, seen.timestep, seen.context, seen.vector, self._cuts(seen, "picture"))
        own = _softened(found, self.strength, self.net.is_adapter) if self.soft else _scaled(found, self.strength)
        own = own if self.region is None else _within(own, self._cuts(seen, "region"))
        return own if before is None else before + own

    def _cuts(self, seen: Seen, of: str) -> Tensor:
        """The picture or the region at the latent's size, cut to what the entries cover, one for each item of the
        call."""
        whole = self._whole(seen.size, of)
        cuts = [self._cut(whole, place) for place in seen.places]
        if len(cuts) == 1 and len(cuts[0]) == 1:
            return cuts[0]
        if len(cuts) == 1:
            return repeat_to(cuts[0], seen.batch).repeat(len(seen.x) // seen.batch, 1, 1, 1)
        return torch.cat([repeat_to(part, seen.batch) for part in cuts])

    def _whole(self, size: tuple[int, int], of: str) -> Tensor:
        """Either at the size of a latent (height, width), resized once; where the network is, or on the CPU."""
        if (of, *size) not in self.held:
            pixels = self.image.movedim(-1, 1)[:, :3]
            if of == "region":
                assert self.region is not None
                pixels = self.region[:, None]
            whole = resample(pixels, size[1] * HINT_SHRINKS, size[0] * HINT_SHRINKS, "nearest-exact", "center")
            for other in [key for key in self.held if key[0] == of]:
                del self.held[other]
            self.held[of, *size] = whole if self.on_cpu else whole.to(self.net.placement.device)
        return self.held[of, *size]

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


LAYERS, FALL = 12, 0.825
"""Of SD 1.x's encoder, and what each layer counts of the next one with soft weights."""
ADAPTER_WEIGHTS = (0.25, 0.62, 0.825, 1.0)
"""What the four features of a T2I-Adapter count then."""


def _softened(residuals: Residuals, strength: float, adapter: bool) -> Residuals:
    """With the extension's soft weights: the further a layer is from the middle, the less.

    Layers are counted from 12 also where a network has fewer, so that SDXL's middle counts 0.825 ** 3.
    """
    if adapter:
        weights = dict(zip(sorted(residuals.inputs), ADAPTER_WEIGHTS, strict=False))
        middle = ADAPTER_WEIGHTS[min(len(weights), len(ADAPTER_WEIGHTS) - 1)]
    else:
        weights = {number: FALL ** (LAYERS - number) for number in residuals.skips}
        middle = FALL ** (LAYERS - len(residuals.skips))
    return Residuals(
        {number: tensor * (strength * weights[number]) for number, tensor in residuals.skips.items()},
        None if residuals.middle is None else residuals.middle * (strength * middle),
        {number: tensor * (strength * weights[number]) for number, tensor in residuals.inputs.items()},
    )


def _within(residuals: Residuals, region: Tensor) -> Residuals:
    """In a region (1 or n, 1, height, width) alone."""

    def cover(tensor: Tensor) -> Tensor:
        mask = interpolate(region.to(tensor), size=(tensor.shape[2], tensor.shape[3]), mode="bilinear")
        return tensor * mask

    return Residuals(
        {number: cover(tensor) for number, tensor in residuals.skips.items()},
        None if residuals.middle is None else cover(residuals.middle),
        {number: cover(tensor) for number, tensor in residuals.inputs.items()},
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
            if link.soft or link.region is not None:
                digest.update(repr(link.soft).encode() + tensor_key(link.region))
            self._made[id(link)] = Steering(
                *(net, link.image, link.strength, start, end, previous, digest.digest()),
                on_cpu=bool(self._model.options.get("hints_on_cpu")),
                soft=link.soft,
                region=link.region,
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
