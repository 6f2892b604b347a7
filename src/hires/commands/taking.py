"""`--from FILE`: what the file names and is not here is said, a line each, and asked or refused; never replaced in
silence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from hires.api import Engine
from hires.errors import ModelFileError
from hires.recipes.infotext import request_from
from hires.recipes.named_files import LookedUp, look_up_all, named_in_request
from hires.recipes.read_file import infotext_of_file
from hires.recipes.request import Txt2Img

FLAGS = {
    "model": "--checkpoint",
    "VAE": "--vae",
    "refiner": "--refiner",
    "hires model": "--hires-checkpoint",
    "upscaler": "--upscaler",
}
"""Roles without which nothing is drawn, and the flag that names another file."""
INSTEAD = "Lanczos"
"""The upscaler that stands in for a network that is not there."""


def with_files_here(engine: Engine, file: Path, request: Txt2Img, replace_missing: bool) -> Txt2Img:
    """The request, taken from a file and overridden, with what it names and is missing here replaced where that was
    asked for, or is agreed to at a terminal. ModelFileError otherwise."""
    _say_overridden(file, request)
    if request.extra_fields:
        typer.echo(f"note: kept, but not acted on: {', '.join(request.extra_fields)}", err=True)
    looked = look_up_all(engine.store, named_in_request(request))
    if request.checkpoint is None:
        typer.echo(f"note: {file.name} names no model; {engine.default_checkpoint()} draws", err=True)
    for one in looked:
        if one.state in ("renamed", "other") or (one.state == "missing" and one.named.role not in FLAGS):
            typer.echo(f"note: {one.line()}", err=True)
    missing = [one for one in looked if one.state == "missing" and one.named.role in FLAGS]
    for one in missing:
        typer.echo(f"missing: {one.line()}", err=True)
    for one in missing:
        instead = _instead(engine, one.named.role)
        if not replace_missing and not _agreed(one, instead):
            raise _refused(file, missing)
        request = _replaced(engine, request, one.named.role)
        typer.echo(f"note: {one.named.role} {one.named.title} is replaced by {instead}", err=True)
    return request


def _agreed(one: LookedUp, instead: str) -> bool:
    """What somebody at a terminal answers; no, where nobody is."""
    question = f"Draw with {instead} in place of the {one.named.role} {one.named.title}?"
    return sys.stdin.isatty() and typer.confirm(question, err=True)


def _say_overridden(file: Path, request: Txt2Img) -> None:
    """Which file's name a flag has put another in the place of."""
    text = infotext_of_file(file)
    if text is None:
        return
    now = {one.role: one.title for one in named_in_request(request)}
    if request.hires is not None:
        now.setdefault("upscaler", request.hires.upscaler)
    for one in named_in_request(request_from(text)):
        if one.role in FLAGS and now.get(one.role) != one.title:
            other = now.get(one.role, "none")
            typer.echo(f"note: {one.role} {one.title} of the file is replaced by {other}, as asked", err=True)


def _instead(engine: Engine, role: str) -> str:
    """What takes the place of a missing file, in words."""
    return {
        "model": engine.default_checkpoint(),
        "VAE": "the model's own VAE",
        "refiner": "no refiner",
        "hires model": "the first pass's model",
        "upscaler": INSTEAD,
    }[role]


def _replaced(engine: Engine, request: Txt2Img, role: str) -> Txt2Img:
    hires = request.hires
    if role == "model":
        return replace(request, checkpoint=engine.default_checkpoint())
    if role == "VAE":
        return replace(request, vae=None)
    if role == "refiner":
        return replace(request, refiner=None)
    assert hires is not None
    changed = replace(hires, checkpoint=None) if role == "hires model" else replace(hires, upscaler=INSTEAD)
    return replace(request, hires=changed)


def _refused(file: Path, missing: Sequence[LookedUp]) -> ModelFileError:
    names = ", ".join(f"{one.named.role} {one.named.title}" for one in missing)
    flags = ", ".join(FLAGS[one.named.role] for one in missing)
    return ModelFileError(
        f"{file.name} names what is not here: {names}",
        f"Put it into the models folder, name another with {flags}, or let --replace-missing choose.",
    )
