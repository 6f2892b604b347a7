"""The samplers of the pack: passes and scripts, decoding, and showing the picture."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from hires.graph.declare import NodeResult, node
from hires.graph.inputs import Bool, Choice, Extra, Int
from hires.nodes.context import RunContext
from hires.nodes.efficiency.loading import Side
from hires.nodes.efficiency.migrations import STATES, migrate_sampler
from hires.nodes.efficiency.passes import Job, decoded, draw, with_hints
from hires.nodes.efficiency.plots import draw_plot
from hires.nodes.efficiency.scripts import Script, ScriptInput
from hires.nodes.efficiency.values import (
    EffCfg,
    EffSampler,
    EffScheduler,
    EffSeed,
    SdxlTupleInput,
    drawn_seed,
    fresh_if_random,
)
from hires.nodes.images import previewed
from hires.nodes.types import Conditioning, Denoise, Latent, Model, StepIndex, Steps, Toggle, ToggleOff, Vae

CATEGORY = "Efficiency Nodes/Sampling"
OUTPUTS = ("MODEL", "CONDITIONING", "CONDITIONING", "LATENT", "VAE", "IMAGE")
OUTPUT_NAMES = ("MODEL", "CONDITIONING+", "CONDITIONING-", "LATENT", "VAE", "IMAGE")
Decode = Annotated[str, Choice(("true", "true (tiled)", "false"))]
DecodeMore = Annotated[str, Choice(("true", "true (tiled)", "false", "output only", "output only (tiled)"))]
Preview = Annotated[str, Choice(("auto", "latent2rgb", "taesd", "none"))]
PreviewMore = Annotated[str, Choice(("auto", "latent2rgb", "taesd", "vae_decoded_only", "none"))]
State = Annotated[str, Choice(("", *STATES)), Extra, "What version 1.9 of the pack called sampler_state."]


@node(
    "KSampler (Efficient)",
    category=CATEGORY,
    outputs=OUTPUTS,
    output_names=OUTPUT_NAMES,
    is_output=True,
    fingerprint=fresh_if_random,
    migrate=migrate_sampler,
)
def ksampler_efficient(
    *,
    model: Model,
    seed: EffSeed = 0,
    steps: Steps = 20,
    cfg: EffCfg = 7.0,
    sampler_name: EffSampler,
    scheduler: EffScheduler,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: Denoise = 1.0,
    preview_method: PreviewMore,
    vae_decode: Decode,
    optional_vae: Vae | None = None,
    script: ScriptInput | None = None,
    sampler_state: State = "",
    context: RunContext,
) -> NodeResult:
    """Draw, run the scripts, decode and show."""
    seed = drawn_seed(seed)
    passed = (model, positive, negative)
    if sampler_state == "Script" and script is None:
        outputs = (*passed, latent_image, optional_vae, no_picture())
        return NodeResult(outputs, ui={"text": ["sampler_state is Script, but no script is connected: nothing drawn"]})
    job = Job(
        kind="regular",
        base=Side(model, None, positive, negative),
        vae=optional_vae,
        latent=latent_image,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler_name,
        scheduler=scheduler,
        denoise=denoise,
    )
    used = None if sampler_state in ("Sample", "Hold") else script
    return finished(job, used, passed, preview_method, vae_decode, context)


@node(
    "KSampler Adv. (Efficient)",
    category=CATEGORY,
    outputs=OUTPUTS,
    output_names=OUTPUT_NAMES,
    is_output=True,
    fingerprint=fresh_if_random,
)
def ksampler_advanced_efficient(
    *,
    model: Model,
    add_noise: Toggle,
    noise_seed: EffSeed = 0,
    steps: Steps = 20,
    cfg: EffCfg = 7.0,
    sampler_name: EffSampler,
    scheduler: EffScheduler,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: StepIndex = 0,
    end_at_step: StepIndex = 10_000,
    return_with_leftover_noise: ToggleOff,
    preview_method: Preview,
    vae_decode: DecodeMore,
    optional_vae: Vae | None = None,
    script: ScriptInput | None = None,
    context: RunContext,
) -> NodeResult:
    """Draw over a window of the schedule, run the scripts, decode and show."""
    job = Job(
        kind="advanced",
        base=Side(model, None, positive, negative),
        vae=optional_vae,
        latent=latent_image,
        seed=drawn_seed(noise_seed),
        steps=steps,
        cfg=cfg,
        sampler=sampler_name,
        scheduler=scheduler,
        add_noise=add_noise == "enable",
        start=start_at_step,
        end=end_at_step,
        leftover=return_with_leftover_noise == "enable",
    )
    return finished(job, script, (model, positive, negative), preview_method, vae_decode, context)


@node(
    "KSampler SDXL (Eff.)",
    category=CATEGORY,
    outputs=("SDXL_TUPLE", "LATENT", "VAE", "IMAGE"),
    is_output=True,
    fingerprint=fresh_if_random,
)
def ksampler_sdxl_efficient(
    *,
    sdxl_tuple: SdxlTupleInput,
    noise_seed: EffSeed = 0,
    steps: Steps = 20,
    cfg: EffCfg = 7.0,
    sampler_name: EffSampler,
    scheduler: EffScheduler,
    latent_image: Latent,
    start_at_step: StepIndex = 0,
    refine_at_step: Annotated[int, Int(-1, 10_000)] = -1,
    preview_method: Preview,
    vae_decode: DecodeMore,
    optional_vae: Vae | None = None,
    script: ScriptInput | None = None,
    noise_handoff: Annotated[
        bool, Bool(), Extra, "Leave the noise in at the cut and add none, in place of the pack's fresh noise."
    ] = False,
    context: RunContext,
) -> NodeResult:
    """Draw with SDXL's base and refiner, run the scripts, decode and show."""
    parts = sdxl_tuple
    refiner = None
    if parts.refiner_model is not None and parts.refiner_positive is not None and parts.refiner_negative is not None:
        refiner = Side(parts.refiner_model, parts.refiner_clip, parts.refiner_positive, parts.refiner_negative)
    job = Job(
        kind="sdxl",
        base=Side(parts.base_model, parts.base_clip, parts.base_positive, parts.base_negative),
        refiner=refiner,
        vae=optional_vae,
        latent=latent_image,
        seed=drawn_seed(noise_seed),
        steps=steps,
        cfg=cfg,
        sampler=sampler_name,
        scheduler=scheduler,
        start=start_at_step,
        refine_at=None if refine_at_step == -1 else refine_at_step,
        hands_noise_over=noise_handoff,
    )
    return finished(job, script, (sdxl_tuple,), preview_method, vae_decode, context)


