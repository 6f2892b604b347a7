"""The pictures of jobs as files, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path

from hires.errors import HiresError
from hires.jobs.record import Job
from hires.metadata.infotext import read_infotext
from hires.metadata.workflows import file_texts
from hires.server.state import Server

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif")
FIRST_PASS = "before-highres-fix"
NEAREST = 20
"""First passes that are looked at for the one of a picture."""


def pictures_of(server: Server, job: Job) -> list[Path]:
    """The pictures of a job that are still there, without those of first passes."""
    folder = server.settings.output_dir.absolute()
    found = [folder / name for name in job.results]
    return [
        path for path in found if path.suffix.lower() in PICTURES and FIRST_PASS not in path.name and path.is_file()
    ]


def infotext_of(path: Path) -> str:
    """What a picture says of itself; nothing where it says nothing."""
    try:
        return file_texts(path).get("parameters", "")
    except HiresError:
        return ""


def seed_of(path: Path) -> int | None:
    """The seed that a picture states."""
    stated = read_infotext(infotext_of(path)).fields.get("Seed", "")
    return int(stated) if stated.isdecimal() else None


def first_pass_of(path: Path) -> Path | None:
    """The picture before the second pass: the last one before it with its seed; None where it was not kept."""
    if "Hires upscaler" not in infotext_of(path):
        return None
    seed, made = seed_of(path), path.stat().st_mtime
    others = [(other.stat().st_mtime, other) for other in path.parent.glob(f"*{FIRST_PASS}*")]
    nearest = sorted((one for one in others if one[0] <= made), reverse=True)[:NEAREST]
    return next((other for _, other in nearest if seed_of(other) == seed), None)
