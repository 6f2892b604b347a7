"""Options, flags, memory, and the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import psutil
from fastapi import APIRouter, Depends

from hires import __version__
from hires.errors import ModelFileError
from hires.models.names import Entry
from hires.server.faults import Refused
from hires.server.lists import title_of
from hires.server.options import checked
from hires.server.state import Server, server_of

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.server.work import Job

router = APIRouter(tags=["server"])
ServerHere = Annotated[Server, Depends(server_of)]
API = "/sdapi/v1"


@router.get("/")
async def root() -> dict[str, Any]:
    """Who answers."""
    return {"name": "hires", "version": __version__, "docs": "/docs", "api": API}


@router.get(f"{API}/options")
def options(server: ServerHere) -> dict[str, Any]:
    """Every option, with the checkpoint that draws by its title."""
    values = server.options.all()
    entry = _checkpoint(server, values["sd_model_checkpoint"])
    known = None if entry is None else server.files.hashes.known_sha256(entry.path) if entry.path.is_file() else None
    values["sd_model_checkpoint"] = values["sd_model_checkpoint"] if entry is None else title_of(server, entry)
    return values | {"sd_checkpoint_hash": known}


@router.post(f"{API}/options")
async def set_options(changes: dict[str, Any], server: ServerHere) -> None:
    """Change options: all of them, or none where one cannot be. Another checkpoint is loaded before the answer."""
    new = checked(changes)
    name = new.get("sd_model_checkpoint")
    if name:
        entry = _checkpoint(server, name)
        if entry is None:
            raise Refused(400, f"model '{name}' not found", hint="The sd-models route lists them.")
        new["sd_model_checkpoint"] = title_of(server, entry)
        if entry.name != _drawing_name(server):
            await server.done("load-model", lambda engine, job: _load(engine, entry.name))
    server.options.apply(new)


def _drawing_name(server: Server) -> str | None:
    """The checkpoint of the options."""
    entry = _checkpoint(server, server.options.all()["sd_model_checkpoint"])
    return None if entry is None else entry.name


def _checkpoint(server: Server, name: str) -> Entry | None:
    """The checkpoint that a name means: exact, by its hash, or the shortest title that holds it; the default for ""."""
    entries = server.files.entries("checkpoints")
    if not name:
        from hires.pocket import after_own

        return min(entries, key=lambda entry: (after_own(entry.name), entry.name), default=None)
    try:
        path = server.files.find("checkpoints", name)
    except ModelFileError:
        bare = name.split("[")[0].strip().lower()
        holding = [entry for entry in entries if bare and bare in entry.name.lower()]
        return min(holding, key=lambda entry: len(entry.name), default=None)
    return next(entry for entry in entries if entry.path == path)


def _load(engine: Engine, name: str) -> None:
    engine.store.checkpoint(name)


@router.get(f"{API}/cmd-flags")
def cmd_flags(server: ServerHere) -> dict[str, Any]:
    """What the server was started with, but for folders and passwords."""
    return dict(server.flags)


@router.get(f"{API}/memory")
def memory(server: ServerHere) -> dict[str, Any]:
    """Bytes of the machine's memory, and of the GPU's."""
    state = psutil.virtual_memory()
    used = psutil.Process().memory_info().rss
    return {"ram": {"free": state.available, "used": used, "total": state.total}, "cuda": _cuda(server)}


def _cuda(server: Server) -> dict[str, Any]:
    engine = server.work.engine
    if engine is None or engine.origin.device != "cuda":
        return {"error": "unavailable"}
    import torch

    free, total = torch.cuda.mem_get_info()
    found = torch.cuda.memory_stats()

    def pair(name: str) -> dict[str, int]:
        return {"current": found[f"{name}.all.current"], "peak": found[f"{name}.all.peak"]}

    return {
        "system": {"free": free, "used": total - free, "total": total},
        "active": pair("active_bytes"),
        "allocated": pair("allocated_bytes"),
        "reserved": pair("reserved_bytes"),
        "inactive": pair("inactive_split_bytes"),
        "events": {"retries": found["num_alloc_retries"], "oom": found["num_ooms"]},
    }


@router.post(f"{API}/unload-checkpoint")
async def unload(server: ServerHere) -> dict[str, Any]:
    """Let go of all loaded models, once the jobs before it are done."""

    def forget(engine: Engine, job: Job) -> None:
        engine.store.forget()

    if server.work.engine is not None:
        await server.done("unload", forget)
    return {}


@router.post(f"{API}/reload-checkpoint")
async def reload(server: ServerHere) -> dict[str, Any]:
    """Load the checkpoint of the options."""
    if (name := _drawing_name(server)) is not None:
        await server.done("load-model", lambda engine, job: _load(engine, name))
    return {}


@router.post(f"{API}/server-kill")
@router.post(f"{API}/server-stop")
async def stop(server: ServerHere) -> dict[str, Any]:
    """End the program, where it was started so that clients may."""
    if not server.may_stop or server.end is None:
        raise Refused(404, "Not Found", "the server was started without --server-stop")
    server.end()
    return {}


@router.post(f"{API}/server-restart")
async def restart(server: ServerHere) -> dict[str, Any]:
    """A program cannot start itself again."""
    if not server.may_stop:
        raise Refused(404, "Not Found", "the server was started without --server-stop")
    raise Refused(501, "Not Implemented", "the server cannot be restarted this way", "Stop it and start it again.")


@router.get("/app_id")
async def app_id(server: ServerHere) -> dict[str, Any]:
    """A number that is another after each start."""
    return {"app_id": id(server.work) % 2**31}


@router.get("/internal/sysinfo")
async def sysinfo(server: ServerHere) -> dict[str, Any]:
    """Versions, for a report."""
    import platform

    engine = server.work.engine
    found = {"Version": __version__, "Python": platform.python_version(), "Platform": platform.system()}
    return found if engine is None else found | {"Torch": engine.origin.torch, "Device": engine.origin.device}
