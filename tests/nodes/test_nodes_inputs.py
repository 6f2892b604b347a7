"""Inputs, defaults and outputs of the nodes for areas, latents, pictures and masks, as ComfyUI has them."""

from __future__ import annotations

import pytest

from hires.graph.inputs import NOTHING, Choice, Float, Int
from hires.nodes.registry import node_registry

REGISTRY = node_registry()

# class type -> inputs in order ("name", "name=default" or "?name"), outputs
TABLE = {
    "ConditioningSetArea": ("conditioning width=64 height=64 x=0 y=0 strength=1.0", "CONDITIONING"),
    "ConditioningSetAreaPercentage": ("conditioning width=1.0 height=1.0 x=0.0 y=0.0 strength=1.0", "CONDITIONING"),
    "ConditioningSetAreaStrength": ("conditioning strength=1.0", "CONDITIONING"),
    "ConditioningSetMask": ("conditioning mask strength=1.0 set_cond_area", "CONDITIONING"),
    "InpaintModelConditioning": (
        "positive negative vae pixels mask noise_mask=True",
        "CONDITIONING CONDITIONING LATENT",
    ),
    "LatentBlend": ("samples1 samples2 blend_factor=0.5", "LATENT"),
    "LatentBatch": ("samples1 samples2", "LATENT"),
    "LatentBatchSeedBehavior": ("samples seed_behavior=fixed", "LATENT"),
    "RebatchLatents": ("latents batch_size=1", "LATENT"),
    "LatentAdd": ("samples1 samples2", "LATENT"),
    "LatentSubtract": ("samples1 samples2", "LATENT"),
    "LatentMultiply": ("samples multiplier=1.0", "LATENT"),
    "LatentInterpolate": ("samples1 samples2 ratio=1.0", "LATENT"),
    "LatentCompositeMasked": ("destination source x=0 y=0 resize_source ?mask", "LATENT"),
    "VAEDecode": ("samples vae", "IMAGE"),
    "VAEEncode": ("pixels vae", "LATENT"),
    "VAEDecodeTiled": ("samples vae tile_size=512 overlap=64 temporal_size=64 temporal_overlap=8", "IMAGE"),
    "VAEEncodeTiled": ("pixels vae tile_size=512 overlap=64 temporal_size=64 temporal_overlap=8", "LATENT"),
    "VAEEncodeForInpaint": ("pixels vae mask grow_mask_by=6", "LATENT"),
    "SetLatentNoiseMask": ("samples mask", "LATENT"),
    "LoadImage": ("image", "IMAGE MASK"),
    "LoadImageMask": ("image channel", "MASK"),
    "LoadImageOutput": ("image", "IMAGE MASK"),
    "PreviewImage": ("images", ""),
    "SaveImageWebsocket": ("images", ""),
    "SaveAnimatedWEBP": ("images filename_prefix=ComfyUI fps=6.0 lossless=True quality=80 method", ""),
    "ImageScale": ("image upscale_method width=512 height=512 crop", "IMAGE"),
    "ImageScaleBy": ("image upscale_method scale_by=1.0", "IMAGE"),
    "ImageScaleToTotalPixels": ("image upscale_method megapixels=1.0", "IMAGE"),
    "ImageScaleToMaxDimension": ("image upscale_method largest_size=512", "IMAGE"),
    "UpscaleModelLoader": ("model_name", "UPSCALE_MODEL"),
    "ImageUpscaleWithModel": ("upscale_model image", "IMAGE"),
    "ImageInvert": ("image", "IMAGE"),
    "ImageBatch": ("image1 image2", "IMAGE"),
    "EmptyImage": ("width=512 height=512 batch_size=1 color=0", "IMAGE"),
    "ImagePadForOutpaint": ("image left=0 top=0 right=0 bottom=0 feathering=40", "IMAGE MASK"),
    "ImageCrop": ("image width=512 height=512 x=0 y=0", "IMAGE"),
    "ImageFlip": ("image flip_method", "IMAGE"),
    "ImageRotate": ("image rotation", "IMAGE"),
    "ImageFromBatch": ("image batch_index=0 length=1", "IMAGE"),
    "RepeatImageBatch": ("image amount=1", "IMAGE"),
    "RebatchImages": ("images batch_size=1", "IMAGE"),
    "GetImageSize": ("image", "INT INT INT"),
    "ImageBlend": ("image1 image2 blend_factor=0.5 blend_mode", "IMAGE"),
    "ImageBlur": ("image blur_radius=1 sigma=1.0", "IMAGE"),
    "ImageSharpen": ("image sharpen_radius=1 sigma=1.0 alpha=1.0", "IMAGE"),
    "ImageQuantize": ("image colors=256 dither", "IMAGE"),
    "ImageCompositeMasked": ("destination source x=0 y=0 resize_source ?mask", "IMAGE"),
    "ImageAddNoise": ("image seed=0 strength=0.5", "IMAGE"),
    "SplitImageWithAlpha": ("image", "IMAGE MASK"),
    "JoinImageWithAlpha": ("image alpha", "IMAGE"),
    "PorterDuffImageComposite": ("source source_alpha destination destination_alpha mode=DST", "IMAGE MASK"),
    "Canny": ("image low_threshold=0.4 high_threshold=0.8", "IMAGE"),
    "MaskToImage": ("mask", "IMAGE"),
    "ImageToMask": ("image channel", "MASK"),
    "ImageColorToMask": ("image color=0", "MASK"),
    "SolidMask": ("value=1.0 width=512 height=512", "MASK"),
    "InvertMask": ("mask", "MASK"),
    "CropMask": ("mask x=0 y=0 width=512 height=512", "MASK"),
    "MaskComposite": ("destination source x=0 y=0 operation", "MASK"),
    "FeatherMask": ("mask left=0 top=0 right=0 bottom=0", "MASK"),
    "GrowMask": ("mask expand=0 tapered_corners=True", "MASK"),
    "ThresholdMask": ("mask value=0.5", "MASK"),
    "MaskPreview": ("mask", ""),
}


