"""The errors a user can meet. Each says in one line what was wrong and where, and what to do.

Everything here is raised where the fact is known and caught once, at the door (command line, HTTP).
A door prints `str(error)` and nothing else; any other exception is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Any


class HiresError(Exception):
    """A mistake that the user can mend.

    `message` says what was wrong and where, `hint` what to do about it; both without line breaks.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?")) else "."
        return f"{self.message}{stop} {self.hint}"


class SettingError(HiresError):
    """A value that is out of range or not among the choices (sampler, size, steps, folder ...)."""


class ModelFileError(HiresError):
    """A weights file that is missing, broken, truncated, of an unknown kind or of the wrong kind."""


class PromptError(HiresError):
    """A prompt that cannot be used; `position` is the character (0-based) where the fault was seen."""

    def __init__(self, message: str, hint: str = "", position: int | None = None) -> None:
        super().__init__(message, hint)
        self.position = position


class ImageFileError(HiresError):
    """A picture that is missing, broken, too large, or of a format that cannot be read."""


class OutputError(HiresError):
    """A result that could not be written (disk full, no permission, bad folder)."""


class WorkerError(HiresError):
    """A worker in another process or on another machine that cannot do its part."""


class MemoryLimitError(HiresError):
    """Work that does not fit the memory there is, or the budget that was stated. `needed` are the bytes that would do,
    0 where nobody knows."""

    def __init__(self, message: str, hint: str = "", needed: int = 0) -> None:
        super().__init__(message, hint)
        self.needed = needed


@dataclass(frozen=True)
class Fault:
    """One fault in a workflow, in the words and with the types that ComfyUI's clients know."""

    type: str
    message: str
    details: str = ""
    node: str | None = None
    class_type: str | None = None
    input: str | None = None
    extra_info: dict[str, Any] = field(default_factory=dict)
    hint: str = ""
    """What ComfyUI's clients have no place for: said to people only."""

    def __str__(self) -> str:
        where = f"node {self.node} ({self.class_type})" if self.node is not None else "workflow"
        if self.input is not None:
            where += f", input {self.input!r}"
        details = f": {self.details}" if self.details and self.details != self.input else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {self.message.removesuffix('.') if details or hint else self.message}{details}{hint}"


class WorkflowError(HiresError):
    """A workflow that cannot be run; `faults` holds every fault that was found, at once."""

    def __init__(self, faults: list[Fault], source: str = "the workflow") -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{source} has {count}: " + "; ".join(str(fault) for fault in faults))
        self.faults = faults


class Interrupted(Exception):  # noqa: N818 - no error: the user asked for it
    """The user stopped the work. Not an error: what was finished before is kept."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a device or in the host."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, a RuntimeError
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what it came from, means that nothing more can be written: no space, no quota, a disk that
    has become read-only or fails."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            return True
        if type(current).__module__ == "sqlite3" and "full" in str(current):
            return True
        current = current.__cause__ or current.__context__
    return False