def finished(
    job: Job, script: Script | None, passed: tuple[Any, ...], preview: str, decode: str, context: RunContext
) -> NodeResult:
    """The outputs: what is passed on, latent, VAE and picture; and what is shown of them."""
    job = replace(job, tiled_decode=decode.endswith("(tiled)"))
    quiet = without_previews(context) if preview in ("none", "vae_decoded_only") else context
    if script is not None and script.plot is not None:
        plotted = draw_plot(job, script, script.plot, quiet)
        shown = plotted.sheet if not decode.startswith("output only") and preview != "none" else None
        outputs = (*passed, plotted.latent, job.vae, plotted.sheet if script.plot.shows_plot else plotted.images)
        return NodeResult(outputs, ui=_ui(shown, (f"seed {job.seed}",), context))
    drawn = draw(job, script or Script(), quiet)
    warnings = drawn.warnings
    image = None
    if decode != "false" and job.vae is None and drawn.image is None:
        warnings = (*warnings, "no VAE is connected: nothing was decoded")
    elif decode != "false":
        image = with_hints(decoded(job, drawn, quiet), drawn.hints)
    shown = image if decode.startswith("true") and preview != "none" else None
    outputs = (*passed, drawn.latent, job.vae, no_picture() if image is None else image)
    return NodeResult(outputs, ui=_ui(shown, (*warnings, f"seed {job.seed}"), context))


def _ui(shown: Tensor | None, lines: tuple[str, ...], context: RunContext) -> dict[str, list[Any]]:
    ui: dict[str, list[Any]] = {"text": list(lines)}
    if shown is not None:
        ui |= previewed(shown, context).ui or {}
    return ui


def no_picture() -> Tensor:
    """What stands for the picture where none was decoded: one black pixel."""
    return torch.zeros(1, 1, 1, 3)


def without_previews(context: RunContext) -> RunContext:
    """The context with progress, but without the pictures that go with it."""
    report: Callable[[int, int, Any], None] | None = context._report
    view = copy.copy(context)
    view._report = None if report is None else lambda value, total, _: report(value, total, None)
    return view
