"""Drawing grids: each cell once, in the order in which cells share most, with a record from which it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from hires.drawn import Drawn
from hires.errors import HiresError, Interrupted, SettingError, is_disk_full
from hires.graph.report import Said
from hires.gridding.planning import Draws, OnEvent, PlannedGrid, plan_grid
from hires.imaging.pictures import open_picture
from hires.metadata.files import output_error, picture_texts
from hires.recipes.grids.axes import Request, base_of, with_base
from hires.recipes.grids.axis_table import NOTHING
from hires.recipes.grids.composite import write_composites
from hires.recipes.grids.measuring import measure_cell
from hires.recipes.grids.noise import noise_floor
from hires.recipes.grids.page import write_page
from hires.recipes.grids.plot import write_plot
from hires.recipes.grids.record import (
    CELLS,
    DONE,
    FAILED,
    CellRecord,
    GridRecord,
    axes_data,
    cell_record,
    new_record,
    read_record,
    settings_of,
    title_of,
)
from hires.recipes.grids.request import DIRECTIONS, AxisValues, Cell, Expanded, GridRequest
from hires.recipes.img2img_request import Img2Img
from hires.workers.placing import Mixed
from hires.workers.spread import each

FIRST_PASS = "txt2img-before-highres-fix"
UNFINISHED = ".drawing"
"""The folder that a cell is drawn into; what a killed run left in it is thrown away."""
REPEATED_SEEDS = 1000
"""Seeds of the noise floor are so far from the cell's, beyond what a grid counts on."""


@dataclass(frozen=True)
class CellDone:
    """A cell is finished: the number-th of count; and for how long the rest may take, in seconds."""

    cell: CellRecord
    number: int
    count: int
    seconds_left: float

    def describe(self) -> str:
        """One line for a person."""
        labels = ", ".join(self.cell.labels) or "the cell"
        what = f"{self.cell.calls} denoiser calls, {self.cell.seconds:.1f} s"
        if self.cell.reused:
            what = f"{self.cell.reused} steps reused, {what}"
        if self.cell.state == FAILED:
            what = f"failed: {self.cell.error}"
        left = f"; about {_duration(self.seconds_left)} left" if self.number < self.count else ""
        return f"[{self.number}/{self.count}] {labels}: {what}{left}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


OnCell = Callable[[CellDone], None]


@dataclass(frozen=True)
class Gridded:
    """A drawn grid: its folder and its record."""

    record: GridRecord

    @property
    def folder(self) -> Path:
        return self.record.folder

    @property
    def paths(self) -> list[Path]:
        """In the web UI's order: the grid, then its planes and its cells where they were asked for."""
        names = [*self.record.parts, *self.record.sub_grids]
        if self.record.request.options.sub_images:
            names += [name for cell in self.record.cells for name in cell.pictures]
        return [self.folder / name for name in names]

    @property
    def infotexts(self) -> list[str]:
        """Of `paths`."""
        return [picture_texts(open_picture(path)).get("parameters", "") for path in self.paths]

    @property
    def failed(self) -> list[CellRecord]:
        return self.record.with_state(FAILED)

    @property
    def summary(self) -> str:
        """One line: cells, denoiser calls, steps reused, time."""
        cells = self.record.cells
        calls, reused = sum(cell.calls for cell in cells), sum(cell.reused for cell in cells)
        seconds = sum(cell.seconds for cell in cells)
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{len(cells)} cells{failed}, {calls} denoiser calls, {reused} steps reused, {seconds:.1f} s"


def draw_grid(
    engine: Draws,
    request: GridRequest,
    *,
    on_event: OnEvent | None = None,
    on_cell: OnCell | None = None,
    on_folder: Callable[[Path], None] | None = None,
    noise_repeats: int = 0,
) -> Gridded:
    """Draw a grid into a new folder `grid_00001` ... of the outputs. Raises the user's errors as HiresError.

    A cell that fails is told in the record, and the others are drawn; where the disk is full, the grid ends.
    `on_folder` is told of the folder before it is made. noise_repeats draws the first cell with so many
    other seeds, from which the record tells what another seed alone would change.
    """
    plan = plan_grid(engine, request)
    folder = _new_folder(engine.settings.output_dir, on_folder)
    record = new_record(folder, plan.request, plan.cells, datetime.now(UTC).isoformat(timespec="seconds"))
    return _drawn(engine, record, plan, on_event, on_cell, noise_repeats)


