"""What a kind of jobs offers to the desk, and what the desk tells of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hires.jobs.record import Job
from hires.server.finished import Finished
from hires.server.work import Job as Task

if TYPE_CHECKING:
    from hires.api import Engine


SAID = "said"
"""The note of a job that holds what came of it, in lines, where that is no picture."""


@dataclass(frozen=True)
class Accepted:
    """A request that was checked: as it is stored, and what is told of it."""

    request: Mapping[str, Any]
    words: str = ""
    model: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of a job. `answer` is for the client that waits; `cut`: it was stopped before its end."""

    answer: Any = None
    cut: bool = False
    error: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Live:
    """How far the job that runs is: share 0..1 of it; step of steps in its present part."""

    share: float
    seconds_left: float
    step: int
    steps: int
    text: str
    preview_number: int


@dataclass(frozen=True)
class Standing:
    """Whether jobs are begun, and if not, why; it goes on by itself where it waits for room on a disk."""

    paused: bool = False
    why: str = ""
    waits_for_room: bool = False


class Kind(Protocol):
    """One kind of jobs: how its requests are checked at the door, and what runs them in the thread that works."""

    def accept(self, request: Mapping[str, Any]) -> Accepted:
        """The request as it is stored. HiresError where it cannot be run."""

    def run(self, engine: Engine, task: Task, job: Job, finished: Finished) -> Outcome:
        """Do a job, or what is left of it."""
