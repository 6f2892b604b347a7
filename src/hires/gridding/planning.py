"""Grids before they are drawn: every cell checked, its names found, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from hires.drawn import Drawn
from hires.errors import HiresError, SettingError
from hires.graph.report import Event
from hires.imaging.pictures import open_picture
from hires.imaging.upscalers import LATENT_UPSCALERS, same_name
from hires.models.store import ModelStore
from hires.models.upscale_names import find_upscaler, upscaler_names
from hires.preparing import Preparation
from hires.recipes.facts import ModelFacts
from hires.recipes.grids.axes import Known, Request, base_of, with_base
from hires.recipes.grids.predicted import Cost, Prediction
from hires.recipes.grids.request import Cell, Expanded, GridRequest, expand, with_fixed_seeds, with_labels
from hires.recipes.img2img import Source, img2img
from hires.recipes.img2img_request import Img2Img
from hires.recipes.request import Txt2Img
from hires.recipes.txt2img import txt2img
from hires.recipes.wording import per_picture, styled
from hires.settings import Settings

OnEvent = Callable[[Event], None]


class Draws(Protocol):
    """What an engine does for a grid."""

    settings: Settings
    store: ModelStore
    preparation: Preparation

    def prepare(self, request: Txt2Img, lenient: bool = False) -> tuple[Txt2Img, dict[str, ModelFacts]]: ...

    def txt2img(self, request: Txt2Img | None = None, *, on_event: OnEvent | None = None) -> Drawn: ...

    def img2img(
        self,
        picture: Sequence[Path | str],
        request: Img2Img | None = None,
        *,
        mask: Path | str | None = None,
        on_event: OnEvent | None = None,
    ) -> Drawn: ...

    def prepare_img2img(self, request: Img2Img, size: tuple[int, int]) -> tuple[Img2Img, dict[str, ModelFacts]]: ...

    def writing_to(self, folder: Path) -> AbstractContextManager[None]: ...

    def each_lane(self, meeting: bool = False) -> AbstractContextManager[Sequence[Self]]: ...

    def taking_part(self) -> AbstractContextManager[None]: ...

    def give_up(self) -> None: ...


@dataclass(frozen=True)
class PlannedGrid:
    """A grid whose every cell was checked: its request with seeds and names filled in, its cells, those that are to be
    drawn in their order, and what each of these costs, by its place."""

    request: GridRequest
    cells: Expanded
    left: tuple[Cell, ...]
    costs: dict[tuple[int, int, int], Cost]

    def groups(self) -> list[list[Cell]]:
        """The cells that are to be drawn, in groups that have steps in common, each in the order of drawing."""
        group_of: dict[str, list[Cell]] = {}
        groups: list[list[Cell]] = []
        for cell in self.left:
            roots = self.costs[cell.index].roots
            met = {id(group): group for root in roots if (group := group_of.get(root)) is not None}
            joined = [one for group in met.values() for one in group]
            groups = [group for group in groups if id(group) not in met]
            groups.append([*joined, cell])
            for root in {*roots, *(root for one in joined for root in self.costs[one.index].roots)}:
                group_of[root] = groups[-1]
        places = {cell.index: place for place, cell in enumerate(self.left)}
        groups = [sorted(group, key=lambda cell: places[cell.index]) for group in groups]
        return sorted(groups, key=lambda group: places[group[0].index])

    def describe(self) -> list[str]:
        """Lines for a person: cells, axes, denoiser calls with and without sharing."""
        across, down, deep = self.cells.shape
        count = len(self.cells.cells)
        some = "" if len(self.left) == count else f", {len(self.left)} to draw"
        lines = [f"{across} x {down} x {deep} = {count} cells{some}"]
        lines += [f"  {line.label}: {', '.join(line.values)}" for line in self.cells.lines if line.varies]
        costs = self.costs.values()
        alone, shared = sum(cost.alone for cost in costs), sum(cost.shared for cost in costs)
        steps = sum(cost.steps - cost.shared_steps for cost in costs)
        lines.append(f"denoiser calls: at most {shared}; {alone} with each cell alone ({steps} steps are shared)")
        return lines


def known_to(engine: Draws) -> Known:
    """What there is to choose from on an engine's machine."""
    store = engine.store

    def find(kind: str, name: str) -> str:
        path = store.find(kind, name)
        return next(entry.name for entry in store.entries(kind) if entry.path == path)

    def upscaler(name: str) -> str:
        latent = [known for known in LATENT_UPSCALERS if same_name(known, name)]
        return latent[0] if latent else find_upscaler(store, name)

    styles = engine.preparation.phrasebook().styles
    return Known(store.names, find, upscaler, upscaler_names(store), styles)