def continued(engine: Draws, folder: Path, axes: Sequence[AxisValues | None] = ()) -> tuple[GridRecord, PlannedGrid]:
    """The record of a folder with its plan; axes that are given take the place of its own, as with one more value.

    Cells that ask for the same as one that was drawn are taken over.
    """
    old = read_record(folder)
    own = list(old.request.axes)
    for place, axis in enumerate(axes):
        own += [AxisValues(NOTHING)] * (place + 1 - len(own))
        own[place] = axis or own[place]
    drawn = {cell.key: cell for cell in old.cells if cell.state == DONE}
    plan = plan_grid(engine, replace(old.request, axes=tuple(own)), old.request, drawn)
    _check_extended(old, plan.cells)
    title, axes_now = title_of(plan.cells), axes_data(plan.request, plan.cells)
    record = replace(old, title=title, request=plan.request, axes=axes_now, cells=[])
    for cell in plan.cells.cells:
        made = cell_record(cell)
        if made.key in drawn:
            made.take(drawn[made.key])
        record.cells.append(made)
    return record, plan


def _check_extended(old: GridRecord, cells: Expanded) -> None:
    """A grid grows by values; nothing that it shows is taken away from it."""
    for before, line, direction in zip(old.axes, cells.lines, DIRECTIONS, strict=False):
        if before["label"] not in (line.label, NOTHING):
            raise SettingError(
                f"the {direction} axis of the grid in {old.folder.name} is {before['label']}, not {line.label}",
                "Draw another grid for that.",
            )
        gone = [value for value in before["values"] if value and value not in line.values]
        if gone:
            raise SettingError(
                f"the grid in {old.folder.name} has {before['label']} {gone[0]} too",
                "Name its values and the new ones.",
            )


def continue_grid(
    engine: Draws,
    folder: Path,
    axes: Sequence[AxisValues | None] = (),
    *,
    on_event: OnEvent | None = None,
    on_cell: OnCell | None = None,
    noise_repeats: int = 0,
) -> Gridded:
    """Draw what is missing of a grid: after a stop, a crash or failed cells, or for axes with more values."""
    record, plan = continued(engine, folder, axes)
    return _drawn(engine, record, plan, on_event, on_cell, max(noise_repeats, len(record.repeats)))


def _new_folder(outputs: Path, on_folder: Callable[[Path], None] | None) -> Path:
    number = 1
    while True:
        folder = outputs / f"grid_{number:05}"
        if folder.exists():
            number += 1
            continue
        if on_folder is not None:
            on_folder(folder)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise output_error(folder, error) from error


def _drawn(
    engine: Draws,
    record: GridRecord,
    plan: PlannedGrid,
    on_event: OnEvent | None,
    on_cell: OnCell | None,
    noise_repeats: int,
) -> Gridded:
    """Draw the missing cells, then the pictures of the whole. A fault of ours is raised after the last cell."""
    record.save()
    left = plan.left
    fault: Exception | None = None
    began, calls, all_calls = perf_counter(), 0, sum(plan.costs[cell.index].shared for cell in left)
    with closing(_cells(engine, record, plan, on_event)) as drawings:
        for number, (cell, drawn) in enumerate(drawings, start=1):
            own = record.at(cell.index)
            try:
                _finish_cell(record, own, drawn)
            except (Interrupted, KeyboardInterrupt):
                raise
            except Exception as error:
                if is_disk_full(error):
                    raise
                fault = fault if isinstance(error, HiresError) else fault or error
                own.state = FAILED
                own.error = str(error) if isinstance(error, HiresError) else f"a fault in hires: {error!r}"[:500]
            record.save()
            calls += plan.costs[cell.index].shared
            rest = (all_calls - calls) / calls if calls else len(left) / number - 1
            if on_cell is not None:
                on_cell(CellDone(own, number, len(left), (perf_counter() - began) * rest))
    _repeat(engine, record, plan, on_event, noise_repeats)
    _show(record, plan.cells)
    if fault is not None:
        raise fault
    return Gridded(record)


def _cells(
    engine: Draws, record: GridRecord, plan: PlannedGrid, on_event: OnEvent | None
) -> Generator[tuple[Cell, Drawn | Exception]]:
    """The cells that are left, each with what was drawn or why it was not.

    Where there are workers, or where cells go through the network together, several are drawn at once, those that have
    steps in common by the same one. The first comes first, as others are measured against it.
    """
    with _scratch(record.folder) as scratch, engine.each_lane(meeting=True) as lanes:
        groups = plan.groups() if len(lanes) > 1 else [list(plan.left)]
        mixed = Mixed(on_event) if on_event is not None and len(lanes) > 1 else None

        def draw(lane: Draws, cell: Cell) -> Drawn:
            place = "-".join(map(str, cell.index))
            with lane.writing_to(scratch / place):
                return _job(lane, record.request, cell.request, on_event if mixed is None else mixed.of(place))

        waiting: list[tuple[Cell, Drawn | Exception]] = []
        awaits_first = bool(plan.left)
        with closing(each(lanes, groups, draw, lanes[0].give_up, lambda lane: lane.taking_part())) as drawings:
            for cell, drawn in drawings:
                if isinstance(drawn, Interrupted):
                    raise drawn
                if isinstance(drawn, Drawn) and on_event is not None:
                    for gain in drawn.gains:
                        on_event(Said(gain))
                waiting.append((cell, drawn))
                if awaits_first and cell is not plan.left[0]:
                    continue
                awaits_first = False
                waiting = waiting[-1:] + waiting[:-1]
                yield from waiting
                waiting = []


