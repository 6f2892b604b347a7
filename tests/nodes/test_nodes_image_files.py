"""Pictures read and written by nodes: animations, depths, annotated names, previews, workflows in files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hires.errors import ImageFileError, SettingError
from hires.graph.cache import ResultCache
from hires.graph.execute import execute
from hires.graph.validate import validate
from hires.graph.workflow import Workflow
from hires.imaging.pictures import open_frames
from hires.nodes import images as nodes
from hires.nodes.context import RunContext, TempFolder
from hires.nodes.registry import node_registry


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((width, height), 90).convert(mode)


def test_an_animation_is_a_batch_of_frames_of_one_size(context: RunContext) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(context.input_dir / "moving.gif", save_all=True, append_images=frames[1:])
    image, mask = nodes.load_image(image="moving.gif", context=context)
    assert image.shape == (3, 4, 6, 3) and len(mask) == 3
    assert image[:, 0, 0].round().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    pages = [noise(6, 4), noise(5, 4), noise(6, 4)]
    pages[0].save(context.input_dir / "pages.tiff", save_all=True, append_images=pages[1:])
    assert nodes.load_image(image="pages.tiff", context=context)[0].shape == (2, 4, 6, 3)


def test_all_frames_count_against_the_limit(tmp_path: Path) -> None:
    frames = [noise(20, 20) for _ in range(5)]
    frames[0].save(tmp_path / "long.gif", save_all=True, append_images=frames[1:])
    assert len(open_frames(tmp_path / "long.gif", 2000)) == 5
    with pytest.raises(ImageFileError, match="5 frames of 20x20 pixels"):
        open_frames(tmp_path / "long.gif", 1999)


def test_sixteen_bits_are_brought_to_eight(context: RunContext) -> None:
    levels = np.array([[0, 255 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(context.input_dir / "deep.png")
    image, mask = nodes.load_image(image="deep.png", context=context)
    assert (image[0, 0, :, 0] * 255).tolist() == pytest.approx([0, 100, 255])
    assert mask.shape == (1, 64, 64)


def test_masks_from_channels(context: RunContext) -> None:
    picture = noise(8, 6, "RGBA")
    picture.putpixel((0, 0), (10, 20, 30, 51))
    picture.save(context.input_dir / "clear.png")
    noise(8, 6).save(context.input_dir / "plain.png")
    alpha = nodes.load_image_mask(image="clear.png", channel="alpha", context=context)
    assert alpha.shape == (1, 6, 8) and float(alpha[0, 0, 0]) == pytest.approx(0.8)
    green = nodes.load_image_mask(image="clear.png", channel="green", context=context)
    assert float(green[0, 0, 0]) == pytest.approx(20 / 255)
    opaque = nodes.load_image_mask(image="plain.png", channel="alpha", context=context)
    assert opaque.shape == (1, 6, 8) and float(opaque.max()) == 0.0


def test_names_may_point_to_other_folders(context: RunContext) -> None:
    (context.output_dir / "sub").mkdir()
    noise(8, 8).save(context.output_dir / "sub" / "made.png")
    noise(4, 4).save(context.temp.path / "shown.png")
    assert context.files("output") == ["sub/made.png [output]"]
    assert nodes.load_image(image="sub/made.png [output]", context=context)[0].shape[1:3] == (8, 8)
    assert nodes.load_image_output(image="sub/made.png [output]", context=context)[0].shape[1:3] == (8, 8)
    assert nodes.load_image(image="shown.png [temp]", context=context)[0].shape[1:3] == (4, 4)
    for name in ("../x.png [output]", "../../x.png", "../x.png [temp]"):
        with pytest.raises(SettingError, match="is outside the"):
            context.input_path(name)


def test_names_are_found_in_another_spelling(context: RunContext) -> None:
    (context.input_dir / "Sub").mkdir()
    noise(8, 8).save(context.input_dir / "Sub" / "Photo.png")
    assert nodes.load_image(image="sub\\photo.png", context=context)[0].shape[1:3] == (8, 8)


def load_and_preview(name: str) -> Workflow:
    return Workflow.parse(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": name}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
    )


def test_a_missing_picture_is_a_fault_of_the_workflow(context: RunContext) -> None:
    validated = validate(load_and_preview("gone.png"), node_registry(), context)
    fault = validated.faults[0]
    assert (fault.type, fault.node, fault.input) == ("custom_validation_failed", "1", "image")
    assert "Invalid image file: gone.png" in str(fault)


def test_previews_go_to_the_temporary_folder_with_their_workflow(context: RunContext) -> None:
    noise(8, 6).save(context.input_dir / "a.png")
    validated = validate(load_and_preview("a.png"), node_registry(), context)
    assert not validated.faults
    report = execute(validated, node_registry(), context, ResultCache(10**7))
    (entry,) = report.ui["2"]["images"]
    assert entry["type"] == "temp" and entry["filename"].startswith("ComfyUI_temp_")
    written = Image.open(context.temp.path / entry["filename"])
    assert json.loads(written.info["prompt"])["1"]["inputs"]["image"] == "a.png"
    original = Image.open(context.input_dir / "a.png")
    assert written.tobytes() == original.tobytes()


def test_masks_are_previewed_in_grey(context: RunContext) -> None:
    context.prompt = {}
    result = nodes.mask_preview(mask=torch.full((4, 5), 0.5), context=context)
    assert result.ui is not None
    shown = Image.open(context.temp.path / result.ui["images"][0]["filename"])
    assert shown.size == (5, 4) and shown.getpixel((0, 0)) == (127, 127, 127)


def test_a_folder_of_previews_is_made_once_and_for_its_owner_alone() -> None:
    temp = TempFolder()
    assert temp.path == temp.path and temp.path.is_dir()
    assert temp.path.stat().st_mode & 0o077 == 0


def test_pictures_for_a_socket_are_sent_and_never_reused(context: RunContext) -> None:
    sent: list[tuple[int, int, Image.Image]] = []
    view = context.for_node("1", "key", {}, lambda *report: sent.append(report))
    nodes.save_image_websocket(images=torch.zeros(2, 4, 5, 3), context=view)
    assert [(value, total, picture.size) for value, total, picture in sent] == [(1, 2, (5, 4)), (2, 2, (5, 4))]
    assert math.isnan(nodes.never_the_same()) and not list(context.output_dir.iterdir())


def test_an_animation_carries_its_workflow(context: RunContext) -> None:
    context.prompt = {"1": {"class_type": "X", "inputs": {}}}
    context.extra_pnginfo = {"workflow": {"nodes": []}}
    images = torch.rand(3, 16, 24, 3, generator=torch.Generator().manual_seed(1))
    result = nodes.save_animated_webp(
        images=images, filename_prefix="sub/moving", fps=8.0, method="fastest", context=context
    )
    assert result.ui is not None and result.ui["animated"] == [True]
    entry = result.ui["images"][0]
    assert entry == {"filename": "moving_00001_.webp", "subfolder": "sub", "type": "output"}
    written = Image.open(context.output_dir / "sub" / entry["filename"])
    assert (written.n_frames, written.size) == (3, (24, 16))  # type: ignore[attr-defined]
    exif = written.getexif()
    assert exif[0x0110].startswith("prompt:{") and exif[0x010F] == 'workflow:{"nodes": []}'
    written.seek(1)
    written.load()
    assert written.info["duration"] == 125
    expected = (images[1].numpy() * 255).astype(np.uint8)
    assert np.array_equal(np.asarray(written.convert("RGB")), expected)  # lossless
