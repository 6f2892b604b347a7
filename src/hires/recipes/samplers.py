"""Samplers and schedules by the names that people write: the web UI's labels and aliases, or ComfyUI's."""

from __future__ import annotations

from typing import Any, cast

from hires.errors import SettingError
from hires.recipes.fine_sampling import FineSampling
from hires.recipes.request import Refiner, Txt2Img
from hires.sampling.levels import levels_of
from hires.sampling.samplers import ALIASES, SAMPLERS
from hires.sampling.samplers.webui_uni_pc import SkipType
from hires.sampling.schedules import SCHEDULES as COMFYUI_SCHEDULES
from hires.sampling.schedules import run_sigmas
from hires.sampling.schedules_webui import SCHEDULES as WEBUI_SCHEDULES
from hires.sampling.schedules_webui import ScheduleOptions
from hires.sampling.webui import SAMPLERS as WEBUI_SAMPLERS
from hires.sampling.webui import WebuiSampler, WebuiSchedule, resolve, webui_plan, webui_schedule
from hires.sampling.webui_names import ZERO_SNR

UNIPC = "UniPC"
COMFYUI_DEFAULT = "normal"
"""The schedule that Automatic stands for with a sampler that the web UI does not have."""


def chosen(sampler: str, schedule: str) -> tuple[WebuiSampler | str, WebuiSchedule | str]:
    """What names stand for: the web UI's entries, or ComfyUI's names where the web UI has no such thing."""
    named = ALIASES.get(sampler, sampler)
    same = [entry.label for entry in WEBUI_SAMPLERS if named in (entry.comfyui, entry.sampler)]
    automatic = schedule.lower() == "automatic"
    spacing = schedule if automatic else webui_schedule(schedule) or schedule
    only_comfyui = schedule in COMFYUI_SCHEDULES and webui_schedule(schedule) is None and schedule != "beta"
    if named in SAMPLERS and not same:
        return named, COMFYUI_DEFAULT if automatic else _comfyui_schedule(schedule)
    if only_comfyui:
        entry, _ = resolve(same[0] if same else sampler)
        return entry.comfyui or entry.sampler, schedule
    return resolve(same[0] if same else sampler, spacing)


def _comfyui_schedule(schedule: str) -> str:
    if schedule in COMFYUI_SCHEDULES:
        return schedule
    entry = resolve("Euler", schedule)[1]
    if entry.comfyui is None:
        names = ", ".join(COMFYUI_SCHEDULES)
        raise SettingError(f"the schedule {schedule!r} goes with the web UI's samplers only", f"Use one of {names}.")
    return entry.comfyui


def check_names(request: Txt2Img) -> None:
    """Raise SettingError for a sampler or schedule that there is not."""
    chosen(request.sampler, request.schedule)
    if request.hires is not None:
        chosen(request.hires.sampler or request.sampler, request.hires.schedule or request.schedule)


def infotext_names(sampler: str, schedule: str) -> tuple[str, str]:
    """(Sampler, Schedule type) as they are written into an infotext."""
    entry, spacing = chosen(sampler, schedule)
    return (
        entry if isinstance(entry, str) else entry.label,
        spacing if isinstance(spacing, str) else spacing.label,
    )


def uses_ensd(sampler: str) -> bool:
    """Whether the sampler draws step noise from the images' own streams."""
    entry, _ = chosen(sampler, "Automatic")
    return not isinstance(entry, str) and entry.ensd


def calls_per_step(sampler: str) -> int:
    """Denoiser calls a step, as the web UI counts them for prompt schedules: 2 for second-order samplers, else 1."""
    entry, _ = chosen(sampler, "Automatic")
    return 2 if not isinstance(entry, str) and entry.second_order else 1


def node_names(sampler: str, schedule: str, dialect: str) -> tuple[str, str]:
    """sampler_name and scheduler of a sampling node: ComfyUI's names wherever there is one."""
    entry, spacing = chosen(sampler, schedule)
    sampler_name = entry if isinstance(entry, str) else entry.comfyui or entry.sampler
    if isinstance(spacing, str):
        return sampler_name, spacing
    if spacing.comfyui is None and dialect == "comfyui" and spacing.name not in COMFYUI_SCHEDULES:
        raise SettingError(f"ComfyUI's dialect has no schedule {spacing.label!r}", "Leave out --dialect comfyui.")
    return sampler_name, spacing.comfyui or spacing.name


