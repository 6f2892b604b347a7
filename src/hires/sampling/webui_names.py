"""The A1111 web UI's samplers and schedules as they are listed. Light: lists are made before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hires.sampling.state import Option

UNIPC_VARIANTS = ("bh1", "bh2", "vary_coeff")
UNIPC_SKIPS = ("time_uniform", "time_quadratic", "logSNR")
ZERO_SNR = "Zero Terminal SNR"
NOISE_SCHEDULES = ("Default", ZERO_SNR)


@dataclass(frozen=True)
class WebuiSampler:
    """One line of the web UI's list.

    schedule             what `Automatic` stands for
    second_order         counts two denoiser calls per step
    ensd                 its infotext names ENSD, the step noise's own seed offset
    discard_penultimate  makes the schedule of a step more and drops its last non-zero sigma
    kind                 "sigmas", "timesteps", "times" (UniPC), or "range" (a grid of its own from high to low)
    options              sampler options where the web UI's defaults differ
    lcm                  runs on the 50 distilled levels with the "lcm" prediction
    comfyui              ComfyUI's name of it, if it has one
    """

    label: str
    sampler: str
    aliases: tuple[str, ...] = ()
    schedule: str = "Uniform"
    second_order: bool = False
    ensd: bool = False
    discard_penultimate: bool = False
    kind: str = "sigmas"
    options: Mapping[str, Option] = field(default_factory=dict)
    lcm: bool = False
    comfyui: str | None = None
    forge: bool = False


SAMPLERS: tuple[WebuiSampler, ...] = (
    WebuiSampler("DPM++ 2M", "dpmpp_2m", ("k_dpmpp_2m",), "Karras", comfyui="dpmpp_2m"),
    WebuiSampler("DPM++ SDE", "dpmpp_sde", ("k_dpmpp_sde",), "Karras", second_order=True, comfyui="dpmpp_sde"),
    WebuiSampler("DPM++ 2M SDE", "dpmpp_2m_sde", ("k_dpmpp_2m_sde",), "Exponential", comfyui="dpmpp_2m_sde"),
    WebuiSampler(
        "DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", ("k_dpmpp_2m_sde_heun",), "Exponential", comfyui="dpmpp_2m_sde_heun"
    ),
    WebuiSampler(
        "DPM++ 2S a", "dpmpp_2s_ancestral", ("k_dpmpp_2s_a",), "Karras", second_order=True, ensd=True,
        comfyui="dpmpp_2s_ancestral",
    ),
    WebuiSampler(
        "DPM++ 3M SDE", "dpmpp_3m_sde", ("k_dpmpp_3m_sde",), "Exponential", discard_penultimate=True,
        comfyui="dpmpp_3m_sde",
    ),
    WebuiSampler("Euler a", "euler_ancestral", ("k_euler_a", "k_euler_ancestral"), ensd=True,
                 comfyui="euler_ancestral"),
    WebuiSampler("Euler", "euler", ("k_euler",), comfyui="euler"),
    WebuiSampler("LMS", "lms", ("k_lms",), comfyui="lms"),
    WebuiSampler("Heun", "heun", ("k_heun",), second_order=True, comfyui="heun"),
    WebuiSampler(
        "DPM2", "dpm_2", ("k_dpm_2",), "Karras", second_order=True, discard_penultimate=True, comfyui="dpm_2"
    ),
    WebuiSampler(
        "DPM2 a", "dpm_2_ancestral", ("k_dpm_2_a",), "Karras", second_order=True, ensd=True,
        discard_penultimate=True, comfyui="dpm_2_ancestral",
    ),
    WebuiSampler("DPM fast", "dpm_fast", ("k_dpm_fast",), ensd=True, kind="range", options={"eta": 1.0},
                 comfyui="dpm_fast"),
    WebuiSampler("DPM adaptive", "dpm_adaptive", ("k_dpm_ad",), ensd=True, kind="range", options={"eta": 1.0},
                 comfyui="dpm_adaptive"),
    WebuiSampler("Restart", "restart", ("restart",), "Karras", second_order=True),
    WebuiSampler("DDIM", "ddim_timesteps", ("ddim",), kind="timesteps", comfyui="ddim"),
    WebuiSampler("DDIM CFG++", "ddim_cfg_pp", ("ddim_cfgpp",), kind="timesteps"),
    WebuiSampler("PLMS", "plms", ("plms",), kind="timesteps"),
    WebuiSampler("UniPC", "uni_pc_timesteps", ("unipc",), kind="times", comfyui="uni_pc"),
    WebuiSampler("LCM", "lcm", ("k_lcm",), lcm=True, comfyui="lcm"),
    WebuiSampler("HeunPP2", "heunpp2", ("heunpp2",), second_order=True, comfyui="heunpp2", forge=True),
    WebuiSampler("IPNDM", "ipndm", ("ipndm",), comfyui="ipndm", forge=True),
    WebuiSampler("IPNDM_V", "ipndm_v", ("ipndm_v",), comfyui="ipndm_v", forge=True),
    WebuiSampler("DEIS", "deis", ("deis",), comfyui="deis", forge=True),
    WebuiSampler("DDPM", "ddpm", ("ddpm",), comfyui="ddpm", forge=True),
)  # fmt: skip
"""In the order of the web UI's list; the ones marked forge are Forge's."""


@dataclass(frozen=True)
class ScheduleName:
    """label as shown and written to infotext; comfyui is the scheduler of the same idea there, if there is one."""

    label: str
    name: str
    aliases: tuple[str, ...] = ()
    comfyui: str | None = None
    default_rho: float | None = None


SCHEDULE_NAMES: tuple[ScheduleName, ...] = (
    ScheduleName("Uniform", "uniform", comfyui="normal"),
    ScheduleName("Karras", "karras", comfyui="karras", default_rho=7.0),
    ScheduleName("Exponential", "exponential", comfyui="exponential"),
    ScheduleName("Polyexponential", "polyexponential", comfyui="exponential", default_rho=1.0),
    ScheduleName("SGM Uniform", "sgm_uniform", ("SGMUniform",), "sgm_uniform"),
    ScheduleName("KL Optimal", "kl_optimal", comfyui="kl_optimal"),
    ScheduleName("Align Your Steps", "align_your_steps"),
    ScheduleName("Simple", "simple", comfyui="simple"),
    ScheduleName("Normal", "normal", comfyui="normal"),
    ScheduleName("DDIM", "ddim", comfyui="ddim_uniform"),
    ScheduleName("Beta", "beta"),
    ScheduleName("Turbo", "turbo"),
    ScheduleName("Align Your Steps GITS", "align_your_steps_GITS"),
    ScheduleName("Align Your Steps 11", "align_your_steps_11"),
    ScheduleName("Align Your Steps 32", "align_your_steps_32"),
)
"""In the order of the web UI's list; the last four are Forge's."""