def plan_grid(
    engine: Draws, request: GridRequest, before: GridRequest | None = None, drawn: Collection[str] = ()
) -> PlannedGrid:
    """A grid with everything checked before anything is drawn. Raises the user's errors as HiresError.

    `before` is the grid that this one continues, whose random seeds are kept; `drawn` are the keys of the cells that
    are done.
    """
    known = known_to(engine)
    request = with_fixed_seeds(with_labels(replace(request, base=_settled(engine, request.base, known))), before)
    cells = expand(request, known)
    left = tuple(cell for cell in cells.in_order() if cell.key not in drawn)
    prediction = Prediction()
    costs: dict[tuple[int, int, int], Cost] = {}
    for cell in left:
        try:
            costs[cell.index] = _cost(engine, cell.request, prediction, request.pictures, request.mask)
        except HiresError as error:
            where = ", ".join(cell.labels)
            raise SettingError(f"cell {where}: {error.message}" if where else error.message, error.hint) from error
    return PlannedGrid(request, cells, left, costs)


def _settled(engine: Draws, request: Request, known: Known) -> Request:
    """The base with its checkpoint named and its styles in its prompts, so that cells may change either."""
    base = base_of(request)
    checkpoint = known.find("checkpoints", base.checkpoint or engine.preparation.default_checkpoint())
    styles = engine.preparation.phrasebook(base).styles
    return with_base(request, **{"checkpoint": checkpoint, **_prompts(styled(base, styles)), "styles": ()})


def _prompts(base: Txt2Img) -> dict[str, Any]:
    return {"prompt": base.prompt, "negative": base.negative, "hires": base.hires}


def _cost(engine: Draws, request: Request, prediction: Prediction, pictures: Sequence[str], mask: str | None) -> Cost:
    """What drawing a request will take; every value of it is checked."""
    costs = []
    for graph, images in _workflows(engine, request, pictures, mask):
        costs.append(prediction.add(graph, images))
    counts = {name: sum(getattr(cost, name) for cost in costs) for name in ("alone", "shared", "steps", "shared_steps")}
    return Cost(**counts, roots=frozenset[str]().union(*(cost.roots for cost in costs)))


def _workflows(
    engine: Draws, request: Request, pictures: Sequence[str], mask: str | None
) -> Iterator[tuple[dict[str, Any], int]]:
    """The workflows of a request, and how many pictures each makes at once."""
    if isinstance(request, Img2Img):
        sources = [_source(engine, Path(picture), mask) for picture in pictures]
        if not sources:
            raise SettingError("there is no picture to draw over", "Name one.")
        over, facts = engine.prepare_img2img(request, sources[0].size)
        for batch in range(over.base.batch_count):
            yield img2img(over, sources, facts, batch), max(over.base.batch_size, len(sources))
        return
    prepared, _ = engine.prepare(request)
    for part in per_picture(prepared, engine.preparation.phrasebook(prepared)):
        part, facts = engine.prepare(part)
        for batch in range(part.batch_count):
            yield txt2img(part, facts, batch), part.batch_size


def _source(engine: Draws, picture: Path, mask: str | None) -> Source:
    opened = open_picture(picture, int(engine.settings.max_megapixels * 1e6))
    return Source(str(picture), opened.size, mask)
