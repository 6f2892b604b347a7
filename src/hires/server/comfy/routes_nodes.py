"""What there is to work with: nodes, models, the machine."""

from __future__ import annotations

import platform
import sys
from pathlib import PurePath
from typing import Annotated, Any

import psutil
from fastapi import APIRouter, Depends

from hires import __version__
from hires.models.hashes import safetensors_header
from hires.models.names import FOLDERS
from hires.server.comfy.routes_socket import FEATURES
from hires.server.comfy.state import Comfy, comfy_of
from hires.server.faults import Refused

router = APIRouter(tags=["comfyui"])
ComfyHere = Annotated[Comfy, Depends(comfy_of)]
SPOKEN = "0.3.64"
"""The version of ComfyUI whose protocol is spoken."""


@router.get("/object_info")
def object_info(comfy: ComfyHere) -> dict[str, Any]:
    """Every node: inputs with ranges and defaults, outputs; lists of files are those of this moment."""
    return comfy.server.work.ready().object_info(output_dir=comfy.server.settings.output_dir)


@router.get("/object_info/{class_type}")
def node_info(class_type: str, comfy: ComfyHere) -> dict[str, Any]:
    """One node; {} for one that is not there."""
    return comfy.server.work.ready().object_info(class_type, comfy.server.settings.output_dir)


@router.get("/system_stats")
def system_stats(comfy: ComfyHere) -> dict[str, Any]:
    """Versions and memory, in bytes."""
    memory = psutil.virtual_memory()
    engine = comfy.server.work.engine
    return {
        "system": {
            "os": sys.platform,
            "ram_total": memory.total,
            "ram_free": memory.available,
            "comfyui_version": SPOKEN,
            "hires_version": __version__,
            "python_version": platform.python_version(),
            "pytorch_version": engine.origin.torch if engine is not None else "",
            "embedded_python": False,
            "argv": [],
        },
        "devices": [_device(comfy)],
    }


def _device(comfy: Comfy) -> dict[str, Any]:
    """What draws: the GPU, or the CPU with the machine's memory, as ComfyUI tells it."""
    engine = comfy.server.work.engine
    if engine is not None and engine.origin.device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        held = torch.cuda.memory_reserved()
        unused = held - torch.cuda.memory_allocated()
        name, kind, index = engine.origin.device_name, "cuda", torch.cuda.current_device()
        return {
            "name": name, "type": kind, "index": index, "vram_total": total, "vram_free": free + unused,
            "torch_vram_total": held, "torch_vram_free": unused,
        }  # fmt: skip
    memory = psutil.virtual_memory()
    kind = "cpu" if engine is None else engine.origin.device
    return {
        "name": kind, "type": kind, "index": None, "vram_total": memory.total, "vram_free": memory.available,
        "torch_vram_total": memory.total, "torch_vram_free": memory.available,
    }  # fmt: skip


@router.get("/features")
async def features() -> dict[str, Any]:
    """What the websocket can do."""
    return FEATURES


@router.get("/extensions")
async def extensions() -> list[str]:
    """Scripts for the editor's page: there are none."""
    return []


@router.get("/i18n")
@router.get("/workflow_templates")
@router.get("/global_subgraphs")
@router.get("/node_replacements")
async def nothing_of_that() -> dict[str, Any]:
    """Translations, templates, subgraphs and replacements that come with a server: there are none."""
    return {}


@router.get("/embeddings")
def embeddings(comfy: ComfyHere) -> list[str]:
    """The embeddings' names, as prompts have them."""
    return [str(PurePath(name).with_suffix("")) for name in comfy.server.files.names("embeddings")]


@router.get("/models")
async def model_folders() -> list[str]:
    """The kinds of models."""
    return list(FOLDERS)


@router.get("/models/{folder}")
def models(folder: str, comfy: ComfyHere) -> list[str]:
    """The files of a kind."""
    if folder not in FOLDERS:
        raise Refused(404, "Not Found", f"there is no kind of model {folder[:60]!r}")
    return comfy.server.files.names(folder)


@router.get("/experiment/models")
def model_places(comfy: ComfyHere) -> list[dict[str, Any]]:
    """The kinds of models with their folders' names; where these lie is not told."""
    return [
        {"name": kind, "folders": [place.name for place in comfy.server.files.directories(kind)]} for kind in FOLDERS
    ]


@router.get("/experiment/models/{folder}")
def models_told(folder: str, comfy: ComfyHere) -> list[dict[str, Any]]:
    """The files of a kind, with size and times in seconds; pathIndex counts its folders."""
    if folder not in FOLDERS:
        raise Refused(404, "Not Found", f"there is no kind of model {folder[:60]!r}")
    places = comfy.server.files.directories(folder)
    found = []
    for entry in comfy.server.files.entries(folder):
        try:
            status = entry.path.stat()
        except OSError:  # removed in the meantime
            continue
        found.append(
            {
                "name": PurePath(entry.name).as_posix(),
                "pathIndex": next((at for at, place in enumerate(places) if entry.path.is_relative_to(place)), 0),
                "modified": status.st_mtime,
                "created": status.st_ctime,
                "size": status.st_size,
            }
        )
    return found


@router.get("/view_metadata/{folder}")
def view_metadata(folder: str, filename: str, comfy: ComfyHere) -> dict[str, Any]:
    """The metadata of a safetensors file."""
    if folder not in FOLDERS or not filename.endswith(".safetensors"):
        raise Refused(404, "Not Found", "there is no such file")
    entry = next((one for one in comfy.server.files.entries(folder) if one.name == filename), None)
    if entry is None or not entry.path.is_file():
        raise Refused(404, "Not Found", "there is no such file")
    found = dict(safetensors_header(entry.path)[1])
    if not found:
        raise Refused(404, "Not Found", "the file has no metadata")
    return found
