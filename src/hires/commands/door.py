"""What every command stands in: errors become one line each, Ctrl-C stops after the current step."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hires.errors import HiresError, Interrupted

if TYPE_CHECKING:
    from hires.api import Engine

USER_ERROR, OUR_FAULT, STOPPED = 2, 1, 130
HELP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def engine_of(given: dict[str, Any], stop: threading.Event) -> Engine:
    """An engine with the settings that a command was given."""
    from hires.api import Engine
    from hires.settings import load_settings

    folders = ("models_dir", "input_dir", "output_dir", "custom_nodes_dir")
    names = (*folders, "device", "weights", "memory", "workers", "together")
    flags = {name: given.get(name) for name in names} | {"styles_files": given.get("styles")}
    engine = Engine(load_settings(flags), stop=stop)
    for problem in engine.custom.problems:
        typer.echo(f"hires: {problem}", err=True)
    return engine


@contextmanager
def door() -> Iterator[threading.Event]:
    """What every command stands in: Ctrl-C stops after the current step, and errors become one line each."""
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: _interrupt(stop))
    try:
        yield stop
    except HiresError as error:
        typer.echo(f"hires: {error}", err=True)
        raise typer.Exit(USER_ERROR) from error
    except (Interrupted, KeyboardInterrupt) as error:
        typer.echo("hires: stopped; what was finished before is kept", err=True)
        raise typer.Exit(STOPPED) from error
    except typer.Exit:
        raise
    except Exception as error:
        typer.echo(f"hires: {_logged(error)}", err=True)
        raise typer.Exit(OUR_FAULT) from error
    finally:
        signal.signal(signal.SIGINT, previous)


def _interrupt(stop: threading.Event) -> None:
    """The first Ctrl-C asks to stop at the next step, the second stops at once."""
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()


def _logged(error: Exception) -> str:
    """Keep the traceback of a fault of ours in the log; the line that says so."""
    line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    log = Path(os.environ.get("HIRES_LOG", "~/.cache/hires/hires.log")).expanduser()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        traceback.print_exception(error, file=sys.stderr)
        return f"a fault in hires: {line}"
    return f"a fault in hires: {line}. The traceback is in {log}"
