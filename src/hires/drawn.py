"""What an engine's work gave: the pictures, the files, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from hires.errors import HiresError
from hires.graph.report import RunReport
from hires.imaging.pictures import open_picture
from hires.nodes.context import Counts
from hires.recipes.extras import Extras
from hires.recipes.redraw import Redrawing
from hires.recipes.request import Txt2Img, delivered_size


@dataclass(frozen=True)
class Drawn:
    """What a request gave: the files, the pictures in the same order, and what it cost. `masks` are the files of masks
    and masked composites that img2img was asked for, in the order of their pictures."""

    request: Txt2Img
    paths: list[Path]
    pictures: list[Image.Image]
    reports: list[RunReport]
    counts: Counts
    masks: list[Path] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line: size, seed, denoiser calls, time."""
        width, height = self.pictures[-1].size if self.pictures else delivered_size(self.request)
        seconds = sum(report.seconds for report in self.reports)
        reused = f", {self.counts.reused_steps} steps reused" if self.counts.reused_steps else ""
        return (
            f"{len(self.paths)} x {width}x{height}, seed {self.request.seed}, "
            f"{self.counts.denoiser_calls} denoiser calls{reused}, {seconds:.1f} s"
            + "".join(f"; {note}" for note in [*self.seams, *self.gains])
        )

    @property
    def seams(self) -> list[str]:
        """How much the joins of tiles show, where there are any."""
        return self._notes("seam index")

    @property
    def gains(self) -> list[str]:
        """Whether pictures that could go through the network together did, and why."""
        return self._notes("calls of the network")

    def _notes(self, first: str) -> list[str]:
        """What nodes said that begins with these words."""
        notes = [note for report in self.reports for node in report.nodes.values() for note in node.notes]
        return [note for note in notes if note.startswith(first)]


@dataclass(frozen=True)
class Upscaled:
    """What enlarging a picture gave: the file, and how it was made."""

    request: Extras
    source: Path
    path: Path
    report: RunReport

    @property
    def picture(self) -> Image.Image:
        return open_picture(self.path)

    @property
    def notes(self) -> list[str]:
        """What was said on the way: how the picture was cut into tiles."""
        return [note for node in self.report.nodes.values() for note in node.notes]


@dataclass(frozen=True)
class Redrawn:
    """What redrawing a picture gave: the files, and what it cost."""

    request: Redrawing
    paths: list[Path]
    reports: list[RunReport]
    counts: Counts

    @property
    def pictures(self) -> list[Image.Image]:
        return [open_picture(path) for path in self.paths]

    @property
    def notes(self) -> list[str]:
        """What was said on the way: the tiles, and whether their joins show."""
        return [note for report in self.reports for node in report.nodes.values() for note in node.notes]

    @property
    def summary(self) -> str:
        """One line: size, seed, denoiser calls, time."""
        width, height = self.pictures[0].size
        seconds = sum(report.seconds for report in self.reports)
        return (
            f"{len(self.paths)} x {width}x{height}, seed {self.request.base.seed}, "
            f"{self.counts.denoiser_calls} denoiser calls, {seconds:.1f} s"
        )


def raise_failure(report: RunReport) -> None:
    """Raise the first failure of a run as what it was: the user's mistake with its own words, or our fault."""
    for failure in report.failures:
        if isinstance(failure.error, HiresError):
            raise failure.error
    report.raise_for_failure()


@dataclass(frozen=True)
class TokenCount:
    """A prompt's tokens: 75 for each closed chunk and those of the last, the limit they stay within, and each chunk's
    own."""

    count: int
    limit: int
    chunks: tuple[int, ...]

    def __str__(self) -> str:
        parts = f" ({' + '.join(map(str, self.chunks))})" if len(self.chunks) > 1 else ""
        return f"{self.count}/{self.limit}{parts}"
