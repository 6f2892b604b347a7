"""What a request will do, said before it is run: exactly once the engine is there, by plain arithmetic until then."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hires.imaging.upscalers import LATENT_UPSCALERS
from hires.jobs.record import State
from hires.recipes.sizes import hires_size
from hires.server.state import Server
from hires.ui.choices import Choices

if TYPE_CHECKING:
    from hires.ui.foretold_exact import Exact

LATENT_NEEDS = 0.5
TOO_LARGE = 1.5
"""Times the model's own area from which one pass repeats what it draws."""
REFERENCE_PIXELS = 512 * 512
GROWTH = 1.15
"""A call's time grows a little faster than its pixels, by attention."""
JOBS_TIMED = 12
Say = Callable[[str], str]


@dataclass(frozen=True)
class Given:
    """The files that a request is drawn over; `is_apart`: each picture by a job of its own. `lack`: what has still to
    be done before it can be drawn."""

    pictures: tuple[Path, ...] = ()
    mask: Path | None = None
    is_apart: bool = False
    lack: str = ""

    @property
    def is_there(self) -> bool:
        """Whether all files are there still."""
        return all(path.is_file() for path in (*self.pictures, *([] if self.mask is None else [self.mask])))


@dataclass(frozen=True)
class Told:
    """size: of the picture that comes out; steps and calls: of all passes and pictures; shared: calls whose results are
    there already. memory: the engine's line; `is_rough`: told without the engine."""

    size: tuple[int, int] = (0, 0)
    steps: tuple[tuple[int, int], ...] = ()
    """(taken, of) for each pass."""
    calls: int = 0
    pictures: int = 1
    shared: int = 0
    seconds: float | None = None
    memory: str = ""
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_rough: bool = False


def pixels_of(size: tuple[int, int]) -> float:
    """The work of one call at a size, 1 at 512x512."""
    return float((size[0] * size[1] / REFERENCE_PIXELS) ** GROWTH)


@dataclass(frozen=True)
class Pass:
    """One sampling pass: the size it works at, steps taken and asked for, and the calls of one step."""

    size: tuple[int, int]
    taken: int
    of: int
    calls_a_step: int

    @property
    def calls(self) -> int:
        """The last step of a second-order method is one call."""
        return max(self.taken * self.calls_a_step - (self.calls_a_step == 2), 0) if self.taken else 0


def calls_a_step(sampler: str) -> int:
    """1, or 2 for a method of second order."""
    from hires.sampling.webui_names import SAMPLERS

    return 2 if any(entry.label == sampler and entry.second_order for entry in SAMPLERS) else 1


