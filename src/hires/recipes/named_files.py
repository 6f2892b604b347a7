"""The model files that a record names, and whether they are here: by their name, or by their hash under another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hires.errors import HiresError
from hires.graph.declare import Registry
from hires.graph.inputs import FileChoice
from hires.graph.workflow import Workflow
from hires.imaging.upscalers import LATENT_UPSCALERS, PLAIN, same_name
from hires.models.names import FOLDERS, Entry, match_name, split_title
from hires.models.store import ModelStore
from hires.models.upscale_names import find_upscaler
from hires.recipes.embedded import with_hash
from hires.recipes.networks import EMBEDDING, fact_key, hypernetwork_names, lora_names
from hires.recipes.request import Txt2Img
from hires.text.embeddings import short_hash, triggers
from hires.text.tokenizer import tokenize

UPSCALERS = "upscale_models"


@dataclass(frozen=True)
class NamedFile:
    """A file as a record names it. role in words ("model", "LoRA"); kind as the models folders are; hash "" if none."""

    role: str
    kind: str
    name: str
    hash: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} [{self.hash}]" if self.hash else self.name


@dataclass(frozen=True)
class LookedUp:
    """What there is of a named file: its listed name here ("" if none), its hash, whether that is the stated one."""

    named: NamedFile
    found: str = ""
    hash: str = ""
    same_hash: bool = True

    @property
    def state(self) -> str:
        """here, renamed (found by its hash), other (of the name, with another hash), missing."""
        if not self.found:
            return "missing"
        if not self.same_hash:
            return "other"
        return "here" if _same_stem(self.found, self.named.name) else "renamed"

    def line(self) -> str:
        """One line: "model X [hash]: found as Y"."""
        says = {
            "here": "here",
            "renamed": f"found as {self.found}",
            "other": f"{self.found} is here with another hash, {self.hash}",
            "missing": "not here",
        }
        return f"{self.named.role} {self.named.title}: {says[self.state]}"


def named_in_request(request: Txt2Img) -> list[NamedFile]:
    """What a request names, each file once in each role."""
    found = [_titled("model", "checkpoints", request.checkpoint), _titled("VAE", "vae", request.vae)]
    if request.refiner is not None:
        found.append(_titled("refiner", "checkpoints", request.refiner.checkpoint))
    if request.hires is not None:
        found.append(_titled("hires model", "checkpoints", request.hires.checkpoint))
        plain = (*LATENT_UPSCALERS, *PLAIN)
        if not any(same_name(request.hires.upscaler, name) for name in plain):
            found.append(NamedFile("upscaler", UPSCALERS, request.hires.upscaler))
    found += [NamedFile("LoRA", "loras", name, request.hashes.get(fact_key(name), "")) for name in lora_names(request)]
    found += [NamedFile("hypernetwork", "hypernetworks", name) for name in hypernetwork_names(request)]
    embedded = {key.removeprefix(EMBEDDING): h for key, h in request.hashes.items() if key.startswith(EMBEDDING)}
    found += [NamedFile("embedding", "embeddings", name, hash_) for name, hash_ in embedded.items()]
    return [named for named in found if named is not None]


def named_in_workflow(workflow: Workflow, registry: Registry) -> list[NamedFile]:
    """What the nodes of a workflow name, each file once; of nodes that hires knows."""
    found: dict[tuple[str, str], NamedFile] = {}
    for node in workflow.nodes.values():
        node_type = registry.get(node.class_type or "")
        for entry in () if node_type is None else node_type.inputs:
            choice, name = entry.declaration, node.inputs.get(entry.name)
            if not isinstance(choice, FileChoice) or not isinstance(name, str) or name in ("", *choice.also):
                continue
            kind = UPSCALERS if choice.kind == "upscalers" else choice.kind
            if kind in FOLDERS and not (kind == UPSCALERS and name in PLAIN):
                found.setdefault((kind, name), NamedFile(ROLES.get(kind, kind), kind, name))
    return list(found.values())


ROLES = {"checkpoints": "model", "vae": "VAE", "loras": "LoRA", UPSCALERS: "upscaler", "controlnet": "ControlNet"}


def _titled(role: str, kind: str, title: str | None) -> NamedFile | None:
    if not title:
        return None
    name, hash_ = split_title(title)
    return NamedFile(role, kind, name, hash_ or "")


def look_up(store: ModelStore, named: NamedFile) -> LookedUp:
    """Whether a named file is here. Hashes of files are computed where the record states one."""
    if named.kind == "embeddings":
        return _embedding(store, named)
    if named.kind == UPSCALERS:
        return _upscaler(store, named)
    try:
        path = store.find(named.kind, named.title)
    except HiresError:
        return LookedUp(named)
    listed = next(entry.name for entry in store.entries(named.kind) if entry.path == path)
    if not named.hash:
        return LookedUp(named, listed)
    own = store.hash(named.kind, listed)
    return LookedUp(named, listed, own, not own or store.has_hash(named.kind, path, named.hash))


def _upscaler(store: ModelStore, named: NamedFile) -> LookedUp:
    """Upscalers have titles beside their files' names; either is the file itself, never one renamed."""
    try:
        find_upscaler(store, named.name)
    except HiresError:
        return LookedUp(named)
    return LookedUp(named, named.name)


def _embedding(store: ModelStore, named: NamedFile) -> LookedUp:
    folders = store.directories("embeddings")
    here = [trigger for entries in triggers(folders).values() for trigger in entries] if folders else []
    own = next((trigger for trigger in here if trigger.ids == tuple(tokenize(named.name))), None)
    if own is not None:
        hash_ = short_hash(own.path)
        return LookedUp(named, own.name, hash_, not named.hash or hash_.startswith(named.hash[:12].lower()))
    other = with_hash(here, named.hash) if named.hash else None
    return LookedUp(named) if other is None else LookedUp(named, other.name, short_hash(other.path))


def look_up_all(store: ModelStore, named: Sequence[NamedFile]) -> list[LookedUp]:
    """Each in its order."""
    return [look_up(store, one) for one in named]


def _same_stem(listed: str, name: str) -> bool:
    """Whether a listed file is the one of a name, whatever its folder, ending and case."""
    return match_name([Entry(listed, Path(listed.replace("\\", "/")))], name) is not None