def _finish_cell(record: GridRecord, own: CellRecord, drawn: Drawn | Exception, stem: str = "") -> None:
    """Fill in the record of a cell that was drawn; its files get their names when all of it is there. Raises why it was
    not drawn."""
    if isinstance(drawn, Exception):
        raise drawn
    first = [path for path in drawn.paths if path.name.startswith(FIRST_PASS)]
    paths = [path for path in drawn.paths if path not in first]
    infotext = picture_texts(open_picture(paths[0])).get("parameters", "")
    notes = [note for report in drawn.reports for node in report.nodes.values() for note in node.notes]
    reference = _reference(record, own, paths[0])
    measures = measure_cell(paths[0], first[0] if first else None, reference=reference, notes=notes)
    stem = stem or own.stem
    own.pictures = [
        _named(record, path, stem + (f"-{number}" if number > 1 else "")) for number, path in enumerate(paths, start=1)
    ]
    own.first_pass = _named(record, first[0], f"{stem}-first") if first else None
    own.state, own.error = DONE, None
    own.infotext, own.settings, own.measures = infotext, settings_of(infotext), measures
    own.seconds = sum(report.seconds for report in drawn.reports)
    own.calls, own.reused = drawn.counts.denoiser_calls, drawn.counts.reused_steps


def _job(engine: Draws, grid: GridRequest, request: Request, on_event: OnEvent | None) -> Drawn:
    if isinstance(request, Img2Img):
        return engine.img2img(grid.pictures, request, mask=grid.mask, on_event=on_event)
    if grid.options.first_pass and request.hires is not None:
        request = replace(request, save_first_pass=True)
    return engine.txt2img(request, on_event=on_event)


def _reference(record: GridRecord, own: CellRecord, drawn: Path) -> Path | None:
    """What a cell without a first pass is measured against: the picture that is drawn over, or the first cell; that one
    is measured against itself, `drawn`, so that it has its place in the plot."""
    if record.request.pictures:
        return Path(record.request.pictures[0])
    first = record.cells[0]
    if first is own:
        return drawn
    return record.folder / first.pictures[0] if first.state == DONE else None


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    scratch = folder / CELLS / UNFINISHED
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise output_error(scratch, error) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _named(record: GridRecord, path: Path, stem: str) -> str:
    """A finished file under its name in the grid's folder, or the next that is free; the name from that folder.

    The same file that a run left there which was killed before it told of it takes its place.
    """
    told = {name for cell in (*record.cells, *record.repeats) for name in (*cell.pictures, cell.first_pass)}
    number = 1
    while True:
        more = f"_{number}" if number > 1 else ""
        target = record.folder / CELLS / f"{stem}{more}{path.suffix}"
        name = f"{CELLS}/{target.name}"
        if not target.exists():
            path.rename(target)
            return name
        if name not in told and target.read_bytes() == path.read_bytes():
            return name
        number += 1


def _repeat(engine: Draws, record: GridRecord, plan: PlannedGrid, on_event: OnEvent | None, noise_repeats: int) -> None:
    """Draw the first cell with other seeds, and tell what they changed."""
    first = plan.cells.cells[0].request
    seed = base_of(first).seed
    for number in range(len(record.repeats) + 1, noise_repeats + 1):
        other = with_base(first, seed=(max(seed, 0) + REPEATED_SEEDS + number) % 2**64)
        repeat = CellRecord([0, 0, 0], [f"Seed: {base_of(other).seed}"], Cell((0, 0, 0), (), other).key)
        with _scratch(record.folder) as scratch:
            with engine.writing_to(scratch):
                drawn = _job(engine, record.request, other, on_event)
            _finish_cell(record, repeat, drawn, f"noise-{number:02}")
        record.repeats.append(repeat)
        record.save()
    if record.repeats:
        record.noise_floor = noise_floor([repeat.measures for repeat in record.repeats])


def _show(record: GridRecord, cells: Expanded) -> None:
    """All that is made of a record: the grid's picture or parts, the plot of its measures, the page to look at it."""
    record.parts, record.sub_grids = write_composites(record, cells)
    record.save()
    write_plot(record.folder, record.data())
    write_page(record.folder, record.data())