def passes_of(kind: str, body: Mapping[str, Any]) -> list[Pass]:
    """The passes of one picture of a request, by arithmetic."""
    width, height = (int(body[name]) // 8 * 8 for name in ("width", "height"))
    sampler, steps = body["sampler_name"], int(body["steps"])
    if kind == "img2img":
        denoise = float(body.get("denoising_strength", 0.75))
        taken = min(int(denoise * steps) + 1, steps) if denoise > 0 else 1
        return [Pass((width, height), taken, steps, calls_a_step(sampler))]
    passes = [Pass((width, height), steps, steps, calls_a_step(sampler))]
    if body.get("enable_hr"):
        to = (int(body.get("hr_resize_x", 0)), int(body.get("hr_resize_y", 0)))
        size = hires_size(width, height, float(body.get("hr_scale", 2.0)), *to).delivered
        second = int(body.get("hr_second_pass_steps", 0)) or steps
        taken = second if float(body.get("denoising_strength", 0.7)) > 0 else 0
        passes.append(Pass(size, taken, second, calls_a_step(body.get("hr_sampler_name") or sampler)))
    return passes


def work_of(kind: str, body: Mapping[str, Any]) -> float:
    """What drawing a request takes, in calls at 512x512."""
    count = int(body.get("n_iter", 1)) * int(body.get("batch_size", 1))
    return count * sum(one.calls * pixels_of(one.size) for one in passes_of(kind, body))


@dataclass
class Foreteller:
    """Tells what requests of one server will do. Calls are safe from any thread; they wait for no drawing."""

    server: Server
    say: Say
    _summoned: bool = False
    _exact: Exact | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.choices = Choices(self.server)

    def tell(self, kind: str, body: Mapping[str, Any], given: Given = Given()) -> Told:
        """What a request will do, over pictures in img2img. HiresError for what cannot be drawn."""
        rough = self._rough(kind, body, len(given.pictures) if given.is_apart else 1)
        if given.lack:
            rough = replace(rough, warnings=(*rough.warnings, given.lack))
        if self.server.work.engine is None:
            self._summon()
            return replace(rough, is_rough=True)
        if self._exact is None:
            from hires.ui.foretold_exact import Exact

            self._exact = Exact(self.server, self.server.work.engine)
        return self._exact.tell(kind, body, rough, given, self._is_busy())

    def _summon(self) -> None:
        """Let the engine be made beside everything else, once."""
        with self._lock:
            if not self._summoned:
                self._summoned = True
                threading.Thread(target=self.server.work.ready, name="hires-engine", daemon=True).start()

    def _rough(self, kind: str, body: Mapping[str, Any], jobs: int) -> Told:
        passes = passes_of(kind, body)
        count = jobs * int(body.get("n_iter", 1)) * int(body.get("batch_size", 1))
        seconds = self._seconds(kind, body)
        return Told(
            size=passes[-1].size,
            steps=tuple((one.taken, one.of) for one in passes),
            calls=count * sum(one.calls for one in passes),
            pictures=count,
            seconds=None if seconds is None else jobs * seconds,
            warnings=tuple(self._warnings(kind, body, passes)),
        )

    def _warnings(self, kind: str, body: Mapping[str, Any], passes: list[Pass]) -> list[str]:
        say, found = self.say, []
        tiled = "Tiled Diffusion" in body.get("alwayson_scripts", {})
        model = str(body.get("override_settings", {}).get("sd_model_checkpoint") or self.choices.checkpoint())
        native = self.choices.native_size(model)
        first, last = passes[0].size, passes[-1].size
        upscaler, denoise = str(body.get("hr_upscaler", "")), float(body.get("denoising_strength", 1.0) or 0.0)
        if body.get("enable_hr") and upscaler in LATENT_UPSCALERS and 0 < denoise < LATENT_NEEDS:
            found.append(
                say(
                    "The upscaler {name} stays blurry below a denoising strength of 0.5; Lanczos works from 0.2."
                ).replace("{name}", upscaler)
            )
        if kind == "txt2img" and not tiled and first[0] * first[1] > TOO_LARGE * native**2:
            found.append(
                say("{size} is above the model's own {native}: things appear twice. Draw smaller, with hires fix.")
                .replace("{size}", f"{first[0]}×{first[1]}")
                .replace("{native}", f"{native}×{native}")
            )
        if tiled:
            found += self._tile_warnings(body, last, native)
        return found

    def _tile_warnings(self, body: Mapping[str, Any], size: tuple[int, int], native: int) -> list[str]:
        from hires.server.scripts import named

        values = named("tiled diffusion").values(body["alwayson_scripts"]["Tiled Diffusion"]["args"])
        wide, high, overlap = (int(values[f"Latent tile {name}"]) for name in ("width", "height", "overlap"))
        found = []
        if abs(max(wide, high) * 8 - native) > native // 2:
            found.append(
                self.say("Tiles of {tile} do not fit a model for {native}: choose about its own size.")
                .replace("{tile}", f"{wide * 8}×{high * 8}")
                .replace("{native}", f"{native}×{native}")
            )
        if overlap > min(wide, high) - 8:
            found.append(self.say("The tiles overlap by more than they are large."))
        if size[0] <= wide * 8 and size[1] <= high * 8:
            found.append(self.say("The picture fits one tile, so that tiles change nothing."))
        return found

    def _seconds(self, kind: str, body: Mapping[str, Any]) -> float | None:
        """By how long the last jobs of this model took; None while there are none."""
        rates = []
        model = body.get("override_settings", {}).get("sd_model_checkpoint")
        for job in self.server.desk.store.search(states=[State.DONE], limit=4 * JOBS_TIMED):
            own = job.request.get("override_settings") or {}
            if job.kind not in ("txt2img", "img2img") or own.get("sd_model_checkpoint") != model:
                continue
            if job.request.get("script_name") or job.begun is None or job.ended is None or job.starts > 1:
                continue
            rates.append((job.ended - job.begun) / max(work_of(job.kind, job.request), 0.01))
        rates = rates[:JOBS_TIMED]
        return statistics.median(rates) * work_of(kind, body) if rates else None

    def _is_busy(self) -> bool:
        return bool(self.server.desk.store.counts()[State.RUNNING])
