"""What an XY plot can vary: how each kind of axis changes a cell, how a value is written, and what it excludes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from hires.errors import SettingError
from hires.nodes.efficiency.loading import Wanted, with_control
from hires.nodes.efficiency.passes import Job, Kind
from hires.nodes.efficiency.values import LoraUse
from hires.nodes.types import MAX_SEED


@dataclass(frozen=True, eq=False)
class Cell:
    """What one picture of the grid is drawn with; `vae` names a VAE that takes the place of the node's."""

    job: Job
    wanted: Wanted | None
    vae: str | None = None

    @property
    def loader(self) -> Wanted:
        if self.wanted is None:
            raise SettingError("XY Plot: this axis needs the loader", "Connect its DEPENDENCIES output to the plot.")
        return self.wanted


@dataclass(frozen=True)
class AxisKind:
    """apply(cell, value) and label(value); `heavy`: its values are loaded, so it is the outer loop."""

    apply: Callable[[Cell, Any], Cell]
    label: Callable[[Any], str]
    heavy: bool = False
    barred: tuple[Kind, ...] = ()


def _job(name: str) -> Callable[[Cell, Any], Cell]:
    return lambda cell, value: replace(cell, job=replace(cell.job, **{name: value}))


def _toggle(name: str) -> Callable[[Cell, Any], Cell]:
    return lambda cell, value: replace(cell, job=replace(cell.job, **{name: value == "enable"}))


def _wanted(name: str) -> Callable[[Cell, Any], Cell]:
    return lambda cell, value: replace(cell, wanted=replace(cell.loader, **{name: value}))


def _seed(cell: Cell, offset: int) -> Cell:
    return replace(cell, job=replace(cell.job, seed=(cell.job.seed + offset) % (MAX_SEED + 1)))


def _sampler(cell: Cell, value: tuple[str, str | None]) -> Cell:
    sampler, scheduler = value
    return replace(cell, job=replace(cell.job, sampler=sampler, scheduler=scheduler or cell.job.scheduler))


def _checkpoint(cell: Cell, value: tuple[str, int | None, str | None]) -> Cell:
    name, clip_skip, vae = value
    skip = cell.loader.clip_skip if clip_skip is None else clip_skip
    wanted = replace(cell.loader, checkpoint=name, clip_skip=skip)
    return replace(cell, wanted=wanted if vae is None else replace(wanted, vae=vae), vae=vae or cell.vae)


def _refiner(cell: Cell, value: tuple[str, int | None, str | None]) -> Cell:
    name, clip_skip, _ = value
    skip = cell.loader.refiner_clip_skip if clip_skip is None else clip_skip
    return replace(cell, wanted=replace(cell.loader, refiner=name, refiner_clip_skip=skip))


def _vae(cell: Cell, name: str) -> Cell:
    return replace(cell, vae=name)


def _lora(cell: Cell, value: list[LoraUse]) -> Cell:
    """The values take the place of the loader's own LoRA; its stack stays."""
    return replace(cell, wanted=replace(cell.loader, lora=None, lora_stack=(*value, *cell.loader.lora_stack)))


def _lora_stack(cell: Cell, value: list[LoraUse]) -> Cell:
    return replace(cell, wanted=replace(cell.loader, lora=None, lora_stack=tuple(value)))


def _lora_part(cell: Cell, value: list[LoraUse]) -> Cell:
    """One axis of a LoRA plot: what it leaves open the other says; further LoRAs of the value go behind."""
    first, *rest = value
    before = cell.loader.lora or LoraUse(None, None, None)
    said = {name: part for name, part in first._asdict().items() if part is not None}
    merged = before._replace(**said)
    stack = (*rest, *(use for use in cell.loader.lora_stack if use not in rest))
    return replace(cell, wanted=replace(cell.loader, lora=merged, lora_stack=stack))


def _control(parameter: str) -> Callable[[Cell, Any], Cell]:
    def apply(cell: Cell, value: list[Any]) -> Cell:
        return replace(cell, wanted=with_control(cell.loader, value[0], parameter, tuple(value[1:])))

    return apply


def _replaced(side: str) -> Callable[[Cell, Any], Cell]:
    def apply(cell: Cell, value: tuple[str, str | None]) -> Cell:
        search, by = value
        text = getattr(cell.loader, side)
        return cell if by is None else replace(cell, wanted=replace(cell.loader, **{side: text.replace(search, by, 1)}))

    return apply


def _refiner_share(cell: Cell, share: float) -> Cell:
    return replace(cell, job=replace(cell.job, refine_at=int(share * cell.job.steps)))


def _nothing(cell: Cell, value: Any) -> Cell:
    return cell


def _titled(title: str) -> Callable[[Any], str]:
    return lambda value: f"{title}: {round(value, 3) if isinstance(value, float) else value}"


def _stem(name: Any) -> str:
    return PurePath(str(name).replace("\\", "/")).stem


