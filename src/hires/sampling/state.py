"""What a run is (`Plan`, made once, never changed) and where it stands (`State`, a value; a step makes the next).

A state is all that is needed to go on: it can be saved after any step and the run resumed bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from hires.sampling.brownian import BrownianNoise, brownian_noise
from hires.sampling.levels import NoiseLevels, standard_levels
from hires.sampling.noise import Anchor, Source, StreamState

Dialect = Literal["comfyui", "webui"]
Option = float | int | str | bool
Memory = Mapping[str, Tensor | tuple[Tensor, ...] | float]


class Prediction(NamedTuple):
    """What a denoiser call answers: the guided estimate of the clean latent, and the unconditional one if there is."""

    denoised: Tensor
    uncond: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """One run. Make it with `run.make_plan`, which checks the names and fills in the sampler's options.

    sigmas       float32 (steps + 1,) on the CPU, descending
    seeds        one for a ComfyUI run, one for each image of a batch in the web UI's dialect
    bounds       the range (low, high) of the Brownian path; None: the smallest positive and the largest sigma here
    times        float32 (steps + 1,) in (0, 1], for the web UI's UniPC, whose grid is in time
    start_sigma  the level that a latent is noised to before the run, if it is not the first sigma
    finish       what a run that ends above sigma 0 hands over: what the reference does, or the last prediction
    anchor       the place of the latent in a canvas whose noise it takes part of
    """

    sampler: str
    sigmas: Tensor
    seeds: tuple[int, ...] = (0,)
    options: Mapping[str, Option] = field(default_factory=dict)
    dialect: Dialect = "comfyui"
    rng_source: Source = "CPU"
    step_seed_offset: int = 0
    ensd: int = 0
    bounds: tuple[float, float] | None = None
    shared_path: bool = False
    times: Tensor | None = None
    start_sigma: float | None = None
    finish: Literal["reference", "predicted"] = "reference"
    levels: NoiseLevels = field(default_factory=standard_levels)
    anchor: Anchor | None = None

    @property
    def steps(self) -> int:
        return max(len(self.sigmas) - 1, 0)

    def pair(self, step: int) -> tuple[Tensor, Tensor]:
        """sigma and the next sigma of a step, 0-d float32."""
        return self.sigmas[step], self.sigmas[step + 1]

    def number(self, option: str) -> float:
        return float(self.options[option])

    def brownian_bounds(self) -> tuple[float, float]:
        if self.bounds is not None:
            return self.bounds
        return float(self.sigmas[self.sigmas > 0].min()), float(self.sigmas.max())

    def brownian(self, x: Tensor) -> BrownianNoise:
        per_image = self.dialect == "webui" and not self.shared_path
        return brownian_noise(self.brownian_bounds(), self.seeds, x, self.rng_source, per_image, self.anchor)


@dataclass(frozen=True, eq=False)
class State:
    """Where a run stands: before step number `step`, after `calls` denoiser calls.

    x (batch, channels, h, w); `memory` is what a multistep method remembers, newest first; `key` names the
    trajectory up to here (see trajectories.py), empty when unknown.
    """

    x: Tensor
    step: int = 0
    calls: int = 0
    memory: Memory = field(default_factory=dict)
    rng: StreamState | None = None
    key: str = ""

    def after(self, x: Tensor, rng: StreamState | None = None, **memory: Tensor | tuple[Tensor, ...] | float) -> State:
        """The state one step on; without `rng` the stream stays where it is."""
        return replace(self, x=x, step=self.step + 1, memory=memory, rng=rng or self.rng, key="")

    def tensor(self, name: str) -> Tensor:
        value = self.memory[name]
        assert isinstance(value, Tensor)
        return value

    def tensors(self, name: str) -> tuple[Tensor, ...]:
        value = self.memory.get(name, ())
        assert isinstance(value, tuple)
        return value

    def number(self, name: str) -> float:
        value = self.memory[name]
        assert isinstance(value, float)
        return value

    def draw(self) -> tuple[Tensor, StreamState]:
        """The next tensor of the run's stream and the stream after it."""
        assert self.rng is not None
        return self.rng.draw(self.x)

    def to(self, device: torch.device | str) -> State:
        """The same state with its tensors of x's shape on a device; scalars stay on the CPU."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device) if tensor.ndim else tensor

        memory = {
            name: tuple(move(item) for item in value)
            if isinstance(value, tuple)
            else move(value)
            if isinstance(value, Tensor)
            else value
            for name, value in self.memory.items()
        }
        return replace(self, x=move(self.x), memory=memory)

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self._flat().values() if isinstance(value, Tensor))

    def to_dict(self) -> dict[str, Any]:
        """Tensors and JSON values by flat names. No two tensors share memory, so that safetensors can hold them."""
        flat, seen = self._flat(), set()
        for name, value in flat.items():
            if isinstance(value, Tensor):
                shared = value.ndim == 0 or value.data_ptr() in seen
                flat[name] = value.detach().clone() if shared else value.detach().contiguous()
                seen.add(flat[name].data_ptr())
        return flat

    def _flat(self) -> dict[str, Any]:
        flat: dict[str, Any] = {"x": self.x, "step": self.step, "calls": self.calls, "key": self.key}
        for name, value in self.memory.items():
            if isinstance(value, tuple):
                flat.update({f"memory.{name}.{index}": item for index, item in enumerate(value)})
            else:
                flat[f"memory.{name}"] = value
        if self.rng is not None:
            flat["rng.source"] = self.rng.source
            flat["rng.per_image"] = self.rng.per_image
            flat["rng.seeds"] = list(self.rng.seeds)
            flat["rng.drawn"] = self.rng.drawn
            if self.rng.anchor is not None:
                flat["rng.anchor"] = [*self.rng.anchor.canvas, *self.rng.anchor.origin]
            if self.rng.generators is not None:
                flat["rng.generators"] = self.rng.generators
        return flat

    @classmethod
    def from_dict(cls, flat: Mapping[str, Any]) -> State:
        memory: dict[str, Any] = {}
        for name in sorted(flat, key=_natural):
            if name.startswith("memory."):
                entry, *index = name.removeprefix("memory.").split(".")
                memory[entry] = (*memory.get(entry, ()), flat[name]) if index else flat[name]
        rng = None
        if "rng.source" in flat:
            place = flat.get("rng.anchor")
            rng = StreamState(
                flat["rng.source"],
                bool(flat["rng.per_image"]),
                tuple(flat["rng.seeds"]),
                int(flat["rng.drawn"]),
                flat.get("rng.generators"),
                None if place is None else Anchor((place[0], place[1]), (place[2], place[3])),
            )
        return cls(flat["x"], int(flat["step"]), int(flat["calls"]), memory, rng, str(flat["key"]))


def _natural(name: str) -> tuple[str, int]:
    head, _, tail = name.rpartition(".")
    return (head, int(tail)) if tail.isdigit() else (name, 0)
