"""The models folders: which files there are, and which one a name means. Nothing is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from hires.errors import ModelFileError
from hires.models.endings import WEIGHT_SUFFIXES
from hires.models.hashes import LORA_SHORT, HashCache, legacy_hash
from hires.models.names import (
    ALIASES,
    FOLDERS,
    Entry,
    close_names,
    folded,
    match_name,
    model_files,
    split_title,
    stem,
)

VAE_SUFFIXES = tuple(f".vae{suffix}" for suffix in WEIGHT_SUFFIXES)
"""Of a VAE that lies beside its checkpoint, as A1111 names it."""
HASHED_ON_DEMAND_BYTES = 20_000_000_000  # a name that is only a hash may cost this much reading, not more


class ModelFiles:
    """Finds models by name in one or more models folders. `cache_dir` is where hashes are remembered."""

    def __init__(self, folders: Sequence[Path], cache_dir: Path | None = None) -> None:
        self.folders = tuple(Path(folder) for folder in folders)
        self.hashes = HashCache(cache_dir)

    def directories(self, kind: str) -> tuple[Path, ...]:
        """The folders in which files of a kind are looked for; those that are there."""
        kind = ALIASES.get(kind, kind)
        if kind not in FOLDERS:
            raise ModelFileError(f"there is no kind of model {kind!r}", f"There are: {', '.join(FOLDERS)}.")
        places = [root / name for root in self.folders for name in FOLDERS[kind]]
        if kind == "embeddings":  # A1111 keeps them beside its models folder
            places += [root.parent / "embeddings" for root in self.folders if (root / "Stable-diffusion").is_dir()]
        found: dict[tuple[int, int], Path] = {}
        for place in places:
            if place.is_dir():
                status = place.stat()
                # "vae" and "VAE" are one folder where the file system ignores case
                found.setdefault((status.st_dev, status.st_ino), place)
        return tuple(found.values())

    def entries(self, kind: str) -> list[Entry]:
        """All files of a kind, by names without endings; of files with one name in several folders the first counts."""
        suffixes = (".yaml", ".yml") if kind == "configs" else WEIGHT_SUFFIXES
        entries: dict[str, Entry] = {}
        for directory in self.directories(kind):
            for path in model_files(directory, suffixes, folders=kind in ("checkpoints", "diffusers")):
                if kind == "checkpoints" and path.name.lower().endswith(VAE_SUFFIXES):
                    continue
                name = str(path.relative_to(directory))
                entries.setdefault(name, Entry(name, path))
        if kind == "vae":
            for directory in self.directories("checkpoints"):
                for path in model_files(directory, VAE_SUFFIXES, folders=False):
                    name = str(path.relative_to(directory))
                    entries.setdefault(name, Entry(name, path))
        # by stems: "sd" comes before "sd-inpainting" whatever the ending, and an editor's new loader takes the first
        return sorted(entries.values(), key=lambda entry: (stem(entry.name), entry.name))

    def names(self, kind: str) -> list[str]:
        """Names of all files of a kind, relative to their folder, sorted."""
        return [entry.name for entry in self.entries(kind)]

    def own_vae(self, checkpoint: str) -> str | None:
        """The listed VAE of a checkpoint's own name, which A1111's "Automatic" takes: beside the checkpoint or among
        the VAEs, and of several the one with nothing else in its name."""
        own = folded(stem(PurePath(checkpoint.replace("\\", "/")).name))
        called = [(folded(entry.path.name), entry.name) for entry in self.entries("vae")]
        bare = [(re.sub(r"(\.vae)?\.\w+$", "", name), entry) for name, entry in called]
        near = [(name != own, entry) for name, entry in bare if re.match(re.escape(own) + r"($|[\W_])", name)]
        return min(near)[1] if near else None

    def find(self, kind: str, name: str) -> Path:
        """The file that `name` means: a relative path with either separator, in any case, a unique file name or stem,
        "name [hash]", or a hash. Only files in the kind's folders can be meant. ModelFileError otherwise.

        Of a name and a hash that mean two files, the hash counts; a name whose hash nothing has is found by the name.
        """
        entries = self.entries(kind)
        bare, stated_hash = split_title(name)
        named = next((entry for wanted in (name, bare) if (entry := match_name(entries, wanted)) is not None), None)
        if stated_hash is None or (named is not None and self.has_hash(kind, named.path, stated_hash)):
            path = None if named is None else named.path
        else:
            path = self._by_hash(kind, entries, stated_hash) or (None if named is None else named.path)
        if path is None:
            raise self._not_found(kind, name, entries)
        return path

    def has_hash(self, kind: str, path: Path, stated: str) -> bool:
        """Whether a file's sha256 starts as stated, or it has that legacy hash; or a LoRA that of its tensors."""
        if not path.is_file():
            return False
        stated = stated.lower()
        if len(stated) == 8 and legacy_hash(path) == stated:
            return True
        return self.hashes.sha256(path).startswith(stated) or (
            kind == "loras" and self.hashes.lora(path).startswith(stated[:LORA_SHORT])
        )

    def _by_hash(self, kind: str, entries: Sequence[Entry], stated: str) -> Path | None:
        """The file with that hash."""
        files = [entry.path for entry in entries if entry.path.is_file()]
        if len(stated) == 8:
            return next((path for path in files if legacy_hash(path) == stated), None)
        if kind == "loras" and (of_tensors := self._by_lora_hash(files, stated)) is not None:
            return of_tensors
        unknown = []
        for path in files:
            known = self.hashes.known_sha256(path)
            if known is None:
                unknown.append(path)
            elif known.startswith(stated):
                return path
        if sum(path.stat().st_size for path in unknown) > HASHED_ON_DEMAND_BYTES:
            return None
        return next((path for path in unknown if self.hashes.sha256(path).startswith(stated)), None)

    def _by_lora_hash(self, files: Sequence[Path], stated: str) -> Path | None:
        if sum(path.stat().st_size for path in files) > HASHED_ON_DEMAND_BYTES:
            return None
        return next((path for path in files if self.hashes.lora(path).startswith(stated[:LORA_SHORT])), None)

    def _not_found(self, kind: str, name: str, entries: Sequence[Entry]) -> ModelFileError:
        """The error that names what is close and where it was looked for."""
        directories = self.directories(kind)
        if not directories:
            place = self.folders[0] / FOLDERS[ALIASES.get(kind, kind)][0]  # the user's own; the package's is the last
            return ModelFileError(f"no file {name!r}: there is no folder for {kind}", f"Make one: {place}.")
        searched = ", ".join(str(directory) for directory in directories)
        message = f"no file {name!r} among the {len(entries)} {kind} in {searched}"
        close = close_names(name, [entry.name for entry in entries])
        if close:
            return ModelFileError(message, f"Did you mean {' or '.join(repr(one) for one in close)}?")
        return ModelFileError(message, "Put it there or choose another.")

    def hash(self, kind: str, name: str) -> str:
        """The short hash by which infotext names a file: a LoRA's 12 hex digits, 10 for all others, "" for a folder."""
        path = self.find(kind, name)
        if path.is_dir():
            return ""
        return self.hashes.lora(path) if kind == "loras" else self.hashes.short(path)
