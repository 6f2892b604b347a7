"""Guidance: from a network that predicts noise to the `denoise(x, sigma, call)` that samplers step with.

Conditioning entries are evaluated each on its area, averaged by weight, and the positive and negative sides
are combined by classifier-free guidance (Ho and Salimans 2022). The rules of averaging, area edges and batching
are ComfyUI's; `and_weight` and `calls` add the A1111 web UI's AND parts and prompt schedules.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from hires.sampling.levels import NoiseLevels, denoised
from hires.sampling.state import Prediction

ALWAYS = (0, 2**62)


class NoisePredictor(Protocol):
    """The network. x (batch, channels, h, w) as the UNet takes it, timestep (batch,), context (batch, tokens, width),
    vector (batch, width) or None -> raw output (batch, 4, h, w), float32.

    A network may also take `control`, what an entry's `Control` answered, and, where its `wants_sigma` is true, the
    noise level as `sigma`."""

    @property
    def prediction(self) -> str: ...

    @property
    def identity(self) -> str: ...

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor: ...


class Control(Protocol):
    """What steers an entry besides its text: ControlNets and adapters. Its answer goes to the network as it is."""

    @property
    def key(self) -> bytes: ...

    def residuals(self, seen: Seen) -> Any: ...


@dataclass(frozen=True, eq=False)
class Seen:
    """One call of the network as a `Control` sees it.

    x (n * batch, 4, h, w) scaled, without extra channels; timestep, context, vector as the network gets them; place is
    (height, width, y, x) of the crop in a latent of `size` (height, width).
    """

    x: Tensor
    timestep: Tensor
    context: Tensor
    vector: Tensor | None
    sigma: float
    place: tuple[int, int, int, int]
    size: tuple[int, int]
    batch: int


@dataclass(frozen=True, eq=False)
class Cond:
    """One entry of a conditioning, resolved for a run.

    context (1, tokens, width); vector (1, v) or None; concat (1 or batch, channels, h, w) for networks with extra
    input channels. area is (height, width, y, x) in latent cells or None for the whole latent; mask
    (1 or batch, h, w) multiplies the weight. The entry is in force for sigma_end <= sigma <= sigma_start and for
    denoiser calls calls[0] <= call <= calls[1]. and_weight is set for parts of an A1111 AND prompt.
    """

    context: Tensor
    vector: Tensor | None = None
    concat: Tensor | None = None
    strength: float = 1.0
    area: tuple[int, int, int, int] | None = None
    mask: Tensor | None = None
    sigma_start: float = math.inf
    sigma_end: float = 0.0
    calls: tuple[int, int] = ALWAYS
    and_weight: float | None = None
    control: Control | None = None
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for tensor in (self.context, self.vector, self.concat, self.mask):
            digest.update(tensor_key(tensor))
        digest.update(repr((self.strength, self.area, self.sigma_start, self.sigma_end, self.and_weight)).encode())
        if self.control is not None:
            digest.update(self.control.key)
        object.__setattr__(self, "key", digest.digest())

    def in_force(self, sigma: float, call: int) -> bool:
        return self.sigma_end <= sigma <= self.sigma_start and self.calls[0] <= call <= self.calls[1]


def tensor_key(tensor: Tensor | None) -> bytes:
    """SHA-256 of a tensor's shape, type and bytes; of nothing for None."""
    if tensor is None:
        return hashlib.sha256(b"none").digest()
    values = tensor.detach().cpu().contiguous()
    header = f"{tuple(values.shape)} {values.dtype}".encode()
    return hashlib.sha256(header + values.flatten().view(torch.uint8).numpy().tobytes()).digest()


