"""What the stages of `hires pocket train` have in common: their flags, how they end, and what they say on the way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires.commands.groups import Command, own_flags, told_as
from hires.errors import HiresError, Interrupted, SettingError

if TYPE_CHECKING:
    import torch

    from hires.pocket.training import Recipe, Stage

USER_ERROR, STOPPED = 2, 130
DRAWINGS, EXPORT = "drawings", "export"
HELP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(help="The built-in model: how it is made and measured.", **HELP)
train_app = typer.Typer(help="Train the built-in model on our drawings: data, vae, model, upscaler, export.", **HELP)
app.add_typer(train_app, name="train")

Out = Annotated[Path, typer.Option(help="Folder of the whole training; each stage has its own folder in it.")]
Minutes = Annotated[float | None, typer.Option(min=0, help="Stop after this time; the next call goes on.")]
Start = Annotated[Path | None, typer.Option(help="Begin from the weights of this checkpoint, not from random ones.")]
Short = Annotated[
    bool, typer.Option("--short/--no-short", help="Multiply in bfloat16 on a CPU that has instructions for it.")
]
Rate = Annotated[float | None, typer.Option(min=1e-7, help="Learning rate [the stage's own].")]
Threads = Annotated[int, typer.Option(min=1, help="Parts of a batch at once, one thread each (CPU).")]
To = Annotated[Path | None, typer.Option(help="Models folder to write to [OUT/export].")]
FLAGS: dict[str, Any] = {
    "out": Out,
    "steps": Annotated[int, typer.Option(min=1, help="Length of the run; the learning rate falls at its end.")],
    "minutes": Minutes,
    "device": Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")],
    "resume": Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from the folder's checkpoint.")],
    "seed": Annotated[int, typer.Option(help="Every random choice follows from it.")],
    "batch": Annotated[int, typer.Option(min=1, help="Samples a step.")],
    "sheet_every": Annotated[int, typer.Option(min=1, help="Steps between contact sheets.")],
}
"""The flags that every stage has."""
KNOWN: dict[str, Any] = {"out": Path("training"), "minutes": None, "device": "auto", "resume": True, "seed": 0}
"""What they are where they are not given."""


@dataclass(frozen=True)
class Run:
    """What a stage's command was given by those flags; `stop` is set once it shall end."""

    out: Path
    steps: int
    minutes: float | None
    device: str
    resume: bool
    seed: int
    batch: int
    sheet_every: int
    stop: threading.Event

    @property
    def where(self) -> torch.device:
        """The device. SettingError for one that this machine lacks."""
        return chosen_device(self.device)

    def train(self, stage: Stage, name: str) -> None:
        """Train in the stage's own folder and say how far it came."""
        from hires.pocket.training import Limits, train

        folder, limits = self.out / name, Limits(self.steps, self.minutes, sheet_every=self.sheet_every)
        done = train(stage, folder, limits, resume=self.resume, say=typer.echo, stop=self.stop.is_set)
        typer.echo(f"{done} of {self.steps} steps are done: {folder}")


def stage_command(
    kind: type[Run] = Run, flags: Mapping[str, Any] = FLAGS, **known: Any
) -> Callable[[Command], Command]:
    """A command of `train` with these flags before its own, of which it is given a `kind` of run, as `run`. `known`
    are values for where they are not given."""
    known = KNOWN | known
    shared = [Parameter(name, Parameter.KEYWORD_ONLY, default=known[name], annotation=flags[name]) for name in flags]

    def with_flags(command: Command) -> Command:
        own = own_flags(command, "run")

        def run(**given: Any) -> None:
            with door() as stop:
                command(kind(**{name: given.pop(name) for name in flags}, stop=stop), **given)

        return train_app.command()(told_as(run, command, [*shared, *own]))

    return with_flags


@contextmanager
def door() -> Iterator[threading.Event]:
    """Errors as one line; Ctrl-C or a terminate signal asks to stop at the next step, with a checkpoint written."""
    stop = threading.Event()
    known = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except HiresError as error:
        typer.echo(f"hires: {error}", err=True)
        raise typer.Exit(USER_ERROR) from error
    except Interrupted as error:
        typer.echo("hires: stopped; the same command goes on from here", err=True)
        raise typer.Exit(STOPPED) from error
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)


def at_rate(recipe: Recipe, rate: float | None) -> Recipe:
    """The optimiser's recipe at a learning rate of the user's choice."""
    return recipe if rate is None else replace(recipe, rate=rate)


def chosen_device(name: str) -> torch.device:
    """`auto` is the first CUDA device where there is one."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(f"there is no device {name!r}", "Give auto, cpu, cuda or cuda:1.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            f"this machine has {torch.cuda.device_count()} CUDA devices, so no {name}", "Try --device cpu."
        )
    return device


def progress(what: str) -> Any:
    """A line a tenth of the work."""
    told = [0]

    def say(done: int, total: int) -> None:
        tenth = done * 10 // total
        if tenth > told[0]:
            told[0] = tenth
            typer.echo(f"{what}: {done} of {total}")

    return say
