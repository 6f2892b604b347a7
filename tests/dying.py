"""Processes that are killed in the middle of their work."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
"""Forks of a process that has read what drawing takes: to read it anew for each would be most of their time."""
FORKS.set_forkserver_preload(["hires.api", "hires.models.store", "hires.models.upscale", "hires.nodes.registry"])


def die(work: Callable[..., Any], *given: Any) -> None:
    """Run work(*given), a function of a module, in a process of its own; it must end itself by SIGKILL."""
    process = FORKS.Process(target=work, args=given)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, process.exitcode