def _sampler_label(value: tuple[str, str | None]) -> str:
    return value[0] if value[1] is None else f"{value[0]} ({value[1]})"


def _checkpoint_label(value: tuple[str, int | None, str | None]) -> str:
    name, skip, vae = value
    facts = [f"clip skip {skip}"] * (skip is not None) + [_stem(vae)] * (vae is not None)
    return _stem(name) + (f" ({', '.join(facts)})" if facts else "")


def _lora_label(value: list[LoraUse]) -> str:
    return " + ".join(_stem(use.name) + _strengths(use) for use in value)


def _strengths(use: LoraUse) -> str:
    known = [round(number, 3) for number in (use.model, use.clip) if number is not None]
    return f" ({known[0]:g})" if len(set(known)) == 1 else f" ({', '.join(f'{n:g}' for n in known)})" if known else ""


def _lora_part_label(title: str, field: str) -> Callable[[Any], str]:
    return lambda value: f"{title}: {getattr(value[0], field):g}"


def _control_label(title: str, field: str) -> Callable[[Any], str]:
    return lambda value: f"{title}: {round(getattr(value[0], field), 3):g}"


def _replaced_label(value: tuple[str, str | None]) -> str:
    return value[0] if value[1] is None else value[1]


REGULAR: tuple[Kind, ...] = ("regular",)
NOT_SDXL: tuple[Kind, ...] = ("regular", "advanced")

AXES: Mapping[str, AxisKind] = {
    "Nothing": AxisKind(_nothing, str),
    "Seeds++ Batch": AxisKind(_seed, _titled("Seed +")),
    "AddNoise": AxisKind(_toggle("add_noise"), _titled("Add noise"), barred=("regular", "sdxl")),
    "ReturnNoise": AxisKind(_toggle("leftover"), _titled("Return noise"), barred=REGULAR),
    "Steps": AxisKind(_job("steps"), _titled("Steps")),
    "StartStep": AxisKind(_job("start"), _titled("Start step"), barred=REGULAR),
    "EndStep": AxisKind(_job("end"), _titled("End step"), barred=("regular", "sdxl")),
    "RefineStep": AxisKind(_job("refine_at"), _titled("Refine step"), barred=NOT_SDXL),
    "CFG Scale": AxisKind(_job("cfg"), _titled("CFG")),
    "Sampler": AxisKind(_sampler, _sampler_label),
    "Scheduler": AxisKind(_job("scheduler"), str),
    "Denoise": AxisKind(_job("denoise"), _titled("Denoise"), barred=("advanced", "sdxl")),
    "VAE": AxisKind(_vae, _stem, heavy=True),
    "Positive Prompt S/R": AxisKind(_replaced("positive"), _replaced_label),
    "Negative Prompt S/R": AxisKind(_replaced("negative"), _replaced_label),
    "AScore+": AxisKind(_wanted("positive_score"), _titled("+AScore"), barred=NOT_SDXL),
    "AScore-": AxisKind(_wanted("negative_score"), _titled("-AScore"), barred=NOT_SDXL),
    "Checkpoint": AxisKind(_checkpoint, _checkpoint_label, heavy=True),
    "Refiner": AxisKind(_refiner, _checkpoint_label, heavy=True, barred=NOT_SDXL),
    "Refiner On/Off": AxisKind(_refiner_share, _titled("Refine at"), barred=NOT_SDXL),
    "Clip Skip": AxisKind(_wanted("clip_skip"), _titled("Clip skip")),
    "Clip Skip (Refiner)": AxisKind(_wanted("refiner_clip_skip"), _titled("Refiner clip skip"), barred=NOT_SDXL),
    "LoRA": AxisKind(_lora, _lora_label, heavy=True),
    "LoRA Stacks": AxisKind(_lora_stack, _lora_label, heavy=True),
    "LoRA Batch": AxisKind(_lora_part, _lora_label, heavy=True),
    "LoRA Wt": AxisKind(_lora_part, _lora_part_label("LoRA weight", "model")),
    "LoRA MStr": AxisKind(_lora_part, _lora_part_label("LoRA model strength", "model")),
    "LoRA CStr": AxisKind(_lora_part, _lora_part_label("LoRA clip strength", "clip")),
    "ControlNetStrength": AxisKind(_control("strength"), _control_label("ControlNet strength", "strength")),
    "ControlNetStart%": AxisKind(_control("start"), _control_label("ControlNet start", "start")),
    "ControlNetEnd%": AxisKind(_control("end"), _control_label("ControlNet end", "end")),
}


def axis_kind(name: str, sampler: Kind) -> AxisKind:
    """The kind of an axis; SettingError where this sampler has nothing that it could vary."""
    kind = AXES[name]
    if sampler in kind.barred:
        which = {"regular": "KSampler (Efficient)", "advanced": "KSampler Adv. (Efficient)"}.get(
            sampler, "KSampler SDXL (Eff.)"
        )
        raise SettingError(f"XY Plot: {name} means nothing to {which}", "Choose another input or another sampler.")
    return kind
