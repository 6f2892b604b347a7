"""Samplers as values: a name and its options, for the nodes that take noise levels as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Int, Socket
from hires.imaging.resample import LATENT_METHODS
from hires.sampling.samplers import COMFYUI_SAMPLERS
from hires.sampling.state import Option

CATEGORY = "sampling/custom_sampling/samplers"


@dataclass(frozen=True)
class Growth:
    """LCM steps between which the latent grows to `ratio` times its size, over `stages` of them (-1: half of all)."""

    ratio: float
    stages: int
    method: str


@dataclass(frozen=True)
class ChosenSampler:
    """A sampler of the registry and the options that differ from its defaults."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)
    growth: Growth | None = None


Sampler = Annotated[ChosenSampler, Socket("SAMPLER")]
Number = Annotated[float, Float(0.0, 100.0, 0.01, False)]
NoiseDevice = Annotated[str, Choice(("gpu", "cpu"))]
GROWTH_METHODS = ("bislerp", *(method for method in LATENT_METHODS if method != "bislerp"))


@node("KSamplerSelect", category=CATEGORY, outputs=("SAMPLER",))
def ksampler_select(*, sampler_name: Annotated[str, Choice(COMFYUI_SAMPLERS)]) -> ChosenSampler:
    """A sampler with its own options."""
    return ChosenSampler(sampler_name)


@node("SamplerEulerAncestral", category=CATEGORY, outputs=("SAMPLER",))
def euler_ancestral(*, eta: Number = 1.0, s_noise: Number = 1.0) -> ChosenSampler:
    """Euler with fresh noise in every step."""
    return ChosenSampler("euler_ancestral", {"eta": eta, "s_noise": s_noise})


@node("SamplerEulerAncestralCFGPP", title="SamplerEulerAncestralCFG++", category=CATEGORY, outputs=("SAMPLER",))
def euler_ancestral_cfg_pp(
    *,
    eta: Annotated[float, Float(0.0, 1.0, 0.01, False)] = 1.0,
    s_noise: Annotated[float, Float(0.0, 10.0, 0.01)] = 1.0,
) -> ChosenSampler:
    """Euler ancestral whose slope comes from the unconditional estimate."""
    return ChosenSampler("euler_ancestral_cfg_pp", {"eta": eta, "s_noise": s_noise})


@node("SamplerDPMPP_2M_SDE", category=CATEGORY, outputs=("SAMPLER",))
def dpmpp_2m_sde(
    *,
    solver_type: Annotated[str, Choice(("midpoint", "heun"))],
    eta: Number = 1.0,
    s_noise: Number = 1.0,
    noise_device: NoiseDevice,
) -> ChosenSampler:
    """DPM-Solver++ 2M as an SDE."""
    options: dict[str, Option] = {"solver_type": solver_type, "eta": eta, "s_noise": s_noise}
    return ChosenSampler(_on("dpmpp_2m_sde", noise_device), options)


@node("SamplerDPMPP_SDE", category=CATEGORY, outputs=("SAMPLER",))
def dpmpp_sde(*, eta: Number = 1.0, s_noise: Number = 1.0, r: Number = 0.5, noise_device: NoiseDevice) -> ChosenSampler:
    """DPM-Solver++ with two stages, as an SDE."""
    return ChosenSampler(_on("dpmpp_sde", noise_device), {"eta": eta, "s_noise": s_noise, "r": r})


@node("SamplerDPMPP_3M_SDE", category=CATEGORY, outputs=("SAMPLER",))
def dpmpp_3m_sde(*, eta: Number = 1.0, s_noise: Number = 1.0, noise_device: NoiseDevice) -> ChosenSampler:
    """DPM-Solver++ 3M as an SDE."""
    return ChosenSampler(_on("dpmpp_3m_sde", noise_device), {"eta": eta, "s_noise": s_noise})


def _on(name: str, device: str) -> str:
    return name if device == "cpu" else name + "_gpu"


@node("SamplerDPMPP_2S_Ancestral", category=CATEGORY, outputs=("SAMPLER",))
def dpmpp_2s_ancestral(*, eta: Number = 1.0, s_noise: Number = 1.0) -> ChosenSampler:
    """DPM-Solver++ 2S with fresh noise in every step."""
    return ChosenSampler("dpmpp_2s_ancestral", {"eta": eta, "s_noise": s_noise})


@node("SamplerLMS", category=CATEGORY, outputs=("SAMPLER",))
def lms(*, order: Annotated[int, Int(1, 100)] = 4) -> ChosenSampler:
    """Linear multistep of a chosen order."""
    return ChosenSampler("lms", {"order": order})


@node("SamplerDPMAdaptative", category=CATEGORY, outputs=("SAMPLER",))
def dpm_adaptive(
    *,
    order: Annotated[int, Int(2, 3)] = 3,
    rtol: Number = 0.05,
    atol: Number = 0.0078,
    h_init: Number = 0.05,
    pcoeff: Number = 0.0,
    icoeff: Number = 1.0,
    dcoeff: Number = 0.0,
    accept_safety: Number = 0.81,
    eta: Number = 0.0,
    s_noise: Number = 1.0,
) -> ChosenSampler:
    """DPM-Solver with step size control."""
    options: dict[str, Option] = {"order": order, "rtol": rtol, "atol": atol, "h_init": h_init, "pcoeff": pcoeff}
    options |= {"icoeff": icoeff, "dcoeff": dcoeff, "accept_safety": accept_safety, "eta": eta, "s_noise": s_noise}
    return ChosenSampler("dpm_adaptive", options)


@node("SamplerLCMUpscale", category=CATEGORY, outputs=("SAMPLER",))
def lcm_upscale(
    *,
    scale_ratio: Annotated[float, Float(0.1, 20.0, 0.01, False)] = 1.0,
    scale_steps: Annotated[int, Int(-1, 1000, 1)] = -1,
    upscale_method: Annotated[str, Choice(GROWTH_METHODS)],
) -> ChosenSampler:
    """LCM whose latent grows between steps."""
    return ChosenSampler("lcm", growth=Growth(scale_ratio, scale_steps, upscale_method))


@node("SamplerER_SDE", category=CATEGORY, outputs=("SAMPLER",))
def er_sde(
    *,
    solver_type: Annotated[str, Choice(("ER-SDE", "Reverse-time SDE", "ODE"))],
    max_stage: Annotated[int, Int(1, 3)] = 3,
    eta: Number = 1.0,
    s_noise: Number = 1.0,
) -> ChosenSampler:
    """Extended reverse-time SDE solver."""
    options: dict[str, Option] = {"solver_type": solver_type, "max_stage": max_stage, "eta": eta, "s_noise": s_noise}
    if solver_type == "ODE" or (solver_type == "Reverse-time SDE" and eta == 0.0):
        options |= {"eta": 0.0, "s_noise": 0.0}
    return ChosenSampler("er_sde", options)
