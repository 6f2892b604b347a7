"""Pictures made ready for inpainting and pasted back, latents under a mask, what an inpainting network is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from hires.errors import SettingError
from hires.imaging.flatten import flattened
from hires.imaging.inpaint_masks import blurred, crop_region, to_aspect
from hires.imaging.pictures import alpha_mask, to_pictures, to_tensor
from hires.nodes.context import RunContext
from hires.nodes.img2img import (
    hires_flatten,
    hires_grey_mask,
    hires_inpaint_area,
    hires_inpaint_sketch,
    hires_mask_pictures,
    hires_outpaint,
    hires_paste_back,
    hires_resize_mode,
    mask_tensor,
)
from hires.nodes.inpainting import hires_inpaint_conditioning, hires_latent_fill, hires_latent_mask
from hires.nodes.latents import latent_from_batch
from hires.nodes.types import ConditioningList
from hires.sampling.noise import image_noise


@st.composite
def marked(draw: st.DrawFn) -> Image.Image:
    """A few rectangles of white on black."""
    width, height = draw(st.integers(20, 70)), draw(st.integers(20, 70))
    pixels = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
        pixels[top : top + tall, left : left + wide] = 255
    return Image.fromarray(pixels)


def noisy(size: tuple[int, int], seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(levels)


def pixels(image: Tensor) -> np.ndarray:
    return np.asarray(to_pictures(image)[0])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    marked(),
    st.sampled_from(["Whole picture", "Only masked"]),
    st.integers(0, 6),
    st.integers(0, 20),
    st.booleans(),
    st.sampled_from(["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"]),
)
def test_what_is_outside_the_blurred_mask_comes_back_byte_for_byte(
    context: RunContext, mask: Image.Image, area: str, blur: int, padding: int, invert: bool, mode: str
) -> None:
    source, frame = noisy(mask.size), (48, 64)
    inverted = mask.point(lambda level: 255 - level) if invert else mask
    soft = blurred(inverted, blur)
    if area == "Only masked" and soft.getbbox() is None:
        return  # then the whole picture is drawn
    options = {"area": area, "padding": padding, "invert": invert, "blur_x": float(blur), "blur_y": float(blur)}
    own = area == "Whole picture" and mode == "Just resize"
    image, drawn_mask, where = hires_inpaint_area(
        image=to_tensor(source), mask=mask_tensor([mask]), width=frame[0], height=frame[1], mode=mode, own_size=own,
        context=context, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    assert tuple(drawn_mask.shape[1:]) == (64, 48)
    result = to_tensor(noisy(frame, seed=1))
    made = pixels(hires_paste_back(image=result, area=where, context=context))
    if area == "Only masked" or own:
        assert made.shape == np.asarray(source).shape
        outside = np.asarray(soft) == 0
        assert (made[outside] == np.asarray(source)[outside]).all()
        if where.box is not None:
            found = crop_region(soft, padding)
            assert found is not None and where.box == to_aspect(found, source.size, frame)
    else:
        outside = np.asarray(where.overlays[0]) == 0
        assert (made[outside] == np.asarray(where.source)[outside]).all()
    if not outside.all() and not own and area == "Whole picture" and bool((drawn_mask == 1).any()):
        assert (made != np.asarray(where.source)).any()
    assert image.shape[-1] == 3


def test_only_masked_draws_the_box_and_lays_it_back(context: RunContext) -> None:
    source = noisy((100, 100))
    mask = Image.new("L", (100, 100))
    mask.paste(255, (10, 20, 23, 34))
    image, drawn, where = hires_inpaint_area(
        image=to_tensor(source), mask=mask_tensor([mask]), width=64, height=64, area="Only masked", padding=4,
        blur_x=0.0, blur_y=0.0, context=context,
    )  # fmt: skip
    assert where.box == to_aspect((6, 16, 27, 38), (100, 100), (64, 64))
    assert tuple(image.shape[1:3]) == tuple(drawn.shape[1:]) == (64, 64)
    red = torch.tensor([1.0, 0.0, 0.0]).expand(1, 64, 64, 3)
    made = pixels(hires_paste_back(image=red, area=where, context=context))
    assert (made[20:34, 10:23] == [255, 0, 0]).all()
    boxed = pixels(hires_paste_back(image=red, area=where, overlay=False, context=context))
    left, top, right, bottom = where.box or (0, 0, 0, 0)
    assert (boxed[top:bottom, left:right] == [255, 0, 0]).all()
    assert (boxed[bottom:] == np.asarray(source)[bottom:]).all()


@pytest.mark.parametrize("area", ["Whole picture", "Only masked"])
def test_the_masked_composite_over_the_picture_is_the_result(context: RunContext, area: str) -> None:
    """Both are of the picture's size, also where a part of it is drawn at another one."""
    source, drawn = noisy((48, 40)), noisy((64, 64), 1)
    mask = Image.new("L", source.size)
    mask.paste(255, (10, 8, 34, 30))
    _, _, where = hires_inpaint_area(
        image=to_tensor(source), mask=mask_tensor([mask]), width=64, height=64, area=area, padding=4,
        blur_x=0.0, blur_y=0.0, own_size=True, context=context,
    )  # fmt: skip
    shown, composite = hires_mask_pictures(image=to_tensor(drawn), area=where, context=context)
    over = to_pictures(composite)[0]
    assert over.mode == "RGBA" and over.size == source.size
    assert (pixels(shown) == np.asarray(mask)[..., None]).all() and np.array_equal(over.getchannel("A"), mask)
    assert (np.asarray(over)[np.asarray(mask) == 0] == 0).all()
    laid = Image.alpha_composite(source.convert("RGBA"), over).convert("RGB")
    assert np.array_equal(laid, pixels(hires_paste_back(image=to_tensor(drawn), area=where, context=context)))