def sampler_inputs(request: Txt2Img, sampler: str, schedule: str, index: int) -> dict[str, Any]:
    """The inputs of a sampling node that say how its noise is drawn, for the batch whose first image is `index`."""
    varied = request.variation_strength > 0
    sampler_name, scheduler = node_names(sampler, schedule, request.dialect)
    inputs: dict[str, Any] = {
        "seed": (request.seed if varied else request.seed + index) % 2**64,
        "sampler_name": sampler_name,
        "scheduler": scheduler,
    }
    if request.dialect == "comfyui":
        return inputs
    inputs |= {"dialect": "webui", "rng": request.rng}
    if varied:
        inputs |= {
            "variation_seed": request.variation_seed + index,
            "variation_strength": request.variation_strength,
        }
    if request.seed_resize_width > 0 and request.seed_resize_height > 0:
        inputs |= {
            "seed_resize_width": request.seed_resize_width,
            "seed_resize_height": request.seed_resize_height,
        }
    if request.eta is not None:
        inputs["eta"] = request.eta
    for name, default in (("ensd", 0), ("s_churn", 0.0), ("s_tmin", 0.0), ("s_tmax", 0.0), ("s_noise", 1.0)):
        if getattr(request, name) != default:
            inputs[name] = getattr(request, name)
    if request.original_quirks:
        inputs["original"] = True
    return inputs


def switch_step(request: Txt2Img, sampler: str, schedule: str, steps: int, start: int, refiner: Refiner) -> int:
    """The first step (0-based in the whole schedule of `steps`) that the refiner takes.

    A1111 since 1.8 switches before the first step whose timestep t has (999 - t) / 1000 >= switch_at; by_steps is the
    rule before: a share of the steps of the pass, which begins at `start`. A result of `steps` means never.
    """
    run = steps - start
    if refiner.switch_step is not None:
        return min(start + refiner.switch_step, steps)
    if refiner.by_steps:
        first = next((step for step in range(run) if step / run >= refiner.switch_at), run)
        return start + first
    levels = levels_of(request.fine.noise_schedule == ZERO_SNR, request.fine.downcast_alphas)
    entry, spacing = chosen(sampler, schedule)
    if isinstance(entry, str) or isinstance(spacing, str):
        sigmas = run_sigmas(*node_names(sampler, schedule, "webui"), steps, levels)
    else:
        fine = request.fine
        sigmas = webui_plan(
            entry.label,
            spacing.label,
            steps,
            levels,
            [0],
            schedule_options=_schedule_options(fine),
            options={"order": fine.unipc_order} if entry.label == UNIPC else None,
            skip_type=cast(SkipType, fine.unipc_skip),
            discard_penultimate=fine.discard_penultimate,
        ).sigmas
    for step in range(start, min(steps, len(sigmas) - 1)):
        if (999 - int(levels.timestep(sigmas[step]))) / 1000 >= refiner.switch_at:
            return step
    return steps


def _schedule_options(fine: FineSampling) -> ScheduleOptions:
    ends = (fine.schedule_min, fine.schedule_max, fine.schedule_rho)
    return ScheduleOptions(*ends, fine.beta_alpha, fine.beta_beta, fine.old_karras)


def sampler_rows() -> list[tuple[str, str, str, str]]:
    """(label, ComfyUI's name, automatic schedule, calls a step) of every sampler; ComfyUI's own ones last."""
    rows = [
        (entry.label, entry.comfyui or "", resolve(entry.label)[1].label, "2" if entry.second_order else "1")
        for entry in WEBUI_SAMPLERS
    ]
    known = {entry.comfyui for entry in WEBUI_SAMPLERS} | {entry.sampler for entry in WEBUI_SAMPLERS}
    rows += [(name, name, COMFYUI_DEFAULT, str(entry.calls)) for name, entry in SAMPLERS.items() if name not in known]
    return rows


def schedule_rows() -> list[tuple[str, str]]:
    """(label, ComfyUI's name) of every schedule; ComfyUI's own ones last."""
    rows = [(entry.label, entry.comfyui or "") for entry in WEBUI_SCHEDULES]
    known = {entry.comfyui for entry in WEBUI_SCHEDULES}
    return rows + [(name, name) for name in COMFYUI_SCHEDULES if name not in known]
