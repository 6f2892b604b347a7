"""The loop that every stage of training shares: resumable at any moment, with curves, contact sheets and the time left.

All chance of step n comes from (seed, n). So a checkpoint holds no generator's state, and a run that was stopped,
killed or resumed ends where one that ran through ends: on the CPU in the same bits.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from hires.errors import Interrupted, ModelFileError, OutputError, SettingError
from hires.pocket.curves import append_row, plot_curves, rows_until
from hires.pocket.muon import Muon, inner_matrices

CHECKPOINT = "checkpoint.pt"
CURVES = "curves.csv"
GRADIENT_NORM = 1.0
MOMENTUM = 0.95
"""Muon's."""


@dataclass(frozen=True)
class Recipe:
    """Numbers of one optimiser. `average` is the decay of the weights' moving average; with a `muon_rate` the
    matrices inside the network are Muon's."""

    rate: float
    muon_rate: float | None = None
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    average: float = 0.998


@dataclass(frozen=True)
class Limits:
    """`steps` is the length of the learning rate's schedule; `minutes` only says when to stop for now."""

    steps: int
    minutes: float | None = None
    log_every: int = 50
    sheet_every: int = 1000
    save_seconds: float = 60.0


class Learner:
    """A network with its optimiser and the moving average of its weights, which is what one uses afterwards."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network = network
        self.recipe = recipe
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        inner = inner_matrices(network) if recipe.muon_rate else []
        taken = {id(one) for one in inner}
        rest = [one for one in network.parameters() if id(one) not in taken]
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (
                torch.optim.AdamW(rest, recipe.rate, recipe.betas, weight_decay=recipe.weight_decay, fused=True),
                recipe.rate,
            )
        ]
        if recipe.muon_rate:
            self.optimizers.append((Muon(inner, recipe.muon_rate, MOMENTUM, recipe.weight_decay), recipe.muon_rate))

    def update(self, loss: Tensor, share: float, step: int) -> Tensor:
        """One step down `loss` at `share` of the recipe's rate; returns the gradient's norm before it is clipped.

        Parameters that do not require a gradient stay as they are. The average starts short, as Adam's means do.
        """
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        return self.follow(share, step)

    def gradients(self, loss: Tensor) -> list[Tensor | None]:
        """Those of `loss` for each parameter, left beside the network: threads may ask for their parts' at once."""
        return list(torch.autograd.grad(loss, list(self.network.parameters()), allow_unused=True))

    def update_by(self, parts: Sequence[Sequence[Tensor | None]], share: float, step: int) -> Tensor:
        """`update` by the sum of several parts' gradients, added in their order.

        The sums lie in memory as their parameters do: the fused optimiser reads both without a look at strides.
        """
        for parameter, *given in zip(self.network.parameters(), *parts, strict=True):
            known = [one for one in given if one is not None]
            parameter.grad = torch.zeros_like(parameter) if known else None
            for one in known:
                parameter.grad += one
        return self.follow(share, step)

    def follow(self, share: float, step: int) -> Tensor:
        """One step down the gradients that the parameters hold."""
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        for optimizer, rate in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()
        decay = min(self.recipe.average, (step + 1) / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        return norm

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": [optimizer.state_dict() for optimizer, _ in self.optimizers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for (optimizer, _), known in zip(self.optimizers, state["optimizer"], strict=True):
            optimizer.load_state_dict(known)


class Stage(Protocol):
    """What is trained. `facts` names what a checkpoint must share with the stage that resumes it."""

    @property
    def learners(self) -> Mapping[str, Learner]: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def step(self, index: int, progress: float, share: float) -> dict[str, Tensor]:
        """Learn from batch `index`; `progress` is its place in the run (0..1), `share` that of the learning rate.
        Returns numbers for the curves, on whatever device they are."""
        ...

    def sheet(self) -> NDArray[np.uint8]:
        """A contact sheet (height, width, 3) of what the averaged weights do."""
        ...


def rate_share(step: int, steps: int, *, warm: int = 100, decay: float = 0.3) -> float:
    """Share of the learning rate at a step: up over `warm` steps, level, then down by a cosine over the last `decay`.

    Level until the end nears, so that a run can be given more steps later without having cooled down before.
    """
    cooling = max(1.0, steps * decay)
    done = (step - (steps - cooling)) / cooling
    down = 0.5 + 0.5 * math.cos(math.pi * min(max(done, 0.0), 1.0))
    return min(1.0, (step + 1) / min(warm, max(1, steps // 10))) * max(down, 0.01)


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The random numbers of one step, on a device."""
    mixed = int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device).manual_seed(mixed)


def save_checkpoint(stage: Stage, step: int, folder: Path) -> None:
    """Write the state after `step` steps: whole or not at all, even when the machine stops meanwhile."""
    state = {
        "step": step,
        "facts": dict(stage.facts),
        "learners": {name: learner.state() for name, learner in stage.learners.items()},
    }
    new = folder / (CHECKPOINT + ".new")
    try:
        with new.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / CHECKPOINT)
    except OSError as problem:
        raise OutputError(f"{new} could not be written: {problem.strerror or problem}") from None


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The folder's checkpoint as `save_checkpoint` wrote it."""
    path = folder / CHECKPOINT
    if not path.exists():
        raise SettingError(f"there is no {path} yet", f"Train it: hires pocket train {folder.name}.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # bytes that are no pickle fail in any way
        raise ModelFileError(f"{path} is broken ({type(problem).__name__})", "Delete it and train again.") from None
    return state


def load_checkpoint(stage: Stage, folder: Path) -> int:
    """Go back to the folder's checkpoint; how many steps it had done, 0 where there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    state = read_checkpoint(folder)
    for name, value in stage.facts.items():
        if state["facts"].get(name) != value:
            raise SettingError(
                f"{path} was trained with {name} = {state['facts'].get(name)!r}, not {value!r}",
                "Give the same value, another --out, or --no-resume to start again.",
            )
    for name, learner in stage.learners.items():
        learner.restore(state["learners"][name])
    return int(state["step"])


def train(
    stage: Stage,
    folder: Path,
    limits: Limits,
    *,
    resume: bool = True,
    say: Callable[[str], None] = print,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train until the steps are done, the minutes are over, or `stop` says so (Interrupted); the steps done in all.

    `folder` gets checkpoint.pt, curves.csv, curves.png and sheet_NNNNNN.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = load_checkpoint(stage, folder) if resume else 0
    rows_until(folder / CURVES, first)
    if first:
        say(f"resumed after {first} steps")
    begun = saved = time.monotonic()
    gathered: list[dict[str, Tensor]] = []
    step = first
    while step < limits.steps:
        share = rate_share(step, limits.steps)
        gathered.append(stage.step(step, step / limits.steps, share))
        step += 1
        elapsed = time.monotonic() - begun
        stopped, late = stop(), limits.minutes is not None and elapsed >= limits.minutes * 60
        last = stopped or late or step == limits.steps
        if step % limits.log_every == 0 or last:
            row = {name: float(torch.stack([one[name] for one in gathered]).mean()) for name in gathered[0]}
            gathered.clear()
            append_row(folder / CURVES, {"step": step, "rate": share, **row})
            say(f"{step}/{limits.steps}  {time_left(step - first, elapsed, limits, first)}  " + numbers(row))
        if last or time.monotonic() - saved > limits.save_seconds:
            save_checkpoint(stage, step, folder)
            plot_curves(folder / CURVES, folder / "curves.png")
            saved = time.monotonic()
        if step % limits.sheet_every == 0 or last:
            Image.fromarray(stage.sheet()).save(folder / f"sheet_{step:06d}.png")
        if stopped:
            raise Interrupted
        if late:
            break
    return step


def time_left(done: int, elapsed: float, limits: Limits, first: int) -> str:
    """Elapsed time, pace and the time left to the nearer of the two limits."""
    left = (limits.steps - first - done) * elapsed / done
    if limits.minutes is not None:
        left = min(left, max(0.0, limits.minutes * 60 - elapsed))
    return f"{clock(elapsed)} gone, {clock(left)} left, {done / max(elapsed, 1e-9):.2f} steps/s"


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60}:{whole % 60:02d}"
    return minutes if whole < 3600 else f"{whole // 3600}:{minutes.zfill(5)}"


def numbers(row: Mapping[str, float]) -> str:
    """A row of the curves as people read it."""
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items())