def test_an_empty_mask_draws_all_of_it_and_says_so(context: RunContext) -> None:
    notes: list[str] = []
    context.note = notes.append  # type: ignore[method-assign]
    source = noisy((64, 64))
    empty = torch.zeros(1, 64, 64)
    _, drawn, where = hires_inpaint_area(
        image=to_tensor(source), mask=empty, width=64, height=64, area="Only masked", context=context
    )
    assert bool((drawn == 1).all()) and notes == ["the mask is empty, so the whole picture is drawn"]
    result = to_tensor(noisy((64, 64), 1))
    assert (pixels(hires_paste_back(image=result, area=where, context=context)) == pixels(result)).all()


def test_transparent_parts_lie_on_the_background() -> None:
    layer = noisy((20, 10)).convert("RGBA")
    layer.putalpha(Image.linear_gradient("L").resize((20, 10)))
    flat = hires_flatten(image=to_tensor(layer), mask=alpha_mask(layer), background="#102030")
    assert (pixels(flat) == np.asarray(flattened(layer, "#102030"))).all()
    opaque = noisy((20, 10))
    assert (pixels(hires_flatten(image=to_tensor(opaque), mask=alpha_mask(opaque))) == np.asarray(opaque)).all()


def test_an_uploaded_mask_is_its_luminance_or_what_of_a_layer_is_opaque() -> None:
    grey = Image.linear_gradient("L").resize((16, 16))
    made = hires_grey_mask(image=to_tensor(grey), mask=alpha_mask(grey))
    assert torch.equal(made, mask_tensor([grey.convert("RGB").convert("L")]))
    layer = Image.new("RGBA", (16, 16))
    layer.putalpha(grey)
    cut = hires_grey_mask(image=to_tensor(layer), mask=alpha_mask(layer))
    assert torch.equal(cut, (mask_tensor([grey]) > 128 / 255).float())
    whole = hires_grey_mask(image=to_tensor(layer), mask=alpha_mask(layer), rounding=False)
    assert torch.allclose(whole, mask_tensor([grey]))


def test_a_sketch_is_masked_where_it_differs_and_shines_through() -> None:
    below = Image.new("RGB", (16, 16), (100, 100, 100))
    above = below.copy()
    above.paste((200, 0, 0), (4, 4, 8, 8))
    start, mask = hires_inpaint_sketch(sketched=to_tensor(above), image=to_tensor(below), transparency=50.0)
    assert float(mask.sum()) == 16 and bool((mask[0, 4:8, 4:8] == 1).all())
    assert abs(int(pixels(start)[5, 5, 0]) - 150) <= 1 and (pixels(start)[0, 0] == 100).all()


@pytest.mark.parametrize("area", ["Whole picture", "Only masked"])
def test_what_was_painted_does_not_show_at_the_edges_of_the_result(context: RunContext, area: str) -> None:
    below = Image.new("RGB", (64, 64), (0, 0, 0))
    above = below.copy()
    above.paste((255, 255, 255), (24, 24, 40, 40))
    start, mask = hires_inpaint_sketch(sketched=to_tensor(above), image=to_tensor(below))
    image, _, where = hires_inpaint_area(
        image=start, mask=mask, width=64, height=64, area=area, below=to_tensor(below), context=context,
    )  # fmt: skip
    assert float(image.max()) == 1.0  # drawing begins from the paint
    black = torch.zeros(1, 64, 64, 3)
    assert not pixels(hires_paste_back(image=black, area=where, context=context)).any()


