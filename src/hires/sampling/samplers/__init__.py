"""The samplers, a file a kind; each a step over an explicit state. The registry is one table of them all."""

from __future__ import annotations

from collections.abc import Mapping

from hires.sampling.samplers import (
    cfg_pp,
    dpm_solver,
    dpm_solver_pp,
    multistep,
    runge_kutta,
    sa_solver,
    stochastic,
    uni_pc,
    webui,
    webui_uni_pc,
)
from hires.sampling.samplers.base import Denoise, Sampler, Step

__all__ = ["ALIASES", "COMFYUI_SAMPLERS", "SAMPLERS", "Denoise", "Sampler", "Step"]

_FILES = (
    runge_kutta,
    dpm_solver,
    dpm_solver_pp,
    multistep,
    stochastic,
    sa_solver,
    uni_pc,
    cfg_pp,
    webui,
    webui_uni_pc,
)

SAMPLERS: Mapping[str, Sampler] = {sampler.name: sampler for file in _FILES for sampler in file.SAMPLERS}
"""Every sampler by its name here: ComfyUI's where ComfyUI has it."""

ALIASES: Mapping[str, str] = {
    name + "_gpu": name for name in ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde")
}
"""ComfyUI's names for a Brownian path drawn on the device. Here every path is drawn on the CPU, with its numbers."""

COMFYUI_SAMPLERS: tuple[str, ...] = (
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2",
    "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm",
    "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
"""ComfyUI's KSampler choices in its order."""
