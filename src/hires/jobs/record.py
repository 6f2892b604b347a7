"""One job: what was asked for, its state, and which states may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hires.errors import HiresError


class State(StrEnum):
    """Where a job stands. Done, failed and cancelled jobs have ended; they stay as history."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED})
FOLLOWS: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.RUNNING, State.PAUSED, State.CANCELLED}),
    State.RUNNING: frozenset({State.WAITING, State.PAUSED, *ENDED}),
    State.PAUSED: frozenset({State.WAITING, State.CANCELLED}),
    State.DONE: frozenset(),
    State.FAILED: frozenset({State.WAITING}),
    State.CANCELLED: frozenset({State.WAITING}),
}
"""A running job goes back to waiting when its process died or was closed; one that failed when it is tried again."""


class JobError(HiresError):
    """A job that is not there, or that cannot do what was asked of it in its state."""


@dataclass(frozen=True)
class Job:
    """A request on its way, as it was when it was read.

    `kind` names who can run it (txt2img, workflow, grid ...), `request` is what that takes, JSON. `words` is what one
    searches for (prompts), `model` the checkpoint. Jobs run by `priority` (more first), then in order of `position`.
    `made`, `begun` and `ended` are seconds since 1970. `share` (0..1) of it is done. `results` are files in the order
    they were finished, below the outputs folder. `starts` counts how often it was begun.
    """

    id: str
    number: int
    kind: str
    title: str
    request: Mapping[str, Any]
    words: str = ""
    model: str = ""
    door: str = ""
    priority: int = 0
    position: int = 0
    state: State = State.WAITING
    made: float = 0.0
    begun: float | None = None
    ended: float | None = None
    share: float = 0.0
    results: tuple[str, ...] = ()
    error: str = ""
    starts: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)