def test_room_for_outpainting(context: RunContext) -> None:
    source = noisy((64, 64))
    canvas, mask, latent = hires_outpaint(
        image=to_tensor(source), left=False, right=True, up=False, down=False, pixels=32, mask_blur=2.0, context=context
    )
    assert pixels(canvas).shape == (64, 128, 3) and (pixels(canvas)[:, :64] == np.asarray(source)).all()
    assert bool((mask[0, :, 64:] == 1).all()) and bool((mask[0, :, :60] == 0).all())
    assert bool((latent[0, :, :63] == 0).all())
    with pytest.raises(SettingError, match="direction"):
        hires_outpaint(image=to_tensor(source), left=False, right=False, up=False, down=False, context=context)


def test_a_picture_that_grows_is_enlarged_by_the_named_upscaler(context: RunContext) -> None:
    source = noisy((16, 16))
    made = hires_resize_mode(image=to_tensor(source), width=32, height=32, upscaler="Nearest", context=context)
    assert (pixels(made) == np.asarray(source.resize((32, 32), Image.Resampling.NEAREST))).all()
    lanczos = hires_resize_mode(image=to_tensor(source), width=32, height=32, context=context)
    assert (pixels(lanczos) == np.asarray(source.resize((32, 32), Image.Resampling.LANCZOS))).all()


def latents(count: int = 2) -> Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(9))


def half() -> Tensor:
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    return mask


def test_the_latent_mask_is_rounded_unless_it_is_soft() -> None:
    ramp = mask_tensor([Image.linear_gradient("L").resize((64, 64))])
    hard = hires_latent_mask(samples={"samples": latents()}, mask=ramp)
    assert set(hard["noise_mask"].unique().tolist()) == {0.0, 1.0} and hard["noise_mask"].shape[-2:] == (8, 8)
    soft = hires_latent_mask(samples={"samples": latents()}, mask=ramp, soft=True)
    assert len(soft["noise_mask"].unique()) > 4 and soft["masking"].soft is not None
    assert hard["masking"].soft is None and torch.equal(hard["masking"].original, latents())
    second = latent_from_batch(samples=hard, batch_index=1, length=1)
    assert torch.equal(second["masking"].original, latents()[1:])


@pytest.mark.parametrize("count_seeds", [True, False])
def test_latent_noise_and_nothing_lie_under_the_mask(context: RunContext, count_seeds: bool) -> None:
    model = context.store.checkpoint("thin_sd15").model
    assert model is not None
    masked = hires_latent_mask(samples={"samples": latents()}, mask=half())
    nothing = hires_latent_fill(samples=masked, model=model, fill="latent nothing")
    assert torch.equal(nothing["samples"][..., :4], latents()[..., :4]) and not nothing["samples"][..., 4:].any()
    filled = hires_latent_fill(samples=masked, model=model, fill="latent noise", seed=7, count_seeds=count_seeds)
    noise = image_noise([7, 8 if count_seeds else 7], (4, 8, 8), "NV")
    assert torch.allclose(filled["samples"][..., 4:] * model.latent_scale, noise[..., 4:], atol=1e-5)
    assert torch.equal(filled["masking"].original, filled["samples"])
    with pytest.raises(SettingError, match="no mask"):
        hires_latent_fill(samples={"samples": latents()}, model=model, fill="latent noise")


def test_an_inpainting_network_is_shown_the_mask_and_grey_under_it(context: RunContext) -> None:
    checkpoint = context.store.checkpoint("thin_sd15_inpainting")
    model, vae = checkpoint.model, checkpoint.vae
    assert model is not None and vae is not None
    text: ConditioningList = [(torch.zeros(1, 77, 8), {})]
    image = to_tensor(noisy((64, 64)))

    def shown(weight: float, mask: Tensor | None) -> dict[str, Tensor]:
        made, _ = hires_inpaint_conditioning(
            positive=text, negative=text, model=model, vae=vae, pixels=image, mask=mask, mask_weight=weight,
            context=context,
        )  # fmt: skip
        return made[0][1]

    from hires.nodes.vae import vae_encode

    greyed = torch.where(half()[..., None] > 0.5, torch.tensor(0.5), image)
    expected = vae_encode(pixels=greyed, vae=vae, context=context)["samples"]
    hidden = shown(1.0, half())
    assert torch.allclose(hidden["concat_latent_image"], expected, atol=1e-4)
    assert torch.equal(hidden["concat_mask"], half()[:, ::8, ::8])
    seen = vae_encode(pixels=image, vae=vae, context=context)["samples"]
    assert torch.allclose(shown(0.0, half())["concat_latent_image"], seen, atol=1e-4)
    assert bool((shown(1.0, None)["concat_mask"] == 1).all())
    other = context.store.checkpoint("thin_sd15").model
    assert other is not None
    same, _ = hires_inpaint_conditioning(
        positive=text, negative=text, model=other, vae=vae, pixels=image, context=context
    )
    assert same is text
