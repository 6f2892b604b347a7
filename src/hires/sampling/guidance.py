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

from hires.errors import is_out_of_memory
from hires.sampling.jobs import Clock, Job, Place, Sums, Tiles, concat_crop, groups_of, jobs_of, repeated
from hires.sampling.levels import NoiseLevels, denoised
from hires.sampling.meeting import Meeting
from hires.sampling.skipping import SkippedNegative
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

    x (n * batch, 4, h, w) scaled, without extra channels; timestep, context, vector as the network gets them. places
    are (height, width, y, x) of the n crops, of one height and width, in a latent of `size` (height, width); a crop
    that reaches beyond the latent goes on at its other side.
    """

    x: Tensor
    timestep: Tensor
    context: Tensor
    vector: Tensor | None
    sigma: float
    places: tuple[Place, ...]
    size: tuple[int, int]
    batch: int

    @property
    def place(self) -> Place:
        """Of the first crop."""
        return self.places[0]


@dataclass(frozen=True, eq=False)
class Cond:
    """One entry of a conditioning, resolved for a run.

    context (1, tokens, width); vector (1, v) or None; concat (1 or batch, channels, h, w) for networks with extra
    input channels. area is (height, width, y, x) in latent cells or None for the whole latent; mask
    (1 or batch, h, w) multiplies the weight. The entry is in force for sigma_end <= sigma <= sigma_start and for
    denoiser calls calls[0] <= call <= calls[1]. and_weight is set for parts of an A1111 AND prompt.

    An entry with an opacity (1, h, w), of its area's size and in 0..1, is laid over what the others come to. `windowed`
    entries count by the window of each tile as it is, so that overlapping tiles outweigh a single one.
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
    opacity: Tensor | None = None
    windowed: bool = False
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for tensor in (self.context, self.vector, self.concat, self.mask, self.opacity):
            digest.update(tensor_key(tensor))
        facts = (self.strength, self.area, self.sigma_start, self.sigma_end, self.and_weight, self.windowed)
        digest.update(repr(facts).encode())
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
    `calls_a_step` is the most calls that the sampler makes in a step. `skipped` calls do without the negative side.
    `fractional_timesteps` interpolates sigma -> timestep as A1111 does; ComfyUI takes the nearest.
    With `tiles` every entry is evaluated on crops that are joined again, at every call; the loop of a run tells the
    `clock` its steps, and on_call(done, all) hears of each call of the network over tiles before it is made.
    `together` bounds the entries of one call, where memory is short; 0 does not. Where memory runs out all the same, a
    call is made in parts, and those after it too. Plain calls go by the `meeting` that the run takes part in, if any.
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
    skipped: SkippedNegative = field(default_factory=SkippedNegative)
    tiles: Tiles | None = None
    clock: Clock = field(default_factory=Clock)
    on_call: Callable[[int, int], None] | None = None
    together: int = 0
    meeting: Meeting | None = None

    def __call__(self, x: Tensor, sigma: Tensor, call: int) -> Prediction:
        """x (batch, 4, h, w) at noise level sigma (0-d) -> the guided estimate of the clean latent."""
        level = float(sigma)
        positive = [cond for cond in self.positive if cond.in_force(level, call)]
        negative = [cond for cond in self.negative if cond.in_force(level, call)]
        if not self._uses_uncond():
            parts = self._evaluate(x, sigma, [positive])
            return Prediction(self._ruled(x, sigma, call, parts[0], None, parts[0]), None)
        anded = [cond for cond in positive if cond.and_weight is not None]
        if self._may_skip() and self.skipped.applies(level, call):
            return self._without_negative(x, sigma, call, positive, anded)
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

    def _without_negative(
        self, x: Tensor, sigma: Tensor, call: int, positive: list[Cond], anded: list[Cond]
    ) -> Prediction:
        """The positive side alone; of AND parts the first stands where the negative prompt would, at a cfg of 1."""
        first, *others = self._evaluate(x, sigma, [[cond] for cond in anded] or [positive])
        guided = first
        for entry, part in zip(anded[1:], others, strict=True):
            guided = guided + (part - first) * (entry.and_weight or 0.0)
        return Prediction(self._ruled(x, sigma, call, guided, None, guided), first)

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
        if self._uses_uncond() and self._may_skip():
            digest.update(self.skipped.key(calls, self.calls_a_step, sigma_next))
        if self.tiles is not None:
            digest.update(b"tiles" + self.tiles.key(step))
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

    def _may_skip(self) -> bool:
        """A rule that cannot do without the negative side is not asked to."""
        return bool(self.skipped) and not any(rule.needs_uncond for rule in self.rules)

    def _uses_uncond(self) -> bool:
        anded = any(cond.and_weight is not None for cond in self.positive)
        asked = self.needs_uncond or any(rule.needs_uncond for rule in self.rules)
        return asked or anded or abs(self.cfg - 1.0) > 1e-9

    def _evaluate(self, x: Tensor, sigma: Tensor, sides: list[list[Cond]]) -> list[Tensor]:
        """The weighted mean of each side's entries, all sides in as few calls of the network as their shapes allow."""
        tiles, step = self.tiles, self.clock.step
        jobs = [
            job for side, conds in enumerate(sides) for cond in conds for job in jobs_of(x, side, cond, tiles, step)
        ]
        sums = [Sums(x) for _ in sides]
        groups = groups_of(jobs, 0 if tiles is None else tiles.tile_batch)
        if self.together:
            few = self.together
            groups = [group[first : first + few] for group in groups for first in range(0, len(group), few)]
        for number, group in enumerate(groups):
            if self.on_call is not None and any(job.tiled for job in group):
                self.on_call(number, len(groups))
            for job, estimate in zip(group, self._call_in_parts(group, sigma), strict=True):
                sums[job.side].add(job, estimate)
        return [total.result() for total in sums]

    def _call_in_parts(self, group: list[Job], sigma: Tensor) -> list[Tensor]:
        """One call, or two of half the jobs each where that is more than the device's memory holds."""
        if len(group) > self.clock.together > 0:
            half = self.clock.together
        else:
            try:
                return self._call(group, sigma)
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                if len(group) == 1 or not is_out_of_memory(error):
                    raise
            half = self.clock.together = -(-len(group) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return [*self._call_in_parts(group[:half], sigma), *self._call_in_parts(group[half:], sigma)]

    def _call(self, group: list[Job], sigma: Tensor) -> list[Tensor]:
        batch = group[0].x.shape[0]
        x = torch.cat([job.x for job in group])
        scaled = self.levels.scaled(x, sigma) if self.network.prediction != "img_to_img" else x
        inputs = scaled
        if group[0].cond.concat is not None:
            scaled = torch.cat([scaled, torch.cat([concat_crop(job, batch) for job in group])], dim=1)
        timestep = self.levels.timestep(sigma, interpolate=self.fractional_timesteps).float().expand(len(x))
        tokens = math.lcm(*(job.cond.context.shape[1] for job in group))
        context = torch.cat([repeated(job.cond.context, batch, tokens) for job in group])
        vectors = [self._vector(job) for job in group]
        given = [part.expand(batch, -1) for part in vectors if part is not None]
        vector = torch.cat(given) if given else None
        named: dict[str, Any] = {}
        if getattr(self.network, "wants_sigma", False):
            named["sigma"] = float(sigma)
        control = group[0].cond.control
        if control is not None:
            places = tuple(job.place for job in group)
            shown = places[:1] if len(set(places)) == 1 else places
            seen = Seen(inputs, timestep, context, vector, float(sigma), shown, group[0].size, batch)
            named["control"] = control.residuals(seen)
        if self.meeting is not None and not named:
            output = self.meeting.predict(self.network, scaled, timestep, context, vector)
        else:
            output = self.network.predict(scaled, timestep, context, vector, **named)
        estimates = denoised(self.network.prediction, output, x, sigma, self.levels)
        return list(estimates.chunk(len(group)))

    def _vector(self, job: Job) -> Tensor | None:
        """An entry's vector, for the place that a tile has in the picture."""
        vector = job.cond.vector
        if vector is None or self.tiles is None or not job.tiled:
            return vector
        return self.tiles.vector(vector, job.place, job.size)


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
