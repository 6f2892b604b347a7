"""Other people's nodes: a folder of Python files and packages, loaded because the user named it.

A file or package brings nodes as functions declared by `hires.graph.declare.node`, as ComfyUI's classes listed in
NODE_CLASS_MAPPINGS, or both. What cannot be loaded is told in one line and the rest is loaded all the same.

Loading a pack runs its code with all rights of the user. Nothing is loaded from a folder that was not named.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hires.errors import SettingError
from hires.graph.comfy import comfy_class
from hires.graph.declare import NodeType, Registry, node_types_of

MODULE_PREFIX = "hires_custom_nodes_"
COMFYUI_MODULES = (
    "comfy", "comfy_api", "comfy_extras", "execution", "folder_paths", "latent_preview", "nodes", "server",
)  # fmt: skip


@dataclass(frozen=True)
class CustomNodes:
    """What a folder gave: the nodes, the packs they came from in order, and what was wrong, a line each."""

    registry: Registry
    packs: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def load_custom_nodes(folder: Path, built_in: Mapping[str, NodeType]) -> CustomNodes:
    """Load every pack of a folder. A node whose name is taken, by hires or by an earlier pack, is left out and told.

    Raises SettingError when there is no such folder.
    """
    if not folder.is_dir():
        raise SettingError(f"there is no folder of custom nodes {folder}", "Correct custom_nodes_dir.")
    owners: dict[str, str] = dict.fromkeys(built_in, "hires itself")
    found: list[NodeType] = []
    packs: list[str] = []
    problems: list[str] = []
    for path in _packs(folder):
        try:
            module = _load(path)
        except (Exception, SystemExit) as error:
            problems.append(f"custom nodes {path.name} were not loaded: {_reason(error)}")
            continue
        given = list(_nodes(module, path.name, problems))
        if not given:
            problems.append(f"custom nodes {path.name} bring no nodes")
            continue
        packs.append(path.name)
        for node_type in given:
            owner = owners.setdefault(node_type.name, path.name)
            if owner != path.name or node_type.name in {entry.name for entry in found}:
                problems.append(
                    f"custom nodes {path.name}: the node {node_type.name!r} was left out, {owner} has one of that name"
                )
                continue
            found.append(node_type)
    return CustomNodes(Registry(found), tuple(packs), tuple(problems))


def _packs(folder: Path) -> Iterator[Path]:
    """The files and packages of the folder by name; hidden and disabled ones and helpers (`_x.py`) are not."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.name.endswith(".disabled"):
            continue
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            yield path


def _load(path: Path) -> ModuleType:
    """Import the pack under a name of its own, a package so that its relative imports work."""
    name = MODULE_PREFIX + "".join(letter if letter.isalnum() else "_" for letter in path.stem)
    package = path.is_dir()
    spec = importlib.util.spec_from_file_location(
        name,
        path / "__init__.py" if package else path,
        submodule_search_locations=[str(path)] if package else None,
    )
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    for loaded in [entry for entry in sys.modules if entry == name or entry.startswith(f"{name}.")]:
        del sys.modules[loaded]  # of another folder, or of the file as it was before
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _nodes(module: ModuleType, pack: str, problems: list[str]) -> Iterator[NodeType]:
    for value in list(vars(module).values()):
        yield from node_types_of(value)
    classes = getattr(module, "NODE_CLASS_MAPPINGS", {})
    titles = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", {})
    for name, cls in _items(classes):
        try:
            yield comfy_class(cls, str(name), dict(_items(titles)).get(name), f"custom_nodes.{Path(pack).stem}")
        except Exception as error:  # whatever a class of other people's raises when it is asked for its inputs
            problems.append(f"custom nodes {pack}: the node {name!r} was left out: {_reason(error)}")


def _items(mapping: Any) -> Iterable[tuple[Any, Any]]:
    return mapping.items() if isinstance(mapping, Mapping) else ()


def _reason(error: BaseException) -> str:
    """One line; for code that wants ComfyUI itself, that."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        top = error.name.partition(".")[0]
        if top in COMFYUI_MODULES:
            return f"it needs ComfyUI's own module {error.name!r}, which hires does not have"
        if top.startswith(MODULE_PREFIX):
            return f"its own part {error.name.partition('.')[2]!r} is missing"
        return f"it needs the Python package {top!r}, which is not installed"
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
