"""The table of jobs: its columns, and a row of it as a job."""

from __future__ import annotations

import json
from typing import Any

from hires.jobs.record import Job, State

LARGEST = 2**62
COLUMNS = (
    "id, number, kind, title, request, words, model, door, priority, position, state, made, begun, ended, share, "
    "results, error, starts, notes"
)
TABLE = """
create table jobs (
    number integer primary key autoincrement,
    id text not null unique,
    kind text not null, title text not null, request text not null,
    words text not null, model text not null, door text not null,
    priority integer not null, position integer not null, state text not null,
    made real not null, begun real, ended real,
    share real not null default 0, results text not null default '[]', error text not null default '',
    starts integer not null default 0, notes text not null default '{}'
);
create index jobs_in_order on jobs (state, priority desc, position);
create index jobs_by_time on jobs (made);
"""


def job_of(row: tuple[Any, ...]) -> Job:
    """A row in the order of COLUMNS."""
    found = dict(zip(COLUMNS.split(", "), row, strict=True))
    found |= {name: json.loads(found[name]) for name in ("request", "notes")}
    found |= {"results": tuple(json.loads(found["results"])), "state": State(found["state"])}
    return Job(**found)


def plain(word: str) -> str:
    """A word in which `like` sees no pattern."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def bounded(number: int) -> int:
    """A whole number that the database can hold, whatever a client names."""
    return min(max(number, -LARGEST), LARGEST)


def sound(text: str) -> str:
    """A text that can be written: halves of letters are replaced."""
    return text.encode("utf-8", "replace").decode()
