"""Captioners by name: which folders there are, and which one a name means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hires.errors import ModelFileError, SettingError
from hires.imaging.upscalers import same_name
from hires.models.captioners.blip import BlipCaptioner, is_blip
from hires.models.captioners.tagger import Tagger, is_tagger

if TYPE_CHECKING:
    from hires.models.store import ModelStore

KIND = "captioners"
CLIP, DEEPBOORU = ("clip", "blip"), ("deepbooru", "deepdanbooru", "tagger", "wd")
"""What the web UI and its users call the two ways of interrogating."""
Captioner = BlipCaptioner | Tagger


def captioner_folders(store: ModelStore) -> dict[str, Path]:
    """The captioners that are there, by their folders' names; BLIPs come first."""
    found = [folder for root in store.directories(KIND) for folder in _below(root)]
    ordered = sorted(found, key=lambda folder: (not is_blip(folder), folder.name.lower()))
    folders: dict[str, Path] = {}
    for folder in ordered:
        folders.setdefault(folder.name, folder)
    return folders


def _below(root: Path) -> Iterator[Path]:
    """The folders of captioners among a folder and those in it, two levels down."""
    for folder in (root, *sorted(root.glob("*/")), *sorted(root.glob("*/*/"))):
        if is_blip(folder) or is_tagger(folder):
            yield folder


def find_captioner(store: ModelStore, name: str = "") -> Path:
    """The folder that a name means: a folder's own name, "clip" for any BLIP, "deepbooru" for any tagger, "" for the
    first there is. ModelFileError says how to add one, SettingError what there is."""
    folders = captioner_folders(store)
    for title, folder in folders.items():
        if same_name(title, name):
            return folder
    wanted = name.strip().lower()
    groups = {CLIP: is_blip, DEEPBOORU: is_tagger}
    fits = next((is_it for names, is_it in groups.items() if wanted in names), None)
    if wanted and fits is None and folders:
        raise SettingError(f"there is no captioner {name!r}", f"There are: {', '.join(folders)}; or clip, deepbooru.")
    chosen = [folder for folder in folders.values() if fits is None or fits(folder)]
    if chosen:
        return chosen[0]
    root = store.folders[0]
    blip = f"a BLIP folder (config.json, model.safetensors, tokenizer) into {root / 'BLIP'}"
    tagger = f"a WD tagger's (model.onnx, selected_tags.csv) into {root / 'captioners'}"
    how = blip if fits is is_blip else tagger if fits is is_tagger else f"{blip}, or {tagger}"
    raise ModelFileError("there is no model that tells what a picture shows", f"Put {how}.")


def captioner_for(store: ModelStore, name: str = "") -> Captioner:
    """The captioner that a name means, loaded or kept; its `caption` takes a picture and gives a prompt."""
    return store.captioner(find_captioner(store, name))
