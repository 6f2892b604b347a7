"""How stages are made to fit the memory budget: the ways a network's work can be cut, in the order they are liked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from hires.errors import MemoryLimitError
from hires.models.budget import MOVED_AWAY, Choice, give_back
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel
from hires.models.needs import text_need, unet_need
from hires.nodes.context import RunContext
from hires.nodes.joint import OPTION

WHOLE = "whole"
SURE = 0.9
"""Of the room: what a crude bound must stay below, since what is free changes from one look to the next."""
GAPS = 2
"""Tensors and the gaps between them: at most so many times the tensors alone (1.5 seen, benchmarks/budget.py)."""
ONE_BY_ONE = "one prompt at a time"


def fitted(
    context: RunContext, what: str, choices: Callable[[], Iterable[Choice]], working: Sequence[nn.Module]
) -> Choice | None:
    """The choice for a stage that is about to run, its networks on the device; None without a budget.

    Where none fits, all other weights are moved away. MemoryLimitError where that does not help.
    """
    context.store.bring_back(working)
    if context.budget is None:
        return None
    if states_memory(context):
        give_back()
    try:
        return context.budget.choose(what, choices())
    except MemoryLimitError:
        if not context.store.move_away(working):
            raise
    chosen = context.budget.choose(what, choices())
    context.note(f"memory: {what} with {MOVED_AWAY}")
    return chosen


def states_memory(context: RunContext) -> bool:
    """Whether someone stated how much of a processor's memory there is."""
    return context.budget is not None and context.budget.stated and context.budget.device.type == "cpu"


def sampling_choices(model: DiffusionModel, height: int, width: int, batch: int, room: int) -> Iterator[Choice]:
    """Positive and negative prompt in one call, or in two. Crops of (height, width) latent cells, `batch` of them."""
    yield Choice(WHOLE, unet_need(model, height, width, 2 * batch, room))
    yield Choice(ONE_BY_ONE, unet_need(model, height, width, batch, room))


def sampling_networks(model: DiffusionModel) -> list[nn.Module]:
    """The networks at work in sampling: the UNet, and the one that it was laid over."""
    return [model.unet] if model.layers is None else [model.unet, model.layers.base]


@dataclass(frozen=True)
class Calls:
    """How a run may call its network: `together` entries of a conditioning at once, 0 for any number; `tight` where
    what the allocator leaves unused between tensors might be more than is left."""

    together: int = 0
    tight: bool = False


def calls_that_fit(model: DiffusionModel, shape: Sequence[int], context: RunContext) -> Calls:
    """What the context's budget allows for a latent of `shape`, (batch, channels, height, width) in latent cells.

    MemoryLimitError where not even one entry at a time fits.
    """
    batch, height, width = int(shape[0]), int(shape[-2]), int(shape[-1])
    tiles = model.options.get(OPTION)
    if tiles is not None:
        height, width = min(height, tiles.tile[0]), min(width, tiles.tile[1])
        batch *= max(1, tiles.tile_batch)
    what = f"sampling at {width * 8}x{height * 8}"

    def choices() -> Iterator[Choice]:
        room = 0 if context.budget is None else int(SURE * context.budget.room())
        return sampling_choices(model, height, width, batch, room)

    chosen = fitted(context, what, choices, sampling_networks(model))
    if chosen is None or context.budget is None:
        return Calls()
    tight = states_memory(context) and chosen.need * GAPS > context.budget.room()
    if chosen.name == WHOLE:
        return Calls(tight=tight)
    context.note(f"memory: {what} {chosen.name}")
    return Calls(1, tight)


def text_choices(clip: TextStack) -> Iterator[Choice]:
    """Encoding a prompt has one way."""
    yield Choice(WHOLE, text_need(clip))
