"""The models that are there, and those that are being fetched, as HTML."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from hires.errors import HiresError
from hires.models.hashes import SHORT, stamp
from hires.models.names import Entry
from hires.ui.markup import Say, duration, size_of

if TYPE_CHECKING:
    from hires.fetching import HubFile
    from hires.models.inspection import ModelInfo
    from hires.server.fetches import Fetch
    from hires.server.state import Server

KINDS = {
    "checkpoints": "Checkpoints",
    "loras": "LoRA",
    "embeddings": "Embeddings",
    "vae": "VAE",
    "upscale_models": "Upscalers",
    "controlnet": "ControlNet",
    "hypernetworks": "Hypernetworks",
    "face_restorers": "Faces",
    "text_encoders": "Text encoders",
}
STATES = {"running": "running", "done": "done", "failed": "failed", "stopped": "stopped"}


class Inspected:
    """What is known of model files, asked anew only where a file has changed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[tuple[Path, str], ModelInfo] = {}

    def of(self, entry: Entry, *, with_hash: bool) -> ModelInfo:
        """Kind, family, precision, size; the hash where it is known or wanted."""
        from dataclasses import replace

        from hires.models.inspection import inspect

        hashes = self._server.files.hashes
        try:
            key = (entry.path, stamp(entry.path) if entry.path.is_file() else "")
        except HiresError:
            key = (entry.path, "")
        if key not in self._known:
            self._known[key] = inspect(entry.path, hashes, name=entry.name, with_hash=False)
        info = self._known[key]
        if not entry.path.is_file() or info.problem:
            return info
        known = hashes.known_sha256(entry.path)
        if with_hash and known is None:
            known = hashes.sha256(entry.path)
        return replace(info, hash=known[:SHORT] if known else "")


def models_html(server: Server, inspected: Inspected, say: Say, *, with_hash: bool = False) -> str:
    """A table for each kind of which there are files."""
    parts = []
    for kind, title in KINDS.items():
        entries = server.files.entries(kind)
        rows = [_row(inspected.of(entry, with_hash=with_hash), say) for entry in entries]
        if not rows:
            continue
        heads = "".join(f"<th>{escape(say(one))}</th>" for one in ("Name", "Family", "Precision", "File size", "Hash"))
        parts.append(
            f"<h3>{escape(say(title))} ({len(rows)})</h3><div class='wide'><table><thead><tr>{heads}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
    return "".join(parts)


def _row(info: ModelInfo, say: Say) -> str:
    name = escape(info.name)
    if info.problem:
        return f"<tr><td>{name}</td><td colspan='4' class='error'>{escape(say('cannot be used'))}</td></tr>"
    return (
        f"<tr><td>{name}</td><td>{escape(info.family or info.kind)}</td><td>{escape(info.precision)}</td>"
        f"<td class='number'>{size_of(info.size)}</td><td><code>{escape(info.hash)}</code></td></tr>"
    )


def stated_html(file: HubFile, kind: str, say: Say) -> str:
    """What fetching a file will take."""
    title = say(KINDS.get(kind, kind))
    return (
        f'<div class="stated"><p><b>{escape(file.name)}</b> · {size_of(file.bytes)} → {escape(title)}</p>'
        f"<p>{escape(file.repository)} ({escape(file.revision)}) · sha256 <code>{escape(file.sha256[:16])}…</code></p>"
        "</div>"
    )


def fetches_html(fetches: list[Fetch], clean: Callable[[str], str], say: Say) -> str:
    """The downloads, the last one first; `clean` takes paths out of what went wrong."""
    return "".join(_fetch(number, one, clean, say) for number, one in reversed(list(enumerate(fetches))))


def _fetch(number: int, one: Fetch, clean: Callable[[str], str], say: Say) -> str:
    facts = [say(STATES[one.state]), f"{size_of(one.done)} / {size_of(one.file.bytes)}"]
    if (left := one.seconds_left) is not None:
        facts.append(f"{duration(left)} {say('left')}")
    stop = bar = ""
    if one.state == "running":
        stop = f'<button type="button" data-stop="{number}">{escape(say("Stop"))}</button>'
        bar = f'<div class="bar"><i style="width:{100 * one.done / max(one.file.bytes, 1):.1f}%"></i></div>'
    error = f'<div class="error">{escape(clean(one.error))}</div>' if one.error else ""
    return (
        f'<div class="fetch {one.state}"><div><b>{escape(one.file.name)}</b> · {escape(" · ".join(facts))}{error}</div>'
        f"{stop}{bar}</div>"
    )