@pytest.mark.parametrize("name", TABLE)
def test_inputs_and_outputs(name: str) -> None:
    node_type = REGISTRY[name]
    inputs = []
    for entry in node_type.inputs:
        plain = entry.is_widget and entry.default is not NOTHING and entry.default is not False
        default = f"={entry.default}" if plain else ""
        inputs.append(("" if entry.required else "?") + entry.name + default)
    assert (" ".join(inputs), " ".join(node_type.outputs)) == TABLE[name]


# class type, input -> min, max, step
RANGES = [
    ("ConditioningSetArea", "width", 64, 16384, 8),
    ("ConditioningSetArea", "x", 0, 16384, 8),
    ("ConditioningSetAreaPercentage", "height", 0.0, 1.0, 0.01),
    ("ConditioningSetMask", "strength", 0.0, 10.0, 0.01),
    ("LatentMultiply", "multiplier", -10.0, 10.0, 0.01),
    ("RebatchLatents", "batch_size", 1, 4096, None),
    ("VAEDecodeTiled", "tile_size", 64, 4096, 32),
    ("VAEEncodeTiled", "tile_size", 64, 4096, 64),
    ("VAEEncodeTiled", "overlap", 0, 4096, 32),
    ("VAEEncodeTiled", "temporal_overlap", 4, 4096, 4),
    ("VAEEncodeForInpaint", "grow_mask_by", 0, 64, None),
    ("ImageScale", "width", 0, 16384, None),
    ("ImageScaleToTotalPixels", "megapixels", 0.01, 16.0, 0.01),
    ("ImagePadForOutpaint", "left", 0, 16384, 8),
    ("ImagePadForOutpaint", "feathering", 0, 16384, None),
    ("ImageBlur", "blur_radius", 1, 31, None),
    ("ImageBlur", "sigma", 0.1, 10.0, 0.1),
    ("ImageSharpen", "sigma", 0.1, 10.0, 0.01),
    ("ImageSharpen", "alpha", 0.0, 5.0, 0.01),
    ("EmptyImage", "color", 0, 16777215, None),
    ("GrowMask", "expand", -16384, 16384, None),
    ("SolidMask", "width", 1, 16384, None),
    ("SaveAnimatedWEBP", "fps", 0.01, 1000.0, 0.01),
]


@pytest.mark.parametrize(("name", "entry", "low", "high", "step"), RANGES)
def test_ranges(name: str, entry: str, low: float, high: float, step: float | None) -> None:
    declared = REGISTRY[name].by_name[entry].declaration
    assert isinstance(declared, Int | Float)
    assert (declared.min, declared.max, declared.step) == (low, high, step)


@pytest.mark.parametrize(
    ("name", "entry", "first", "count"),
    [
        ("ConditioningSetMask", "set_cond_area", "default", 2),
        ("ImageScaleToMaxDimension", "upscale_method", "area", 6),
        ("ImageBlend", "blend_mode", "normal", 6),
        ("ImageQuantize", "dither", "none", 6),
        ("PorterDuffImageComposite", "mode", "ADD", 18),
        ("ImageToMask", "channel", "red", 4),
        ("MaskComposite", "operation", "multiply", 6),
        ("SaveAnimatedWEBP", "method", "default", 3),
    ],
)
def test_choices(name: str, entry: str, first: str, count: int) -> None:
    declared = REGISTRY[name].by_name[entry].declaration
    assert isinstance(declared, Choice) and not callable(declared.choices)
    assert declared.choices[0] == first and len(declared.choices) == count
