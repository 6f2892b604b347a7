"""Sharing of steps between runs: every state is named by what it depends on, and kept under that name.

key_0 is made of the first state, key_{i+1} of key_i and what step i reads: sampler and options, its noise levels, the
guidance in force, and the resolved numbers (orders, bounds) that it takes from the rest of the plan. Runs that differ
later share all steps before, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from hires.sampling.samplers.base import Sampler
from hires.sampling.state import Plan, State

GuidanceKey = Callable[[int, int, float, float], bytes]
"""guidance_key(step, calls, sigma, sigma_next): everything a step's denoiser calls depend on beside x and sigma."""

MOST_NAMES = 100_000


@dataclass
class TrajectoryCache:
    """States by key, on the CPU, the least recently used dropped beyond `limit_bytes`; and what they saved."""

    limit_bytes: int
    reused_steps: int = 0
    computed_steps: int = 0
    denoiser_calls: int = 0
    held_bytes: int = 0
    _states: OrderedDict[str, State] = field(default_factory=OrderedDict)
    # the denoiser calls made up to a key, kept when its state is dropped: the next key may depend on them
    _calls: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def put(self, state: State, calls: int) -> None:
        """Keep a state that a step has just made with `calls` denoiser calls."""
        self.computed_steps += 1
        self.denoiser_calls += calls
        self._calls[state.key] = state.calls
        if len(self._calls) > MOST_NAMES:
            self._calls.popitem(last=False)
        if state.nbytes > self.limit_bytes:
            return
        if state.key in self._states:
            self.held_bytes -= self._states.pop(state.key).nbytes
        self._states[state.key] = state.to("cpu")
        self.held_bytes += state.nbytes
        while self.held_bytes > self.limit_bytes:
            _, oldest = self._states.popitem(last=False)
            self.held_bytes -= oldest.nbytes

    def get(self, key: str) -> State | None:
        if key in self._states:
            self._states.move_to_end(key)
        return self._states.get(key)

    def calls_at(self, key: str) -> int | None:
        return self._calls.get(key)

    def clear(self) -> None:
        self._states.clear()
        self._calls.clear()
        self.held_bytes = 0


@dataclass(frozen=True)
class Trajectory:
    """The chain of keys of a plan."""

    plan: Plan
    sampler: Sampler
    guidance_key: GuidanceKey | None

    def root(self, state: State, origin: str = "") -> str:
        """The key of a first state: of its bytes, or of the name given to its latent; and of its random stream."""
        digest = hashlib.sha256(f"{self.sampler.rng} {tuple(state.x.shape)} {state.step} {state.calls}".encode())
        for name, value in sorted(state.to_dict().items()):
            if name in ("key", "step", "calls") or (origin and name in ("x", "memory.previous")):
                continue
            digest.update(name.encode())
            digest.update(tensor_bytes(value) if isinstance(value, Tensor) else repr(value).encode())
        digest.update(tensor_bytes(self.plan.levels.sigmas))
        digest.update(f"origin {origin!r} {self.sampler.name if origin else ''}".encode())
        if self.sampler.rng == "brownian":
            plan = self.plan
            path = (plan.brownian_bounds(), plan.seeds, plan.rng_source, plan.dialect, plan.shared_path)
            digest.update(repr(path).encode())
        return digest.hexdigest()

    def next_key(self, state: State) -> str:
        return self._key_after(state.key, state.step, state.calls, state)

    def resume(self, state: State, cache: TrajectoryCache, until: int | None = None) -> State:
        """The furthest state of this chain that the cache holds, on x's device; `state` itself if none."""
        best, key, step, calls = state, state.key, state.step, state.calls
        current: State | None = state
        while until is None or step < until:
            if current is not None and self.sampler.finished(self.plan, current):
                break
            if current is None and (self.sampler.attempts_left or step >= (self.sampler.steps(self.plan) or 0)):
                break
            key = self._key_after(key, step, calls, current)
            known = cache.calls_at(key)
            if known is None:
                break
            step, calls, current = step + 1, known, cache.get(key)
            best = current or best
        cache.reused_steps += best.step - state.step
        return best.to(state.x.device)

    def _key_after(self, key: str, step: int, calls: int, state: State | None) -> str:
        high, low = (float(sigma) for sigma in self.sampler.interval(self.plan, step))
        guidance = self.guidance_key(step, calls, high, low) if self.guidance_key is not None else b""
        options = sorted(self.plan.options.items())
        reads = self.sampler.reads(self.plan, step, state)
        parts = (key, self.sampler.name, options, self.plan.dialect, high, low, reads, guidance)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    values = tensor.detach().cpu().contiguous()
    return f"{tuple(values.shape)} {values.dtype}".encode() + values.numpy().tobytes()
