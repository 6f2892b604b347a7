"""Sharing of steps between runs: every state is named by what it depends on, and kept under that name.

key_0 is made of the first state, key_{i+1} of key_i and what step i reads: sampler and options, its noise levels, the
guidance in force, and the resolved numbers (orders, bounds) that it takes from the rest of the plan. Runs that differ
later share all steps before, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from hires.sampling.samplers.base import Sampler
from hires.sampling.state import Plan, State

GuidanceKey = Callable[[int, int, float, float], bytes]
"""guidance_key(step, calls, sigma, sigma_next): everything a step's denoiser calls depend on beside x and sigma."""

MOST_NAMES = 100_000
MOST_CHAINS = 64
"""Of runs that go on at the same time."""
CHAIN = "chain"
"""In a kept state: the keys of the run up to it, with the denoiser calls made up to each."""


class KeptStates(Protocol):
    """Where states outlive the process: mappings of names to tensors and JSON values, by name."""

    def get(self, name: str) -> dict[str, Any] | None: ...

    def put(self, name: str, values: Mapping[str, Any]) -> object: ...


@dataclass
class TrajectoryCache:
    """States by key, on the CPU, the least recently used dropped beyond `limit_bytes`; and what they saved.

    With `kept`, the last state of each run is kept there too, under the key that the run began with.
    """

    limit_bytes: int
    kept: KeptStates | None = None
    reused_steps: int = 0
    computed_steps: int = 0
    denoiser_calls: int = 0
    held_bytes: int = 0
    _states: OrderedDict[str, State] = field(default_factory=OrderedDict)
    # the denoiser calls made up to a key, kept when its state is dropped: the next key may depend on them
    _calls: OrderedDict[str, int] = field(default_factory=OrderedDict)
    # of the runs that go on: their keys up to now
    _chains: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def put(self, state: State, calls: int, first: str = "") -> None:
        """Keep a state that a step of the run from key `first` has just made with `calls` denoiser calls."""
        self.computed_steps += 1
        self.denoiser_calls += calls
        if self.kept is not None and first:
            chain = self._chains.setdefault(first, [])
            chain.append((state.key, state.calls))
            self.kept.put(_kept_name(first), {**state.to_dict(), CHAIN: chain})
        self._hold(state)

    def recall(self, first: str) -> State | None:
        """The last state that an earlier process kept of the run from key `first`."""
        found = None if self.kept is None else self.kept.get(_kept_name(first))
        if found is None:
            return None
        self._calls.update((str(key), int(calls)) for key, calls in found.pop(CHAIN))
        return State.from_dict(found)

    def follow(self, first: str, chain: list[tuple[str, int]]) -> None:
        """The run from key `first` goes on after the steps of a chain of keys, with the calls made up to each."""
        self._chains.pop(first, None)
        self._chains[first] = chain
        while len(self._chains) > MOST_CHAINS:
            del self._chains[next(iter(self._chains))]

    def _hold(self, state: State) -> None:
        self._calls[state.key] = state.calls
        while len(self._calls) > MOST_NAMES:
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
        self._chains.clear()
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
            anchor = None if plan.anchor is None else (plan.anchor.canvas, plan.anchor.origin)
            path = (plan.brownian_bounds(), plan.seeds, plan.rng_source, plan.dialect, plan.shared_path, anchor)
            digest.update(repr(path).encode())
        return digest.hexdigest()

    def next_key(self, state: State) -> str:
        return self._key_after(state.key, state.step, state.calls, state)

    def resume(self, state: State, cache: TrajectoryCache, until: int | None = None) -> State:
        """The furthest state of this chain that the cache holds, on x's device; `state` itself if none."""
        kept = cache.recall(state.key)
        best, key, step, calls = state, state.key, state.step, state.calls
        current: State | None = state
        chain: list[tuple[str, int]] = []
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
            if current is None and kept is not None and kept.key == key:
                current = kept
            chain.append((key, calls))
            best = current or best
        cache.reused_steps += best.step - state.step
        cache.follow(state.key, chain[: best.step - state.step])
        return best.to(state.x.device)

    def _key_after(self, key: str, step: int, calls: int, state: State | None) -> str:
        high, low = (float(sigma) for sigma in self.sampler.interval(self.plan, step))
        guidance = self.guidance_key(step, calls, high, low) if self.guidance_key is not None else b""
        options = sorted(self.plan.options.items())
        reads = self.sampler.reads(self.plan, step, state)
        parts = (key, self.sampler.name, options, self.plan.dialect, high, low, reads, guidance)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def _kept_name(first: str) -> str:
    return f"trajectory {first}"


def tensor_bytes(tensor: Tensor) -> bytes:
    values = tensor.detach().cpu().contiguous()
    return f"{tuple(values.shape)} {values.dtype}".encode() + values.numpy().tobytes()
