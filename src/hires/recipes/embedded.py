"""Embeddings that prompts name: those under another file name found by hash, and the hashes of those in use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hires.errors import ModelFileError
from hires.models.inspection import text_widths
from hires.models.store import ModelStore
from hires.recipes.facts import NATIVE_SIZE_UNKNOWN, ModelFacts
from hires.recipes.networks import EMBEDDING, embedding_key, without_tags
from hires.recipes.request import Txt2Img
from hires.text.embeddings import Trigger, load_embedding, short_hash, triggers
from hires.text.tokenizer import tokenize


def renamed_embeddings(request: Txt2Img, folders: Sequence[Path]) -> dict[str, str]:
    """Of the embeddings whose hash the request states: name in its prompts -> name of the file that has the hash here,
    where no file has the name."""
    stated = {key.removeprefix(EMBEDDING): h for key, h in request.hashes.items() if key.startswith(EMBEDDING)}
    if not stated or not folders:
        return {}
    here = list(_each(triggers(folders)))
    names = {trigger.ids for trigger in here}
    missing = {name: hash_ for name, hash_ in stated.items() if tuple(tokenize(name)) not in names}
    found = {name: with_hash(here, hash_) for name, hash_ in missing.items()}
    return {name: trigger.name for name, trigger in found.items() if trigger is not None}


def with_hash(here: Iterable[Trigger], stated: str) -> Trigger | None:
    """The embedding whose file has a hash that begins as stated."""
    return next((t for t in here if short_hash(t.path).startswith(stated[:12].lower())), None)


def with_renamed(request: Txt2Img, names: Mapping[str, str]) -> Txt2Img:
    """The request whose prompts name these embeddings as their files are called here."""

    def renamed(text: str) -> str:
        for old, new in names.items():
            pattern = rf"(?<!\w){re.escape(old)}(?!\w)"
            text = re.sub(pattern, new.replace("\\", r"\\"), text, flags=re.IGNORECASE)
        return text

    if not names:
        return request
    hires = request.hires
    if hires is not None:
        hires = replace(hires, prompt=renamed(hires.prompt), negative=renamed(hires.negative))
    return replace(request, prompt=renamed(request.prompt), negative=renamed(request.negative), hires=hires)


def embedding_facts(request: Txt2Img, store: ModelStore) -> dict[str, ModelFacts]:
    """The facts of the embeddings that the prompts name and that fit the model, each once, for `TI hashes`."""
    folders = store.directories("embeddings")
    if not folders or request.dialect != "webui":
        return {}
    table = triggers(folders)
    prompts = [request.prompt, request.negative]
    prompts += [request.hires.prompt, request.hires.negative] if request.hires is not None else []
    named = {t.name: t.path for text in prompts for t in named_in(tokenize(without_tags(text)), table)}
    if not named:
        return {}
    try:
        widths = text_widths(store.find("checkpoints", request.checkpoint or ""))
    except ModelFileError:  # described, not drawn: the model is not here
        return {}
    return {
        embedding_key(name): ModelFacts(path.name, short_hash(path), "", NATIVE_SIZE_UNKNOWN)
        for name, path in named.items()
        if _fits(path, widths)
    }


def named_in(tokens: Sequence[int], table: Mapping[int, Sequence[Trigger]]) -> list[Trigger]:
    """The embeddings whose names stand in a row of tokens; of several that begin at a token the longest."""
    found, position = [], 0
    while position < len(tokens):
        here = [t for t in table.get(tokens[position], ()) if tuple(tokens[position : position + len(t.ids)]) == t.ids]
        found += here[:1]
        position += len(here[0].ids) if here else 1
    return found


def _each(table: Mapping[int, Sequence[Trigger]]) -> Iterable[Trigger]:
    return (trigger for entries in table.values() for trigger in entries)


def _fits(path: Path, widths: set[int]) -> bool:
    try:
        vectors = load_embedding(path).vectors
    except ModelFileError:
        return False
    return {int(tensor.shape[-1]) for tensor in vectors.values()} == widths
