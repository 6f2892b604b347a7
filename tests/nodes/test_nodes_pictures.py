"""Pictures: sizes, batches, transparency, enlarging with a network, and what a user may do wrong."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hires.errors import Interrupted, ModelFileError, SettingError
from hires.graph.declare import NodeResult
from hires.imaging.pictures import to_tensor
from hires.models.upscale import UpscaleModel
from hires.nodes import image_batches, image_filters, image_sizes, masks
from hires.nodes.context import RunContext
from hires.tiling.blend import tiled_scale


def picture(height: int, width: int, batch: int = 1, channels: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("width", "height", "size"), [(30, 40, (40, 30)), (30, 0, (15, 30)), (0, 30, (30, 60)), (0, 0, (20, 40))]
)
def test_scaling_to_a_size(context: RunContext, width: int, height: int, size: tuple[int, int]) -> None:
    scaled = image_sizes.image_scale(
        image=picture(20, 40), upscale_method="area", width=width, height=height, crop="disabled", context=context
    )
    assert scaled.shape == (1, *size, 3)


def test_scaling_to_a_number_of_pixels(context: RunContext) -> None:
    scaled = image_sizes.image_scale_to_total_pixels(
        image=picture(30, 50), upscale_method="bilinear", megapixels=0.01, context=context
    )
    factor = math.sqrt(int(0.01 * 1024 * 1024) / 1500)
    assert scaled.shape == (1, round(30 * factor), round(50 * factor), 3)


@pytest.mark.parametrize(("size", "expected"), [((30, 50), (38, 64)), ((50, 30), (64, 38)), ((7, 7), (64, 64))])
def test_scaling_to_the_longer_side(context: RunContext, size: tuple[int, int], expected: tuple[int, int]) -> None:
    scaled = image_sizes.image_scale_to_max_dimension(
        image=picture(*size), upscale_method="area", largest_size=64, context=context
    )
    assert scaled.shape[1:3] == expected


def test_a_size_beyond_the_limit_is_refused_before_it_is_made(context: RunContext) -> None:
    with pytest.raises(SettingError, match="megapixels; the limit is 200"):
        image_sizes.image_scale(
            image=picture(8, 8), upscale_method="area", width=16384, height=16384, crop="disabled", context=context
        )


def test_cropping_turning_and_mirroring() -> None:
    image = picture(10, 20)
    cut = image_sizes.image_crop(image=image, width=8, height=8, x=16, y=99)
    assert torch.equal(cut, image[:, 9:, 16:])
    turned = image_sizes.image_rotate(image=image, rotation="90 degrees")
    assert torch.equal(turned, torch.flip(image, [1]).transpose(1, 2))  # clockwise: the bottom row becomes the left
    assert torch.equal(image_sizes.image_rotate(image=image, rotation="180 degrees"), image.flip([1, 2]))
    assert torch.equal(image_sizes.image_flip(image=image, flip_method="x-axis: vertically"), image.flip([1]))
    assert torch.equal(image_sizes.image_flip(image=image, flip_method="y-axis: horizontally"), image.flip([2]))


def test_the_size_is_told(context: RunContext) -> None:
    result = image_sizes.get_image_size(image=picture(10, 20, batch=3))
    assert isinstance(result, NodeResult) and result.outputs == (20, 10, 3)
    assert result.ui == {"text": ["width: 20\nheight: 10\nbatch size: 3"]}


def test_batches() -> None:
    first, second = picture(10, 20, batch=2), picture(30, 20, channels=4, seed=2)
    joined = image_batches.image_batch(image1=first, image2=second)
    assert joined.shape == (3, 10, 20, 4) and torch.equal(joined[:2, ..., :3], first)
    assert torch.equal(image_batches.image_from_batch(image=joined, batch_index=9, length=5), joined[2:])
    assert torch.equal(image_batches.image_from_batch(image=joined, batch_index=1, length=2), joined[1:])
    assert image_batches.repeat_image_batch(image=first, amount=3).shape[0] == 6
    regrouped = image_batches.rebatch_images(images=[first, joined], batch_size=[3])  # type: ignore[arg-type]
    assert [tuple(batch.shape) for batch in regrouped] == [(2, 10, 20, 3), (3, 10, 20, 4)]


def test_an_empty_picture_has_its_colour(context: RunContext) -> None:
    image = image_batches.empty_image(width=3, height=2, batch_size=2, color=0xFF8000, context=context)
    assert image.shape == (2, 2, 3, 3)
    assert image[1, 1, 2].tolist() == pytest.approx([1.0, 128 / 255, 0.0])


def test_transparency_is_split_and_joined() -> None:
    image = picture(6, 8, channels=4)
    colour, mask = image_filters.split_image_with_alpha(image=image)
    assert torch.allclose(image_filters.join_image_with_alpha(image=colour, alpha=mask), image, atol=1e-6)
    opaque = image_filters.split_image_with_alpha(image=colour)[1]
    assert opaque.shape == (1, 6, 8) and float(opaque.max()) == 0.0
    many = image_filters.join_image_with_alpha(image=picture(6, 8, batch=3), alpha=torch.zeros(1, 3, 4))
    assert many.shape == (3, 6, 8, 4) and float(many[..., 3].min()) == 1.0


def test_composites_with_masks_as_transparency() -> None:
    source, destination = picture(6, 8), picture(12, 16, seed=2)
    none, all_ = torch.zeros(1, 6, 8), torch.ones(1, 12, 16)
    colour, mask = image_filters.porter_duff_image_composite(
        source=source, source_alpha=none, destination=destination, destination_alpha=all_, mode="SRC_OVER"
    )
    assert colour.shape == (1, 12, 16, 3) and float(mask.max()) == pytest.approx(0.0)
    kept, _ = image_filters.porter_duff_image_composite(
        source=source, source_alpha=none, destination=destination, destination_alpha=torch.zeros(1, 12, 16)
    )
    assert torch.allclose(kept, destination, atol=1e-6)


def test_pasting_with_and_without_a_mask() -> None:
    destination, source = picture(10, 10), picture(4, 4, seed=2)
    pasted = image_filters.image_composite_masked(destination=destination, source=source, x=8, y=3)
    assert torch.equal(pasted[:, 3:7, 8:], source[:, :, :2])
    hidden = image_filters.image_composite_masked(
        destination=destination, source=source, resize_source=True, mask=torch.zeros(1, 2, 2)
    )
    assert torch.equal(hidden, destination)


def test_simple_filters_go_through_the_nodes() -> None:
    image = picture(12, 14)
    assert torch.equal(image_filters.image_invert(image=image), 1 - image)
    assert image_filters.image_blur(image=image, blur_radius=3).std() < image.std()
    assert image_filters.image_sharpen(image=image, sharpen_radius=2).std() > image.std()
    blended = image_filters.image_blend(
        image1=image, image2=picture(12, 14, seed=3), blend_factor=0.5, blend_mode="multiply"
    )
    assert blended.shape == image.shape and (blended <= image + 1e-6).all()
    assert image_filters.canny(image=image).shape == image.shape
    reduced = image_filters.image_quantize(image=image, colors=2, dither="none")
    assert len(reduced.reshape(-1, 3).unique(dim=0)) == 2
    assert torch.equal(image_filters.image_add_noise(image=image, seed=1, strength=0.0), image)
    assert not torch.equal(image_filters.image_add_noise(image=image, seed=1), image)


def test_channels_of_a_picture_as_masks() -> None:
    image = picture(4, 5, channels=4)
    for index, channel in enumerate(("red", "green", "blue", "alpha")):
        assert torch.equal(masks.image_to_mask(image=image, channel=channel), image[..., index])
    with pytest.raises(SettingError, match="no alpha channel"):
        masks.image_to_mask(image=image[..., :3], channel="alpha")


def test_masks_are_cut_and_thresholded(context: RunContext) -> None:
    mask = torch.rand(10, 12, generator=torch.Generator().manual_seed(3))
    assert torch.equal(masks.crop_mask(mask=mask, x=8, y=2, width=20, height=3), mask[None, 2:5, 8:])
    with pytest.raises(SettingError, match=r"nothing is left of a mask of 12x10 pixels cut at \(12, 0\)"):
        masks.crop_mask(mask=mask, x=12)
    assert torch.equal(masks.threshold_mask(mask=mask, value=0.25), (mask > 0.25).float())
    assert torch.equal(masks.invert_mask(mask=mask), 1 - mask)
    solid = masks.solid_mask(value=0.3, width=5, height=4, context=context)
    assert solid.shape == (1, 4, 5) and float(solid.min()) == float(solid.max()) == pytest.approx(0.3)


@pytest.fixture
def compact(context: RunContext) -> UpscaleModel:
    return image_sizes.load_upscale_model(model_name="upscaler_compact_x4.safetensors", context=context)


@pytest.mark.parametrize("name", ["upscaler_compact_x4", "upscaler_esrgan_x4"])
def test_networks_enlarge_as_comfyui(context: RunContext, reference: Path, name: str) -> None:
    image = to_tensor(Image.open(reference / "ref_a.png"))
    model = image_sizes.load_upscale_model(model_name=f"{name}.safetensors", context=context)
    enlarged = image_sizes.image_upscale_with_model(upscale_model=model, image=image, context=context)
    expected = np.load(reference / "expected.npz")[f"image_{name}"]
    ours = (enlarged.numpy() * 255).clip(0, 255).astype(np.uint8)
    assert np.abs(ours.astype(float) - expected).mean() <= 1.0


def test_tiles_that_do_not_fit_are_halved(
    context: RunContext, compact: UpscaleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[int, int]] = []
    whole = UpscaleModel.upscale

    def cramped(self: UpscaleModel, pixels: torch.Tensor) -> torch.Tensor:
        tried.append((pixels.shape[-2], pixels.shape[-1]))
        if pixels.shape[-1] > 256:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, pixels)

    monkeypatch.setattr(UpscaleModel, "upscale", cramped)
    image = picture(16, 300)
    enlarged = image_sizes.image_upscale_with_model(upscale_model=compact, image=image, context=context)
    assert tried == [(16, 300), (16, 256), (16, 76)]
    expected = tiled_scale(image.movedim(-1, 1), lambda part: whole(compact, part), (256, 256), 32, 4)
    assert torch.equal(enlarged, expected.movedim(1, -1))


def test_enlarging_stops_between_tiles(context: RunContext, compact: UpscaleModel) -> None:

    context.stop = threading.Event()
    context.stop.set()
    with pytest.raises(Interrupted):
        image_sizes.image_upscale_with_model(upscale_model=compact, image=picture(8, 8), context=context)


def test_a_model_that_is_not_there_is_named(context: RunContext) -> None:
    with pytest.raises(ModelFileError, match=r"no file '4x-nothing\.pth' among the 2 upscale_models"):
        image_sizes.load_upscale_model(model_name="4x-nothing.pth", context=context)
