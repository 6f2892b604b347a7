"""Patches of models: what acts between the UNet's blocks, on guidance, and on how noise levels are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, cast

from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int, OptionalInput
from hires.imaging.resample import LATENT_METHODS, resample
from hires.models.handles import DiffusionModel
from hires.models.patches import (
    AttentionRecord,
    DeepShrink,
    FreeU,
    HyperTile,
    TokenMerging,
    ValuesOnly,
    patched,
    with_option,
)
from hires.nodes.guiding import RuleMaker, noise_levels
from hires.nodes.resolve import resolve
from hires.nodes.types import Conditioning, Dialect, Model
from hires.sampling.guidance import NoisePredictor, tensor_key
from hires.sampling.levels import NoiseLevels
from hires.sampling.rules import ImageCfg, PerpNeg, PerturbedAttention, RescaleCfg, SelfAttentionGuidance

Factor = Annotated[float, Float(0.0, 10.0, 0.01)]
Percent = Annotated[float, Float(0.0, 1.0, 0.001)]
SHRINK_METHODS = ("bicubic", *(method for method in LATENT_METHODS if method != "bicubic"))
ShrinkMethod = Annotated[str, Choice(SHRINK_METHODS)]
DISCRETE = {"eps": "eps", "v_prediction": "v", "lcm": "lcm", "x0": "x0", "img_to_img": "img_to_img"}
CONTINUOUS = {"v_prediction": ("v", 1.0), "edm": ("edm", 0.5), "eps": ("eps", 1.0)}
"""ComfyUI's name -> prediction and the spread that clean latents are taken to have."""


@node(
    "PatchModelAddDownscale",
    title="PatchModelAddDownscale (Kohya Deep Shrink)",
    category="model_patches/unet",
    outputs=("MODEL",),
)
def add_downscale(
    *,
    model: Model,
    block_number: Annotated[int, Int(1, 32, 1)] = 3,
    downscale_factor: Annotated[float, Float(0.1, 9.0, 0.001)] = 2.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 0.35,
    downscale_after_skip: Annotated[bool, Bool()] = True,
    downscale_method: ShrinkMethod,
    upscale_method: ShrinkMethod,
) -> DiffusionModel:
    """Deep Shrink: draw the first part of the schedule on smaller features, for pictures beyond the model's size."""
    levels = noise_levels(model)
    facts = (
        block_number,
        downscale_factor,
        levels.percent_to_sigma(start_percent),
        levels.percent_to_sigma(end_percent),
        downscale_after_skip,
        downscale_method,
        upscale_method,
    )
    return patched(model, DeepShrink(*facts, resize=resample), *facts)


@node("FreeU", category="model_patches/unet", outputs=("MODEL",))
def freeu(*, model: Model, b1: Factor = 1.1, b2: Factor = 1.2, s1: Factor = 0.9, s2: Factor = 0.2) -> DiffusionModel:
    """FreeU: stronger backbone features, weaker low frequencies of the skips."""
    return _freeu(model, (b1, s1), (b2, s2), 1)


@node("FreeU_V2", category="model_patches/unet", outputs=("MODEL",))
def freeu_v2(*, model: Model, b1: Factor = 1.3, b2: Factor = 1.4, s1: Factor = 0.9, s2: Factor = 0.2) -> DiffusionModel:
    """FreeU, version 2: the backbone is strengthened where its mean is high."""
    return _freeu(model, (b1, s1), (b2, s2), 2)


def _freeu(model: DiffusionModel, deep: tuple[float, float], wide: tuple[float, float], version: int) -> DiffusionModel:
    channels = int(model.unet.config.block_out_channels[0])
    return patched(model, FreeU({channels * 4: deep, channels * 2: wide}, version), deep, wide, version)


