"""Model files from a hub, by name: their size told before, their hash checked after, nothing half-written.

A file is named owner/repository/file, with @revision behind the repository where another than `main` is meant, or by
the address of its page. The hub states its sha256 and size; what comes is written under a temporary name and gets its
own only when both agree.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hires.errors import HiresError, Interrupted, ModelFileError, OutputError, SettingError
from hires.metadata.files import write_new
from hires.models.endings import SAFETENSORS_SUFFIXES, WEIGHT_SUFFIXES
from hires.models.hashes import sha256
from hires.models.names import FOLDERS

if TYPE_CHECKING:
    from hires.models.files import ModelFiles

KINDS = ("checkpoints", "loras", "embeddings", "vae", "upscale_models", "controlnet", "face_restorers", "text_encoders")
"""What can be fetched, by the folders it goes to."""
NAME = re.compile(r"([\w.-]+)/([\w.-]+?)(?:@([\w./-]+?))?/([^@]+)")
PAGE = re.compile(r"/([\w.-]+)/([\w.-]+)/(?:resolve|blob|raw)/([^/]+)/(.+)")
SHA256 = re.compile(r"[0-9a-f]{64}")
SECONDS_TO_ANSWER = 15.0
ROOM_LEFT = 50_000_000
"""Bytes that stay free on the disk beside the file."""


class HubError(HiresError):
    """The hub could not be reached, or has no such file for us."""


@dataclass(frozen=True)
class HubFile:
    """A file of a hub: owner/name, its path there, the revision. bytes and sha256 as the hub states them."""

    repository: str
    path: str
    revision: str
    address: str
    bytes: int = 0
    sha256: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.path).name


def hub_file(text: str, endpoint: str | None = None, *, any_format: bool = False) -> HubFile:
    """The file that a name or an address means; nobody is asked. SettingError where it means none, or one of a format
    that can hold programs, unless `any_format`."""
    from huggingface_hub import hf_hub_url

    text = text.strip()
    address = urlsplit(text)
    match = PAGE.fullmatch(unquote(address.path)) if address.scheme in ("http", "https") else None
    if match is not None:
        owner, name, revision, path = match.groups()
    elif (match := NAME.fullmatch(text)) is not None and "://" not in text:
        owner, name, revision, path = match[1], match[2], match[3] or "main", match[4]
    else:
        raise SettingError(f"{text[:80]!r} names no file of a hub", "Write owner/repository/file.safetensors.")
    parts = PurePosixPath(path).parts
    if not parts or any(part.startswith(".") or "\\" in part or ":" in part for part in parts) or path.startswith("/"):
        raise SettingError(f"{path[:80]!r} is no file's name")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in WEIGHT_SUFFIXES:
        raise SettingError(f"{parts[-1]} is no file of weights", f"They end in {', '.join(WEIGHT_SUFFIXES)}.")
    if suffix not in SAFETENSORS_SUFFIXES and not any_format:
        raise SettingError(
            f"{parts[-1]} is of a format that can hold programs", "Take a .safetensors file, or say that it is meant."
        )
    with _told_plainly(f"{owner}/{name}"):
        found = hf_hub_url(f"{owner}/{name}", path, revision=revision, endpoint=endpoint)
    return HubFile(f"{owner}/{name}", path, revision, found)


def stated(file: HubFile) -> HubFile:
    """The file with its size and sha256, as the hub says. HubError where it cannot be reached or has no such file."""
    from huggingface_hub import get_hf_file_metadata

    with _told_plainly(f"{file.repository}/{file.path}"):
        known = get_hf_file_metadata(file.address, timeout=SECONDS_TO_ANSWER)
    digest = str(known.etag or "").lower()
    if SHA256.fullmatch(digest) is None or not known.size:
        raise HubError(f"the hub states no sha256 of {file.name}, so that it could not be checked")
    return HubFile(file.repository, file.path, file.revision, file.address, int(known.size), digest)


def target_of(files: ModelFiles, kind: str, file: HubFile) -> Path:
    """Where a file goes: the user's folder of its kind, ComfyUI's name for it where there is none. OutputError where a
    file of its name is there already, or the disk cannot take it."""
    if kind not in KINDS:
        raise SettingError(f"there is no kind of model {kind!r}", f"Use one of {', '.join(KINDS)}.")
    root = files.folders[0]
    own = [folder for folder in files.directories(kind) if folder.is_relative_to(root)]
    target = (own[0] if own else root / FOLDERS[kind][0]) / file.name
    if target.exists():
        raise OutputError(f"{file.name} is there already among the {kind}", "Rename the old one to fetch it again.")
    here = next((parent for parent in target.absolute().parents if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(here).free
    if free < file.bytes + ROOM_LEFT:
        raise OutputError(
            f"no space left for {file.name}: it takes {file.bytes / 1e6:.0f} MB and {free / 1e6:.0f} MB are free",
            "Free some disk space.",
        )
    return target


def fetch(
    file: HubFile,
    target: Path,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fetch a stated file to `target`. on_progress takes the bytes that are there and those there will be. HubError,
    OutputError, ModelFileError where the hash differs; Interrupted once `stop` is set: nothing is left then."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars()  # ours is on the page

    def write(path: Path) -> None:
        with Told(path, file.bytes, stop or threading.Event(), on_progress) as out, _told_plainly(file.name):
            http_get(file.address, out, headers=build_hf_headers(), expected_size=file.bytes)
        if (found := sha256(path)) != file.sha256:
            raise ModelFileError(
                f"{file.name} is not what the hub states: its sha256 begins with {found[:10]}, not {file.sha256[:10]}",
                "It was thrown away; fetch it again.",
            )

    try:
        return write_new(target, write)
    except FileExistsError as error:
        raise OutputError(f"{target.name} is there already") from error


class Told(FileIO):
    """A file that tells how much of it is written, and stops being written when that is wanted."""

    def __init__(
        self, path: Path, whole: int, stop: threading.Event, on_progress: Callable[[int, int], None] | None
    ) -> None:
        super().__init__(path, "xb+")
        self._whole, self._stop, self._on_progress = whole, stop, on_progress

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self._stop.is_set():
            raise Interrupted("the download was stopped")
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        if self.tell() > self._whole:
            raise HubError("the hub sends more than it stated")
        if self._on_progress is not None:
            self._on_progress(self.tell(), self._whole)
        return len(data)


@contextmanager
def _told_plainly(name: str) -> Iterator[None]:
    """The hub's errors in one line each."""
    from huggingface_hub import errors

    try:
        yield
    except (HiresError, Interrupted):
        raise
    except errors.GatedRepoError as error:
        raise HubError(
            f"{name}: its owner wants to be asked first", "Ask on its page, and log in to the hub."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"{name}: there is no such repository, or it is private", "Correct the name.") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{name}: there is no such revision", "Correct what is behind the @.") from error
    except errors.EntryNotFoundError as error:
        raise HubError(f"{name}: there is no such file in the repository", "Correct the name.") from error
    except errors.HFValidationError as error:
        raise SettingError(f"{name} names no file of a hub", "Write owner/repository/file.safetensors.") from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "an error")
        raise HubError(f"the hub answers {status} for {name}", "Try again later.") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError("the hub is not asked: this machine is set to be offline", "Unset HF_HUB_OFFLINE.") from error
    except OSError as error:
        if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise  # of the disk
        raise _unreachable(error) from error
    except Exception as error:
        # whichever HTTP library the hub's client is built on: its errors have no common root with ours
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
            raise
        raise _unreachable(error) from error


def _unreachable(error: BaseException) -> HubError:
    return HubError(f"the hub cannot be reached ({type(error).__name__})", "Is this machine online?")
