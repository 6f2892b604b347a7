"""A1111's options of schedules and of guidance that its settings page holds, as a patch of the model they go with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int, OptionalInput
from hires.models.handles import DiffusionModel
from hires.models.patches import with_option
from hires.nodes.guiding import DOWNCAST
from hires.nodes.types import Model
from hires.sampling.samplers.webui_uni_pc import SkipType
from hires.sampling.schedules_webui import ScheduleOptions
from hires.sampling.skipping import SkippedNegative
from hires.sampling.state import Option, Plan
from hires.sampling.webui_names import NOISE_SCHEDULES, SAMPLERS, UNIPC_SKIPS, UNIPC_VARIANTS, ZERO_SNR

OPTION = "webui sampling"

Sigma = Annotated[float, Float(0.0, 1000.0, 0.001), "0: the model's own"]
Level = Annotated[float, Float(0.0, 1000.0, 0.001)]
Share = Annotated[float, Float(0.0, 1.0, 0.01)]


@dataclass(frozen=True)
class WebuiSampling:
    """What the node sets: a run in A1111's dialect reads it, others leave it."""

    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    discard_penultimate: bool = False
    sgm_noise: bool = False
    unipc: dict[str, Option] = field(default_factory=dict)
    unipc_skip: SkipType = "time_uniform"
    skipped: SkippedNegative = field(default_factory=SkippedNegative)


def webui_sampling_of(model: DiffusionModel) -> WebuiSampling:
    """What the node set on a model, or A1111's defaults."""
    found: WebuiSampling = model.options.get(OPTION, WebuiSampling())
    return found


def skipped_negative(model: DiffusionModel, plan: Plan) -> SkippedNegative:
    """Which calls of a run leave the negative prompt out; none in ComfyUI's dialect. A1111 counts two calls in each
    step of its second-order samplers."""
    skipped = webui_sampling_of(model).skipped
    if plan.dialect != "webui" or not skipped:
        return SkippedNegative()
    second = any(entry.second_order for entry in SAMPLERS if entry.sampler == plan.sampler)
    return replace(skipped, calls=plan.steps * (2 if second else 1))


@node("HiresWebuiSampling", title="A1111 sampling options (hires)", category="sampling/custom", outputs=("MODEL",))
def webui_sampling(
    *,
    model: Model,
    schedule_min: Sigma = 0.0,
    schedule_max: Sigma = 0.0,
    schedule_rho: Annotated[float, Float(0.0, 100.0, 0.01), "0: the schedule's own"] = 0.0,
    beta_alpha: Annotated[float, Float(0.01, 50.0, 0.01)] = 0.6,
    beta_beta: Annotated[float, Float(0.01, 50.0, 0.01)] = 0.6,
    old_karras: Annotated[bool, Bool(), "Schedules between 0.1 and 10, as before 1.0."] = False,
    discard_penultimate: Annotated[bool, Bool()] = False,
    sgm_noise: Annotated[bool, Bool(), "Begin txt2img from noise of the spread that the model was trained on."] = False,
    unipc_variant: Annotated[str, Choice(UNIPC_VARIANTS)] = "bh1",
    unipc_skip: Annotated[str, Choice(UNIPC_SKIPS)] = "time_uniform",
    unipc_order: Annotated[int, Int(1, 50)] = 3,
    unipc_lower_order_final: Annotated[bool, Bool()] = True,
    ngms: Annotated[Level, "Below this noise level every second call leaves the negative prompt out."] = 0.0,
    ngms_all: Annotated[bool, Bool(), "Below it, every call."] = False,
    skip_early: Annotated[Share, "The share of the run that begins without the negative prompt."] = 0.0,
    noise_schedule: Annotated[
        str, Choice(NOISE_SCHEDULES), OptionalInput, "Zero Terminal SNR: a schedule that ends in noise alone."
    ] = "Default",
    downcast_alphas: Annotated[bool, Bool(), OptionalInput, "Alphas rounded to half precision, as before 1.7."] = False,
) -> DiffusionModel:
    """How A1111's samplers space their steps and when they heed the negative prompt, where not as usual. The noise
    schedule and the rounded alphas hold in ComfyUI's dialect too."""
    schedule = ScheduleOptions(schedule_min, schedule_max, schedule_rho, beta_alpha, beta_beta, old_karras)
    unipc: dict[str, Option] = {
        "variant": unipc_variant,
        "order": unipc_order,
        "lower_order_final": unipc_lower_order_final,
    }
    skip = next(kind for kind in UNIPC_SKIPS if kind == unipc_skip)
    options = WebuiSampling(
        schedule,
        discard_penultimate,
        sgm_noise,
        unipc,
        skip,  # type: ignore[arg-type]
        SkippedNegative(ngms, ngms_all, skip_early),
    )
    if noise_schedule == ZERO_SNR and not model.zero_terminal_snr:
        model = replace(with_option(model, "noise schedule", ZERO_SNR, ZERO_SNR), zero_terminal_snr=True)
    if downcast_alphas:
        model = with_option(model, DOWNCAST, True, DOWNCAST)
    # what a step depends on besides is in its schedule and its guidance, not in the network
    return replace(model, options={**model.options, OPTION: options})
