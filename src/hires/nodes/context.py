"""What hires' own nodes ask of a run: models, folders, limits, the cache of sampler states."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hires.errors import SettingError
from hires.graph.context import Context
from hires.graph.kept import KeptWork, Pieces
from hires.graph.node_check import resolve_file
from hires.imaging.upscalers import PLAIN as PLAIN_UPSCALERS
from hires.metadata.files import Ledger
from hires.models.budget import Budget
from hires.models.faces.restorer import face_restorer_names, restorer_files
from hires.models.hashes import stamp
from hires.models.store import ModelStore
from hires.models.upscale_names import upscaler_file, upscaler_names
from hires.nodes.texts import EncodedTexts
from hires.sampling.meeting import Meeting
from hires.sampling.trajectories import TrajectoryCache
from hires.tiling.plan import TilePlan
from hires.tiling.upscale import Edge, Kept, Pixels

if TYPE_CHECKING:
    from hires.nodes.redraw_brush import DrawApart

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")
PLACES = ("input", "output", "temp")
"""The folders that a picture's name may point to, as ComfyUI writes it: "name.png [output]"."""


class ShareTiles(Protocol):
    """Makes the store of a network's tiles into one that has them made elsewhere."""

    def __call__(
        self, source: Pixels, plan: TilePlan, upscaler: str, scale: int, *, edge: Edge, kept: Kept | None
    ) -> Kept: ...


@dataclass
class Counts:
    """What a run cost: denoiser calls made, calls of the network over tiles that some of these are made of, sampling
    steps computed and steps taken from the cache."""

    denoiser_calls: int = 0
    tile_calls: int = 0
    computed_steps: int = 0
    reused_steps: int = 0

    def add(self, other: Counts) -> None:
        """Count what was done elsewhere."""
        for entry in fields(Counts):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))


class TempFolder:
    """The folder of previews: the one given, else one that is made on first use and removed when the process ends."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        with self._lock:
            if self._path is None:
                self._path = Path(tempfile.mkdtemp(prefix="hires-"))
                atexit.register(shutil.rmtree, self._path, ignore_errors=True)
            return self._path


@dataclass
class RunContext(Context):
    """The services of one engine, seen from a node."""

    store: ModelStore
    input_dir: Path
    output_dir: Path
    trajectories: TrajectoryCache
    max_megapixels: float = 200.0
    budget: Budget | None = None
    counts: Counts = field(default_factory=Counts)
    temp: TempFolder = field(default_factory=TempFolder)
    given: Mapping[str, Path] = field(default_factory=dict)
    """Pictures handed to the run by whoever started it: name -> file, anywhere. They stand for the input folder."""
    kept: KeptWork | None = None
    ledger: Ledger | None = None
    """Where what is written is kept account of, for work that may be begun again."""
    texts: EncodedTexts = field(default_factory=EncodedTexts)
    share: ShareTiles | None = None
    """What hands the tiles of one large picture to several workers, where there are any."""
    apart: DrawApart | None = None
    """What has them redraw tiles."""
    together: int = 1
    """How many pictures of a batch may go through the network at once."""
    meeting: Meeting | None = None
    """Where the calls of runs that go on beside this one are made together with its own."""

    def is_stopped(self) -> bool:
        """Whether the user asked the run to stop; polled before every denoiser call."""
        return self.stop is not None and self.stop.is_set()

    def pieces(self, part: str) -> Pieces | None:
        """Where this node keeps the finished tiles of a part of its work; None where nothing is kept."""
        return None if self.kept is None else Pieces(self.kept, f"{self.node_key} {part}")

    def files(self, kind: str) -> Sequence[str]:
        if kind == "input" and self.given:
            return list(self.given)
        if kind == "input":
            return folder_files(self.input_dir, PICTURES)
        if kind == "input latents":
            return folder_files(self.input_dir, (".latent",))
        if kind == "output":
            return [f"{name} [output]" for name in folder_files(self.output_dir, PICTURES)]
        if kind == "upscalers":
            return upscaler_names(self.store)
        if kind == "face restorers":
            return face_restorer_names(self.store)
        return self.store.names(kind)

    def file_identity(self, kind: str, name: str) -> str:
        if kind == "upscalers":
            if name in PLAIN_UPSCALERS:
                return name
            kind, name = "upscale_models", upscaler_file(self.store, name)
        if kind == "face restorers":
            return " ".join(f"{path} {stamp(path)}" for path in restorer_files(self.store, name))
        own = kind.startswith("input") or kind == "output"
        path = self.input_path(name) if own else self.store.find(kind, name)
        status = path.stat()
        return f"{path} {status.st_size} {status.st_mtime_ns}"

    def input_path(self, name: str) -> Path:
        """A file of the input folder; of another one for a name that ends in " [output]" or " [temp]".

        A file that is not there is looked for under another spelling, as models are. SettingError when the name leads
        out of the folder.
        """
        if name in self.given:
            return self.given[name]
        bare, place = split_place(name)
        root = {"input": self.input_dir, "output": self.output_dir}.get(place) or self.temp.path
        root = root.resolve()
        path = (root / bare).resolve()
        if not path.is_relative_to(root):
            raise SettingError(f"the {place} file {bare!r} is outside the {place} folder")
        if not path.is_file():
            found, _ = resolve_file(bare, folder_files(root, (Path(bare).suffix.lower(),)))
            return root / found if found is not None else path
        return path

    def output_folder(self, prefix: str) -> tuple[Path, str]:
        """Folder and stem for a prefix such as "sub/ComfyUI"; SettingError when it leads out of the output folder."""
        root = self.output_dir.resolve()
        path = (root / prefix.replace("\\", "/")).resolve()
        if not path.is_relative_to(root) or path == root:
            raise SettingError(f"the filename prefix {prefix!r} leads out of the output folder")
        return path.parent, path.name


def split_place(name: str) -> tuple[str, str]:
    """("a.png", "output") for "a.png [output]"; the place is "input" where none is named."""
    for place in PLACES:
        if name.endswith(f" [{place}]"):
            return name.removesuffix(f" [{place}]"), place
    return name, "input"


def folder_files(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Names below a folder with one of the suffixes, relative to it, sorted."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)