@node("HyperTile", category="model_patches/unet", outputs=("MODEL",))
def hypertile(
    *,
    model: Model,
    tile_size: Annotated[int, Int(1, 2048)] = 256,
    swap_size: Annotated[int, Int(1, 128)] = 2,
    max_depth: Annotated[int, Int(0, 10)] = 0,
    scale_depth: Annotated[bool, Bool()] = False,
) -> DiffusionModel:
    """Self-attention in tiles: faster at large sizes."""
    facts = (max(32, tile_size) // 8, swap_size, max_depth, scale_depth)
    return patched(model, HyperTile(*facts), *facts)


@node("TomePatchModel", category="model_patches/unet", outputs=("MODEL",))
def token_merging(
    *, model: Model, ratio: Annotated[float, Float(0.0, 1.0, 0.01)] = 0.3, dialect: Dialect = "comfyui"
) -> DiffusionModel:
    """Token merging: like tokens share one self-attention."""
    return patched(model, TokenMerging(ratio, dialect == "webui"), ratio, *(["webui"] if dialect == "webui" else []))


# ---- guidance -------------------------------------------------------------------------------------------------------


@node("RescaleCFG", category="advanced/model", outputs=("MODEL",))
def rescale_cfg(*, model: Model, multiplier: Annotated[float, Float(0.0, 1.0, 0.01)] = 0.7) -> DiffusionModel:
    """Give guided predictions the spread of unguided ones: less burnt colours at high cfg."""
    return with_option(model, "combine", lambda *_: RescaleCfg(multiplier), "rescale", multiplier)


@node("HiresImageCFG", title="Image CFG (hires)", category="advanced/model", outputs=("MODEL",))
def hires_image_cfg(*, model: Model, image_cfg: Annotated[float, Float(0.0, 30.0, 0.05)] = 1.5) -> DiffusionModel:
    """How near an InstructPix2Pix network keeps to the picture that it is shown; 1 is plain guidance. Other models are
    left as they are."""
    if model.in_channels != 8 or image_cfg == 1.0:
        return model
    return with_option(model, "combine", lambda *_: ImageCfg(image_cfg), "image cfg", image_cfg)


@node(
    "PerpNeg",
    title="Perp-Neg (DEPRECATED by PerpNegGuider)",
    category="_for_testing",
    outputs=("MODEL",),
    deprecated=True,
    experimental=True,
)
def perp_neg(
    *, model: Model, empty_conditioning: Conditioning, neg_scale: Annotated[float, Float(0.0, 100.0, 0.01)] = 1.0
) -> DiffusionModel:
    """Of the negative prompt count only what does not contradict the positive one."""

    def rule(model: DiffusionModel, levels: NoiseLevels, shape: Sequence[int]) -> PerpNeg:
        return PerpNeg(resolve(model, levels, [], empty_conditioning, shape)[1], neg_scale)

    prints = tuple(tensor_key(tensor).hex() for tensor, _ in empty_conditioning)
    return with_option(model, "combine", rule, "perp", neg_scale, prints)


@node("SelfAttentionGuidance", title="Self-Attention Guidance", category="_for_testing", outputs=("MODEL",))
def self_attention_guidance(
    *,
    model: Model,
    scale: Annotated[float, Float(-2.0, 5.0, 0.01)] = 0.5,
    blur_sigma: Annotated[float, Float(0.0, 10.0, 0.1)] = 2.0,
) -> DiffusionModel:
    """Sharpen against what the model makes of its own blurred estimate."""
    rule = SelfAttentionGuidance(scale, blur_sigma, _recording)
    return _after_cfg(model, lambda *_: rule, "self-attention", scale, blur_sigma)


def _recording(network: NoisePredictor) -> tuple[NoisePredictor, list[Tensor]]:
    record = AttentionRecord()
    return patched(cast(DiffusionModel, network), record), record.noted


@node("PerturbedAttentionGuidance", category="model_patches/unet", outputs=("MODEL",))
def perturbed_attention(*, model: Model, scale: Annotated[float, Float(0.0, 100.0, 0.01)] = 3.0) -> DiffusionModel:
    """Steer away from what the model draws without self-attention in its middle."""
    rule = PerturbedAttention(scale, lambda network: patched(cast(DiffusionModel, network), ValuesOnly()))
    return _after_cfg(model, lambda *_: rule, "perturbed", scale)


def _after_cfg(model: DiffusionModel, maker: RuleMaker, *facts: object) -> DiffusionModel:
    """The model with one more rule behind classifier-free guidance."""
    return with_option(model, "after_cfg", (*model.options.get("after_cfg", ()), maker), *facts)


@node("DifferentialDiffusion", title="Differential Diffusion", category="_for_testing", outputs=("MODEL",))
def differential_diffusion(
    *, model: Model, strength: Annotated[float, Float(0.0, 1.0, 0.01), OptionalInput] = 1.0
) -> DiffusionModel:
    """Repaint a cell of the mask from the step on at which its value is reached: soft masks of change."""
    return with_option(model, "differential", strength, strength)


# ---- noise levels ---------------------------------------------------------------------------------------------------


@node("ModelSamplingDiscrete", category="advanced/model", outputs=("MODEL",))
def sampling_discrete(
    *,
    model: Model,
    sampling: Annotated[str, Choice(tuple(DISCRETE))],
    zsnr: Annotated[bool, Bool()] = False,
) -> DiffusionModel:
    """Say what the network predicts, and whether its schedule ends in pure noise."""
    options = {name: value for name, value in model.options.items() if name != "edm"}
    changed = with_option(model, "discrete", sampling, sampling, zsnr)
    return replace(changed, prediction=DISCRETE[sampling], zero_terminal_snr=zsnr, options=options)


@node("ModelSamplingContinuousEDM", category="advanced/model", outputs=("MODEL",))
def sampling_continuous_edm(
    *,
    model: Model,
    sampling: Annotated[str, Choice(("v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"))],
    sigma_max: Annotated[float, Float(0.0, 1000.0, 0.001, False)] = 120.0,
    sigma_min: Annotated[float, Float(0.0, 1000.0, 0.001, False)] = 0.002,
) -> DiffusionModel:
    """Noise levels of the EDM kind, continuous between two ends."""
    if sampling not in CONTINUOUS:
        raise SettingError(
            f"ModelSamplingContinuousEDM: {sampling!r} belongs to a family that hires does not run",
            f"Choose one of {', '.join(CONTINUOUS)}.",
        )
    if not 0.0 < sigma_min < sigma_max:
        raise SettingError(f"sigma_min {sigma_min} is not between 0 and sigma_max {sigma_max}")
    prediction, sigma_data = CONTINUOUS[sampling]
    edm = (sigma_min, sigma_max, sigma_data)
    return replace(with_option(model, "edm", edm, edm, sampling), prediction=prediction, zero_terminal_snr=False)