@dataclass(frozen=True, eq=False)
class Guidance:
    """denoised = u + cfg * (c - u), with u not evaluated when cfg is 1 (within 1e-9) unless a sampler needs it.

    With AND parts: u + sum_i w_i * cfg * (c_i - u) (A1111). `rules` change the guided estimate, one after the other.
    `calls_a_step` is the most calls that the sampler makes in a step.
    `fractional_timesteps` interpolates sigma -> timestep as A1111 does; ComfyUI takes the nearest.
    """

    network: NoisePredictor
    levels: NoiseLevels
    positive: Sequence[Cond]
    negative: Sequence[Cond]
    cfg: float
    needs_uncond: bool = False
    calls_a_step: int = 3
    fractional_timesteps: bool = False
    rules: tuple[Rule, ...] = ()

    def __call__(self, x: Tensor, sigma: Tensor, call: int) -> Prediction:
        """x (batch, 4, h, w) at noise level sigma (0-d) -> the guided estimate of the clean latent."""
        level = float(sigma)
        positive = [cond for cond in self.positive if cond.in_force(level, call)]
        negative = [cond for cond in self.negative if cond.in_force(level, call)]
        if not self._uses_uncond():
            parts = self._evaluate(x, sigma, [positive])
            return Prediction(self._ruled(x, sigma, call, parts[0], None, parts[0]), None)
        anded = [cond for cond in positive if cond.and_weight is not None]
        if anded:
            uncond, *parts = self._evaluate(x, sigma, [negative, *([cond] for cond in anded)])
            guided = uncond
            for entry, part in zip(anded, parts, strict=True):
                guided = guided + (part - uncond) * ((entry.and_weight or 0.0) * self.cfg)
            cond = guided if self.cfg == 0.0 else uncond + (guided - uncond) / self.cfg
            return Prediction(self._ruled(x, sigma, call, cond, uncond, guided), uncond)
        cond, uncond = self._evaluate(x, sigma, [positive, negative])
        guided = uncond + (cond - uncond) * self.cfg
        return Prediction(self._ruled(x, sigma, call, cond, uncond, guided), uncond)

    def _ruled(
        self, x: Tensor, sigma: Tensor, call: int, cond: Tensor, uncond: Tensor | None, guided: Tensor
    ) -> Tensor:
        for rule in self.rules:
            guided = rule(Answer(self, x, sigma, call, cond, uncond, guided))
        return guided

    def estimate(
        self, x: Tensor, sigma: Tensor, call: int, conds: Sequence[Cond], network: NoisePredictor | None = None
    ) -> Tensor:
        """The weighted mean of the entries in force, by this network or another of its kind: for rules."""
        changed = self if network is None else replace(self, network=network)
        in_force = [cond for cond in conds if cond.in_force(float(sigma), call)]
        return changed._evaluate(x, sigma, [in_force])[0]

    def key(self, step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
        """Everything that the denoiser calls of a step between two noise levels may depend on, beyond x and sigma.

        A step makes a few calls only and at levels between its two ends, so an entry counts when it may be in force
        anywhere in that range: two runs that differ only in entries of other steps share this one. Runs that go up
        in noise have the ends in the other order.
        """
        sigma, sigma_next = max(sigma, sigma_next), min(sigma, sigma_next)
        digest = hashlib.sha256(f"{self.network.identity} {self.network.prediction} {self.cfg!r}".encode())
        digest.update(f"{self._uses_uncond()} {self.fractional_timesteps}".encode())
        for rule in self.rules:
            digest.update(b"rule" + rule.key)
        for side in (self.positive, self.negative if self._uses_uncond() else ()):
            digest.update(b"side")
            for cond in side:
                if cond.sigma_end > sigma or cond.sigma_start < sigma_next:
                    continue
                first, last = cond.calls[0] - calls, cond.calls[1] - calls
                if last >= 0 and first < self.calls_a_step:
                    window = (max(first, 0), min(last, self.calls_a_step - 1))
                    digest.update(cond.key + repr(window).encode())
        return digest.digest()

    def _uses_uncond(self) -> bool:
        anded = any(cond.and_weight is not None for cond in self.positive)
        asked = self.needs_uncond or any(rule.needs_uncond for rule in self.rules)
        return asked or anded or abs(self.cfg - 1.0) > 1e-9

    def _evaluate(self, x: Tensor, sigma: Tensor, sides: list[list[Cond]]) -> list[Tensor]:
        """The weighted mean of each side's entries, all sides in as few calls of the network as their shapes allow."""
        size = (x.shape[2], x.shape[3])
        jobs = [_Job(side, cond, *_crop(x, cond), size) for side, conds in enumerate(sides) for cond in conds]
        totals = [torch.zeros_like(x) for _ in sides]
        weights = [torch.full_like(x, 1e-37) for _ in sides]
        for group in _groups(jobs):
            for job, estimate in zip(group, self._call(group, sigma), strict=True):
                h, w, y, left = job.area
                totals[job.side][:, :, y : y + h, left : left + w] += estimate * job.weight
                weights[job.side][:, :, y : y + h, left : left + w] += job.weight
        return [total / weight for total, weight in zip(totals, weights, strict=True)]

    def _call(self, group: list[_Job], sigma: Tensor) -> list[Tensor]:
        batch = group[0].x.shape[0]
        x = torch.cat([job.x for job in group])
        scaled = self.levels.scaled(x, sigma) if self.network.prediction != "img_to_img" else x
        inputs = scaled
        if group[0].cond.concat is not None:
            scaled = torch.cat([scaled, torch.cat([_concat_crop(job, batch) for job in group])], dim=1)
        timestep = self.levels.timestep(sigma, interpolate=self.fractional_timesteps).float().expand(len(x))
        tokens = math.lcm(*(job.cond.context.shape[1] for job in group))
        context = torch.cat([_repeat(job.cond.context, batch, tokens) for job in group])
        vector = None
        if group[0].cond.vector is not None:
            vector = torch.cat([job.cond.vector.expand(batch, -1) for job in group if job.cond.vector is not None])
        named: dict[str, Any] = {}
        if getattr(self.network, "wants_sigma", False):
            named["sigma"] = float(sigma)
        control = group[0].cond.control
        if control is not None:
            seen = Seen(inputs, timestep, context, vector, float(sigma), group[0].area, group[0].size, batch)
            named["control"] = control.residuals(seen)
        output = self.network.predict(scaled, timestep, context, vector, **named)
        estimates = denoised(self.network.prediction, output, x, sigma, self.levels)
        return list(estimates.chunk(len(group)))


@dataclass(frozen=True, eq=False)
class Answer:
    """What guidance has come to in one call, as a rule sees it; all tensors (batch, 4, h, w), uncond None at cfg 1."""

    guidance: Guidance
    x: Tensor
    sigma: Tensor
    call: int
    cond: Tensor
    uncond: Tensor | None
    denoised: Tensor

    def estimate(
        self, conds: Sequence[Cond], *, x: Tensor | None = None, network: NoisePredictor | None = None
    ) -> Tensor:
        """A further evaluation at this noise level."""
        return self.guidance.estimate(self.x if x is None else x, self.sigma, self.call, conds, network)


class Rule(Protocol):
    """Something that changes the guided estimate; `key` names its numbers."""

    @property
    def key(self) -> bytes: ...

    @property
    def needs_uncond(self) -> bool: ...

    def __call__(self, answer: Answer) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class _Job:
    side: int
    cond: Cond
    x: Tensor
    weight: Tensor
    area: tuple[int, int, int, int]
    size: tuple[int, int]


def _crop(x: Tensor, cond: Cond) -> tuple[Tensor, Tensor, tuple[int, int, int, int]]:
    """The part of x that an entry sees, its weight map (1 or batch, 1, h, w), and its place."""
    height, width = x.shape[2:]
    if cond.area is None:
        area = (height, width, 0, 0)
    else:
        h, w, y, left = cond.area
        y, left = min(y, height - 1), min(left, width - 1)
        area = (min(h, height - y), min(w, width - left), y, left)
    h, w, y, left = area
    weight = torch.full((1, 1, h, w), cond.strength, dtype=x.dtype, device=x.device)
    if cond.mask is not None:
        weight = weight * cond.mask[:, None, y : y + h, left : left + w].to(x)
    elif cond.area is not None:
        weight = weight * _soft_edges(area, height, width).to(x)
    return x[:, :, y : y + h, left : left + w], weight, area


def _soft_edges(area: tuple[int, int, int, int], height: int, width: int) -> Tensor:
    """Ramps of up to 8 cells on the sides of an area that are not the latent's border, (1, 1, h, w)."""
    h, w, y, left = area
    ramp = torch.ones(1, 1, h, w)
    fade_h, fade_w = min(8, h // 4), min(8, w // 4)
    for t in range(fade_h):
        if y != 0:
            ramp[:, :, t] *= (t + 1) / fade_h
        if y + h < height:
            ramp[:, :, h - 1 - t] *= (t + 1) / fade_h
    for t in range(fade_w):
        if left != 0:
            ramp[:, :, :, t] *= (t + 1) / fade_w
        if left + w < width:
            ramp[:, :, :, w - 1 - t] *= (t + 1) / fade_w
    return ramp


def _concat_crop(job: _Job, batch: int) -> Tensor:
    h, w, y, left = job.area
    assert job.cond.concat is not None
    part = job.cond.concat[:, :, y : y + h, left : left + w].to(job.x)
    return part.expand(batch, -1, -1, -1) if part.shape[0] == 1 else part


def _repeat(context: Tensor, batch: int, tokens: int) -> Tensor:
    """Cross attention over a text repeated k times gives the same as over it once, so lengths may be equalised."""
    repeated = context.repeat(1, tokens // context.shape[1], 1)
    return repeated.expand(batch, -1, -1) if repeated.shape[0] == 1 else repeated


def _groups(jobs: list[_Job]) -> list[list[_Job]]:
    """Jobs that one call of the network can serve: same crop size and inputs, texts at most 4 times repeated."""
    groups: list[list[_Job]] = []
    for job in jobs:
        for group in groups:
            if _can_join(group, job):
                group.append(job)
                break
        else:
            groups.append([job])
    return groups


def _can_join(group: list[_Job], job: _Job) -> bool:
    first = group[0]
    if first.x.shape != job.x.shape or (first.cond.vector is None) != (job.cond.vector is None):
        return False
    if (first.cond.concat is None) != (job.cond.concat is None):
        return False
    if first.cond.control is not job.cond.control or (first.cond.control is not None and first.area != job.area):
        return False
    height, width = first.size
    if first.cond.area is not None and (len(group) + 1) * math.prod(first.x.shape[2:]) > 2 * height * width:
        return False  # many tiles: no more memory than both sides of the whole latent take
    lengths = [member.cond.context.shape[1] for member in [*group, job]]
    return math.lcm(*lengths) <= 4 * min(lengths)


def masked(
    denoise: Callable[[Tensor, Tensor, int], Prediction],
    mask: Tensor,
    latent: Tensor,
    noise: Tensor,
    mask_at: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Callable[[Tensor, Tensor, int], Prediction]:
    """Inpainting as ComfyUI does it: outside the mask every call sees the noised original and answers the original.

    mask (1 or batch, 1, h, w) with 1 = repaint; latent and noise (batch, 4, h, w), latent in the scaled space.
    mask_at(mask, sigma) may give another mask for a noise level.
    """

    def call(x: Tensor, sigma: Tensor, number: int) -> Prediction:
        share = mask if mask_at is None else mask_at(mask, sigma)
        seen = x * share + (latent + sigma * noise) * (1.0 - share)
        answer = denoise(seen, sigma, number)
        return Prediction(answer.denoised * share + latent * (1.0 - share), answer.uncond)

    return call
