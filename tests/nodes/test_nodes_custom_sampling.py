"""Custom sampling: the same numbers as KSampler's, and the closed forms of what is added to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hires.errors import SettingError
from hires.graph.inputs import NOTHING
from hires.imaging.resample import resample
from hires.nodes import custom_sampling as custom
from hires.nodes import guiders, samplers, schedules
from hires.nodes.conditioning import text_encode
from hires.nodes.context import RunContext
from hires.nodes.latents import empty_latent
from hires.nodes.model_patches import perp_neg
from hires.nodes.registry import node_registry
from hires.nodes.sampling import ksampler, ksampler_advanced
from hires.nodes.types import LatentDict
from hires.nodes.vae import set_latent_noise_mask
from hires.sampling.levels import standard_levels
from hires.sampling.noise import initial_noise
from hires.sampling.trajectories import TrajectoryCache

TABLE = {
    "SamplerCustom": (
        "model add_noise=True noise_seed=0 cfg=8.0 positive negative sampler sigmas latent_image",
        "LATENT LATENT",
    ),
    "SamplerCustomAdvanced": ("noise guider sampler sigmas latent_image", "LATENT LATENT"),
    "KSamplerSelect": ("sampler_name", "SAMPLER"),
    "BasicScheduler": ("model scheduler steps=20 denoise=1.0", "SIGMAS"),
    "KarrasScheduler": ("steps=20 sigma_max=14.614642 sigma_min=0.0291675 rho=7.0", "SIGMAS"),
    "ExponentialScheduler": ("steps=20 sigma_max=14.614642 sigma_min=0.0291675", "SIGMAS"),
    "PolyexponentialScheduler": ("steps=20 sigma_max=14.614642 sigma_min=0.0291675 rho=1.0", "SIGMAS"),
    "LaplaceScheduler": ("steps=20 sigma_max=14.614642 sigma_min=0.0291675 mu=0.0 beta=0.5", "SIGMAS"),
    "VPScheduler": ("steps=20 beta_d=19.9 beta_min=0.1 eps_s=0.001", "SIGMAS"),
    "BetaSamplingScheduler": ("model steps=20 alpha=0.6 beta=0.6", "SIGMAS"),
    "SDTurboScheduler": ("model steps=1 denoise=1.0", "SIGMAS"),
    "AlignYourStepsScheduler": ("model_type steps=10 denoise=1.0", "SIGMAS"),
    "SplitSigmas": ("sigmas step=0", "SIGMAS SIGMAS"),
    "SplitSigmasDenoise": ("sigmas denoise=1.0", "SIGMAS SIGMAS"),
    "FlipSigmas": ("sigmas", "SIGMAS"),
    "SetFirstSigma": ("sigmas sigma=136.0", "SIGMAS"),
    "RandomNoise": ("noise_seed=0", "NOISE"),
    "DisableNoise": ("", "NOISE"),
    "AddNoise": ("model noise sigmas latent_image", "LATENT"),
    "BasicGuider": ("model conditioning", "GUIDER"),
    "CFGGuider": ("model positive negative cfg=8.0", "GUIDER"),
    "DualCFGGuider": ("model cond1 cond2 negative cfg_conds=8.0 cfg_cond2_negative=8.0 style", "GUIDER"),
    "PerpNegGuider": ("model positive negative empty_conditioning cfg=8.0 neg_scale=1.0", "GUIDER"),
    "SamplerEulerAncestral": ("eta=1.0 s_noise=1.0", "SAMPLER"),
    "SamplerDPMPP_2M_SDE": ("solver_type eta=1.0 s_noise=1.0 noise_device", "SAMPLER"),
    "SamplerDPMPP_SDE": ("eta=1.0 s_noise=1.0 r=0.5 noise_device", "SAMPLER"),
    "SamplerDPMPP_3M_SDE": ("eta=1.0 s_noise=1.0 noise_device", "SAMPLER"),
    "SamplerDPMPP_2S_Ancestral": ("eta=1.0 s_noise=1.0", "SAMPLER"),
    "SamplerLMS": ("order=4", "SAMPLER"),
    "SamplerDPMAdaptative": (
        "order=3 rtol=0.05 atol=0.0078 h_init=0.05 pcoeff=0.0 icoeff=1.0 dcoeff=0.0 accept_safety=0.81 eta=0.0 "
        "s_noise=1.0",
        "SAMPLER",
    ),
    "SamplerLCMUpscale": ("scale_ratio=1.0 scale_steps=-1 upscale_method", "SAMPLER"),
}


@pytest.mark.parametrize("name", TABLE)
def test_inputs_and_outputs_are_comfyuis(name: str) -> None:
    node_type = node_registry()[name]
    shown = [entry.name if entry.default is NOTHING else f"{entry.name}={entry.default}" for entry in node_type.inputs]
    assert (" ".join(shown), " ".join(node_type.outputs)) == TABLE[name]


@pytest.fixture
def parts(context: RunContext) -> dict[str, Any]:
    """A thin model and two prompts."""
    checkpoint = context.store.checkpoint("thin_sd15")
    assert checkpoint.clip is not None
    positive = text_encode(text="a red barn", clip=checkpoint.clip)
    negative = text_encode(text="blurry", clip=checkpoint.clip)
    return {"model": checkpoint.model, "positive": positive, "negative": negative}


def fresh(context: RunContext) -> RunContext:
    """The same context with nothing remembered."""
    return replace(context, trajectories=TrajectoryCache(10**7))


def latent(context: RunContext, batch: int = 1) -> LatentDict:
    return empty_latent(width=64, height=64, batch_size=batch, context=context)


NAMES = ["euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde_gpu", "euler_cfg_pp", "ddim"]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_pixels_as_ksampler(parts: dict[str, Any], context: RunContext, name: str) -> None:
    whole = ksampler(
        **parts, seed=5, steps=4, cfg=6.5, sampler_name=name, scheduler="karras", latent_image=latent(context),
        context=fresh(context),
    )  # fmt: skip
    sigmas = schedules.basic_scheduler(model=parts["model"], scheduler="karras", steps=4)
    sampler = samplers.ksampler_select(sampler_name=name)
    output, estimate = custom.sampler_custom(
        **parts, noise_seed=5, cfg=6.5, sampler=sampler, sigmas=sigmas, latent_image=latent(context),
        context=fresh(context),
    )  # fmt: skip
    again, _ = custom.sampler_custom_advanced(
        noise=custom.random_noise(noise_seed=5), guider=guiders.cfg_guider(**parts, cfg=6.5), sampler=sampler,
        sigmas=sigmas, latent_image=latent(context), context=fresh(context),
    )  # fmt: skip
    assert torch.equal(output["samples"], whole["samples"])
    assert torch.equal(again["samples"], whole["samples"])
    assert estimate["samples"].shape == whole["samples"].shape


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("euler_ancestral", samplers.euler_ancestral()),
        ("dpmpp_2m_sde", samplers.dpmpp_2m_sde(solver_type="midpoint", noise_device="cpu")),
        ("dpmpp_2m_sde_heun", samplers.dpmpp_2m_sde(solver_type="heun", noise_device="gpu")),
        ("dpmpp_sde", samplers.dpmpp_sde(noise_device="cpu")),
        ("dpmpp_3m_sde", samplers.dpmpp_3m_sde(noise_device="gpu")),
        ("dpmpp_2s_ancestral", samplers.dpmpp_2s_ancestral()),
        ("lms", samplers.lms()),
        ("er_sde", samplers.er_sde(solver_type="ER-SDE")),
        ("euler_ancestral_cfg_pp", samplers.euler_ancestral_cfg_pp()),
        ("euler", samplers.euler_ancestral(eta=0.0)),
        ("lcm", samplers.lcm_upscale(scale_ratio=1.0, scale_steps=0, upscale_method="bislerp")),
    ],
)
def test_sampler_objects_with_default_options_are_the_named_samplers(
    parts: dict[str, Any], context: RunContext, name: str, made: samplers.ChosenSampler
) -> None:
    sigmas = schedules.karras_scheduler(steps=3)

    def drawn(sampler: samplers.ChosenSampler) -> Tensor:
        run = {"noise_seed": 2, "cfg": 4.0, "sigmas": sigmas, "latent_image": latent(context)}
        return custom.sampler_custom(**parts, **run, sampler=sampler, context=fresh(context))[0]["samples"]

    one, other = drawn(samplers.ksampler_select(sampler_name=name)), drawn(made)
    if name == "lcm":  # its own stream begins after the initial noise
        assert one.shape == other.shape and not torch.equal(one, other)
    else:
        assert torch.allclose(one, other, atol=1e-5)


def test_adaptive_options_reach_the_sampler(parts: dict[str, Any], context: RunContext) -> None:
    sigmas = torch.tensor([1.2, 0.5])
    run = {**parts, "noise_seed": 2, "cfg": 1.0, "sigmas": sigmas, "latent_image": latent(context), "context": context}
    custom.sampler_custom(**run, sampler=samplers.dpm_adaptive(h_init=0.5, rtol=1.0, atol=1.0))
    coarse = context.counts.denoiser_calls
    custom.sampler_custom(**run, sampler=samplers.dpm_adaptive(h_init=0.05, rtol=1.0, atol=1.0))
    assert context.counts.denoiser_calls - coarse > coarse


def test_euler_s_last_estimate_is_its_result(parts: dict[str, Any], context: RunContext) -> None:
    """From the last sigma to 0 Euler goes to the estimate itself; the rounding of 1/sigma remains."""
    run = {"noise_seed": 1, "sigmas": schedules.karras_scheduler(steps=3), "latent_image": latent(context)}
    sampler = samplers.ksampler_select(sampler_name="euler")
    output, estimate = custom.sampler_custom(**parts, **run, sampler=sampler, context=context)
    assert torch.allclose(output["samples"], estimate["samples"], atol=1e-4)


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "dpm_adaptive", "dpm_fast"])
def test_the_estimate_is_the_same_when_every_step_was_known(
    parts: dict[str, Any], context: RunContext, name: str
) -> None:
    high = torch.tensor([2.0, 1.4, 1.0, 0.7]) if name != "dpm_adaptive" else torch.tensor([1.2, 0.9])
    run = {"noise_seed": 1, "sigmas": high, "latent_image": latent(context)}
    sampler = samplers.ksampler_select(sampler_name=name)
    first = custom.sampler_custom(**parts, **run, sampler=sampler, context=context)
    calls = context.counts.denoiser_calls
    second = custom.sampler_custom(**parts, **run, sampler=sampler, context=context)
    assert all(torch.equal(a["samples"], b["samples"]) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0]["samples"], first[1]["samples"])
    if name in ("euler", "dpmpp_2m"):
        assert context.counts.denoiser_calls == calls + 1


def test_a_split_run_goes_on_where_it_stopped(parts: dict[str, Any], context: RunContext) -> None:
    """As KSamplerAdvanced's windows with leftover noise."""
    sigmas = schedules.basic_scheduler(model=parts["model"], scheduler="normal", steps=6)
    high, low = schedules.split_sigmas(sigmas=sigmas, step=2)
    sampler = samplers.ksampler_select(sampler_name="euler")
    guider = guiders.cfg_guider(**parts, cfg=5.0)
    half, _ = custom.sampler_custom_advanced(
        noise=custom.random_noise(noise_seed=3), guider=guider, sampler=sampler, sigmas=high,
        latent_image=latent(context), context=context,
    )  # fmt: skip
    whole, _ = custom.sampler_custom_advanced(
        noise=custom.disable_noise(), guider=guider, sampler=sampler, sigmas=low, latent_image=half, context=context
    )
    settings = {**parts, "noise_seed": 3, "steps": 6, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"}
    base = ksampler_advanced(
        **settings, latent_image=latent(context), end_at_step=2, return_with_leftover_noise="enable",
        context=fresh(context),
    )  # fmt: skip
    expected = ksampler_advanced(
        **settings, add_noise="disable", latent_image=base, start_at_step=2, context=fresh(context)
    )
    assert torch.equal(half["samples"], base["samples"])
    assert torch.equal(whole["samples"], expected["samples"])


def test_up_to_the_noise_and_down_again_gives_the_latent_back(parts: dict[str, Any], context: RunContext) -> None:
    """Flipped sigmas; Euler is its own inverse as far as its steps are small."""
    original: LatentDict = {"samples": initial_noise(9, (1, 4, 8, 8))}
    sigmas = schedules.karras_scheduler(steps=30, sigma_max=0.5, sigma_min=0.05)
    guider = guiders.basic_guider(model=parts["model"], conditioning=parts["positive"])
    sampler = samplers.ksampler_select(sampler_name="euler")
    run = {"noise": custom.disable_noise(), "guider": guider, "sampler": sampler, "context": context}
    up, _ = custom.sampler_custom_advanced(**run, sigmas=schedules.flip_sigmas(sigmas=sigmas), latent_image=original)
    down, _ = custom.sampler_custom_advanced(**run, sigmas=sigmas, latent_image=up)
    moved = (up["samples"] - original["samples"]).norm()
    assert (down["samples"] - original["samples"]).norm() < 0.2 * moved


def test_a_mask_is_respected(parts: dict[str, Any], context: RunContext) -> None:
    original: LatentDict = {"samples": initial_noise(9, (1, 4, 8, 8))}
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1.0
    masked = set_latent_noise_mask(samples=original, mask=mask)
    run = {"noise_seed": 1, "sigmas": schedules.karras_scheduler(steps=3), "latent_image": masked}
    output, _ = custom.sampler_custom(
        **parts, **run, sampler=samplers.ksampler_select(sampler_name="euler"), context=context
    )
    assert torch.allclose(output["samples"][..., :3], original["samples"][..., :3], atol=1e-4)
    assert not torch.allclose(output["samples"][..., 5:], original["samples"][..., 5:], atol=1e-2)


def test_no_sigmas_change_nothing_and_one_adds_noise_only(parts: dict[str, Any], context: RunContext) -> None:
    original: LatentDict = {"samples": initial_noise(9, (1, 4, 8, 8))}
    sampler = samplers.ksampler_select(sampler_name="euler")
    empty = schedules.basic_scheduler(model=parts["model"], scheduler="normal", steps=6, denoise=0.0)
    run = {"noise_seed": 1, "sampler": sampler, "latent_image": original, "context": context}
    assert custom.sampler_custom(**parts, **run, sigmas=empty)[0] is original
    output, _ = custom.sampler_custom(**parts, **run, sigmas=torch.tensor([2.0]))
    expected = original["samples"] + initial_noise(1, (1, 4, 8, 8)) * 2.0 / 0.18215
    assert torch.allclose(output["samples"], expected, atol=1e-5)
    assert context.counts.denoiser_calls == 0


@given(st.floats(0.1, 14.0), st.floats(0.0, 14.0), st.integers(0, 2**64 - 1))
def test_added_noise_is_the_distance_of_the_levels(high: float, low: float, seed: int) -> None:
    class Scale:
        latent_scale = 0.5

    samples: LatentDict = {"samples": torch.ones(1, 4, 2, 2)}
    noisy = custom.add_noise(
        model=Scale(), noise=custom.random_noise(noise_seed=seed), sigmas=torch.tensor([high, low]),  # type: ignore[arg-type]
        latent_image=samples,
    )  # fmt: skip
    expected = 1.0 + initial_noise(seed, (1, 4, 2, 2)) * abs(high - low) / 0.5
    assert torch.allclose(noisy["samples"], expected, atol=1e-4)


# ---- guiders --------------------------------------------------------------------------------------------------------


def drawn_by(guider: guiders.ChosenGuider, context: RunContext) -> Tensor:
    return custom.sampler_custom_advanced(
        noise=custom.random_noise(noise_seed=4), guider=guider, latent_image=latent(context, 2), context=fresh(context),
        sampler=samplers.ksampler_select(sampler_name="euler"), sigmas=schedules.karras_scheduler(steps=2),
    )[0]["samples"]  # fmt: skip


def alike(one: Tensor, other: Tensor) -> bool:
    """Equal but for the rounding of another order of sums."""
    return bool((one - other).norm() < 1e-4 * other.norm())


def test_the_basic_guider_is_guidance_of_1(parts: dict[str, Any], context: RunContext) -> None:
    basic = guiders.basic_guider(model=parts["model"], conditioning=parts["positive"])
    assert torch.equal(drawn_by(basic, context), drawn_by(guiders.cfg_guider(**parts, cfg=1.0), context))


def test_two_guidances_of_which_one_is_idle(parts: dict[str, Any], context: RunContext) -> None:
    """With c1 = c2 the regular style is guidance by the second scale; with the first scale 1 and c2 = negative,
    nested is guidance by 1 times the second scale from the negative."""
    same = {"model": parts["model"], "cond1": parts["positive"], "negative": parts["negative"]}
    plain = drawn_by(guiders.cfg_guider(**parts, cfg=3.0), context)
    for style in ("regular", "nested"):
        dual = guiders.dual_cfg_guider(
            **same, cond2=parts["positive"], cfg_conds=9.0, cfg_cond2_negative=3.0, style=style
        )
        assert alike(drawn_by(dual, context), plain)
    nested = guiders.dual_cfg_guider(
        **same, cond2=parts["negative"], cfg_conds=1.5, cfg_cond2_negative=2.0, style="nested"
    )
    assert alike(drawn_by(nested, context), plain)
    regular = guiders.dual_cfg_guider(
        **same, cond2=parts["negative"], cfg_conds=3.0, cfg_cond2_negative=7.0, style="regular"
    )
    assert alike(drawn_by(regular, context), plain)


def test_perp_neg_is_the_same_as_guider_and_as_patch(parts: dict[str, Any], context: RunContext) -> None:
    clip = context.store.checkpoint("thin_sd15").clip
    assert clip is not None
    empty = text_encode(text="", clip=clip)
    patched = perp_neg(model=parts["model"], empty_conditioning=empty, neg_scale=0.7)
    as_patch = drawn_by(guiders.cfg_guider(**{**parts, "model": patched}, cfg=6.0), context)
    as_guider = drawn_by(guiders.perp_neg_guider(**parts, empty_conditioning=empty, cfg=6.0, neg_scale=0.7), context)
    assert alike(as_guider, as_patch)
    assert not alike(as_guider, drawn_by(guiders.cfg_guider(**parts, cfg=6.0), context))


# ---- schedules ------------------------------------------------------------------------------------------------------


def test_karras_and_exponential_of_ten_steps() -> None:
    karras = schedules.karras_scheduler(steps=10)
    assert torch.allclose(karras[:4], torch.tensor([14.614642, 9.102930, 5.478393, 3.168606]), rtol=1e-5)
    exponential = schedules.exponential_scheduler(steps=10)
    assert torch.allclose(exponential[:3], torch.tensor([14.614642, 7.324876, 3.671236]), rtol=1e-4)
    assert torch.allclose(schedules.polyexponential_scheduler(steps=10), exponential, rtol=1e-5)
    assert len(karras) == 11 and karras[-1] == 0.0
    assert len(schedules.laplace_scheduler(steps=10)) == 10


@given(st.integers(1, 30), st.integers(0, 40))
def test_split_sigmas_share_the_level_of_the_cut(steps: int, cut: int) -> None:
    sigmas = schedules.karras_scheduler(steps=steps)
    high, low = schedules.split_sigmas(sigmas=sigmas, step=cut)
    if cut < len(sigmas):
        assert high[-1] == low[0] == sigmas[cut]
        assert torch.equal(torch.cat([high[:-1], low]), sigmas)
    else:
        assert torch.equal(high, sigmas) and len(low) == 0


@given(st.integers(1, 30))
def test_flipping_twice_gives_the_levels_back_but_for_the_zero(steps: int) -> None:
    sigmas = schedules.karras_scheduler(steps=steps)
    flipped = schedules.flip_sigmas(sigmas=sigmas)
    assert flipped[0] == pytest.approx(0.0001)
    assert torch.equal(schedules.flip_sigmas(sigmas=flipped)[:-1], sigmas[:-1])


def test_the_last_tenth_of_a_run() -> None:
    sigmas = schedules.karras_scheduler(steps=10)
    high, low = schedules.split_sigmas_denoise(sigmas=sigmas, denoise=0.3)
    assert torch.equal(low, sigmas[-4:]) and torch.equal(high, sigmas[:-3])


def test_turbo_and_basic_schedules_of_a_model(parts: dict[str, Any]) -> None:
    levels = standard_levels()
    turbo = schedules.sd_turbo_scheduler(model=parts["model"], steps=2)
    assert torch.allclose(turbo, torch.tensor([levels.sigmas[999], levels.sigmas[899], 0.0]))
    basic = schedules.basic_scheduler(model=parts["model"], scheduler="simple", steps=4, denoise=0.5)
    assert torch.equal(basic, schedules.basic_scheduler(model=parts["model"], scheduler="simple", steps=8)[-5:])


def test_faults_are_said(parts: dict[str, Any], context: RunContext) -> None:
    with pytest.raises(SettingError, match="no sigmas"):
        schedules.set_first_sigma(sigmas=torch.zeros(0))
    with pytest.raises(SettingError, match="rho is 0"):
        schedules.karras_scheduler(rho=0.0)
    with pytest.raises(SettingError, match="sigma_min is 0"):
        schedules.exponential_scheduler(sigma_min=0.0)
    masked = set_latent_noise_mask(samples=latent(context), mask=torch.ones(1, 64, 64))
    growing = samplers.lcm_upscale(scale_ratio=2.0, upscale_method="bilinear")
    with pytest.raises(SettingError, match="within a mask"):
        custom.sampler_custom(
            **parts, sampler=growing, sigmas=schedules.karras_scheduler(steps=2), latent_image=masked, context=context
        )


# ---- growing --------------------------------------------------------------------------------------------------------


def test_lcm_grows_between_its_steps(parts: dict[str, Any], context: RunContext) -> None:
    """By hand: estimate, resize, the next tensor of the seed's stream, for the sizes 8, 12, 16."""
    sigmas = torch.tensor([8.0, 3.0, 1.0, 0.0])
    growing = samplers.lcm_upscale(scale_ratio=2.0, upscale_method="bilinear")  # 2 stages
    run = {"noise_seed": 6, "cfg": 1.0, "context": context}
    output, _ = custom.sampler_custom(**parts, **run, sampler=growing, sigmas=sigmas, latent_image=latent(context))
    assert output["samples"].shape == (1, 4, 16, 16)
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(1, 4, 8, 8, generator=generator) * 8.0
    euler = samplers.ksampler_select(sampler_name="euler")
    for step, side in enumerate((12, 16, 16)):
        known: LatentDict = {"samples": x / 0.18215}
        pair = torch.tensor([float(sigmas[step]), 0.0])
        result, _ = custom.sampler_custom(
            **parts, **run, add_noise=False, sampler=euler, sigmas=pair, latent_image=known
        )
        x = result["samples"] * 0.18215
        if step < 2:
            x = resample(x, side, side, "bilinear")
        if sigmas[step + 1] > 0:
            x = x + sigmas[step + 1] * torch.randn(x.shape, generator=generator)
    assert torch.allclose(output["samples"], x / 0.18215, atol=1e-3)
