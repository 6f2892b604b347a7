"""Pictures and latents in files: loading, saving, previews."""

from __future__ import annotations

import json
import math
import secrets
import string
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL.Image import Image as Picture
from safetensors.torch import load_file, save_file
from torch import Tensor

from hires.errors import ImageFileError
from hires.graph.declare import NodeResult, node
from hires.graph.digest import digest
from hires.graph.inputs import Bool, Choice, Extra, FileChoice, Float, Int, Text
from hires.imaging.masks import as_grey
from hires.imaging.pictures import alpha_mask, eight_bit, open_frames, open_picture, to_pictures, to_tensor
from hires.metadata.carrying import PLAIN_ENDINGS, save_raster, why_not
from hires.metadata.files import ascii_json, save_png, save_webp, write_numbered
from hires.metadata.infotext import for_image
from hires.nodes.context import RunContext
from hires.nodes.types import Image, InputPicture, Latent, LatentDict, Mask

Prefix = Annotated[str, Text()]
Channel = Annotated[Literal["alpha", "red", "green", "blue"], Choice(("alpha", "red", "green", "blue"))]
OUTPUT_FOLDER = {
    "image_upload": True,
    "image_folder": "output",
    "remote": {"route": "/internal/files/output", "refresh_button": True, "control_after_refresh": "first"},
}
"""How the editor fills the list of LoadImageOutput."""
OutputPicture = Annotated[str, FileChoice("output"), OUTPUT_FOLDER]
WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}
LATENT_VERSION = "latent_format_version_0"


def picture_is_there(image: str | None, context: RunContext) -> bool | str:
    """Whether a node's picture can be found; True for a linked name, which is not known yet."""
    if image is None or context.input_path(image).is_file():
        return True
    return f"Invalid image file: {image}"


@node("LoadImage", title="Load Image", category="image", outputs=("IMAGE", "MASK"), validate=picture_is_there)
def load_image(*, image: InputPicture, context: RunContext) -> tuple[Tensor, Tensor]:
    """A picture of the input folder, and a mask of what is transparent in it; an animation is a batch."""
    frames = open_frames(context.input_path(image))
    return torch.cat([to_tensor(frame) for frame in frames]), torch.cat([alpha_mask(frame) for frame in frames])


@node(
    "LoadImageOutput",
    title="Load Image (from Outputs)",
    category="image",
    outputs=("IMAGE", "MASK"),
    validate=picture_is_there,
)
def load_image_output(*, image: OutputPicture, context: RunContext) -> tuple[Tensor, Tensor]:
    """A picture of the output folder, as LoadImage gives it."""
    return load_image(image=image, context=context)


@node("LoadImageMask", title="Load Image (as Mask)", category="mask", outputs=("MASK",), validate=picture_is_there)
def load_image_mask(*, image: InputPicture, channel: Channel, context: RunContext) -> Tensor:
    """One channel of a picture as a mask; alpha is inverted, so that transparent = 1."""
    picture = eight_bit(open_picture(context.input_path(image))).convert("RGBA")
    if channel == "alpha":
        return alpha_mask(picture)
    return to_tensor(picture)[..., ("red", "green", "blue").index(channel)]


@node("SaveImage", title="Save Image", category="image", is_output=True)
def save_image(
    *,
    images: Image,
    filename_prefix: Prefix = "ComfyUI",
    parameters: Annotated[str, Text(multiline=True), Extra] = "",
    format: Annotated[str, Choice(tuple(PLAIN_ENDINGS)), Extra] = "png",
    quality: Annotated[int, Int(1, 100), Extra] = 90,
    parameters_of: Annotated[str, Text(), Extra, "What the infotext describes; it is left out for anything else."] = "",
    context: RunContext,
) -> NodeResult:
    """Write each picture with the workflow, and with infotext where the recipe gave it.

    An infotext tells of one workflow: with parameters_of, it is left out where that was changed since. `quality` is of
    JPEG, WebP and AVIF. What such a format cannot hold, or whose infotext it cannot, becomes a PNG.
    """
    folder, stem = context.output_folder(filename_prefix)
    if parameters and parameters_of and not _is_described(parameters_of, context):
        context.note("the workflow was changed: its old infotext was left out, the workflow is in the picture")
        parameters = ""
    saved = _write_pictures(images, folder, stem, context, parameters, format=format, quality=quality)
    subfolder = _subfolder(folder, context)
    return NodeResult(ui={"images": [{"filename": name, "subfolder": subfolder, "type": "output"} for name in saved]})


def _is_described(parameters_of: str, context: RunContext) -> bool:
    """Whether the pictures of this node are made of what its infotext was written for."""
    from hires.nodes.registry import own_nodes

    node = context.prompt.get(context.node_id, {})
    return digest(context.prompt, node.get("inputs", {}).get("images"), own_nodes()) == parameters_of


def _write_pictures(
    images: Tensor,
    folder: Path,
    stem: str,
    context: RunContext,
    parameters: str = "",
    compression: int = 4,
    format: str = "png",
    quality: int = 90,
) -> list[str]:
    """The names of the files, one per picture."""
    names = []
    for index, picture in enumerate(to_pictures(images)):
        texts = workflow_texts(context)
        if parameters:
            texts = {"parameters": for_image(parameters, index)} | texts
        if (reason := why_not(format, picture.width, picture.height, texts)) is not None:
            context.note(f"written as PNG: {reason}")
            format = "png"
        if format == "png":
            write = partial(save_png, picture, texts=texts, compression=compression)
        else:
            write = partial(_write_lossy, picture, format, texts, quality)
        names.append(write_numbered(folder, stem, PLAIN_ENDINGS[format], write, context.ledger).name)
    return names


def _write_lossy(picture: Picture, kind: str, texts: Mapping[str, str], quality: int, path: Path) -> None:
    save_raster(np.asarray(picture), path, kind, texts, quality=quality)


def workflow_texts(context: RunContext) -> dict[str, str]:
    """What every written picture carries of the run: `prompt`, `workflow` and whatever else the client sent."""
    return {"prompt": ascii_json(context.prompt)} | {
        key: ascii_json(value) for key, value in context.extra_pnginfo.items()
    }


def _subfolder(folder: Path, context: RunContext) -> str:
    relative = folder.relative_to(context.output_dir.resolve()).as_posix()
    return "" if relative == "." else relative


def previewed(images: Tensor, context: RunContext) -> NodeResult:
    """Pictures written to the folder of previews, for a client to show."""
    stem = "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
    names = _write_pictures(images, context.temp.path, stem, context, compression=1)
    return NodeResult(ui={"images": [{"filename": name, "subfolder": "", "type": "temp"} for name in names]})


@node("PreviewImage", title="Preview Image", category="image", is_output=True)
def preview_image(*, images: Image, context: RunContext) -> NodeResult:
    """Show pictures without keeping them."""
    return previewed(images, context)


@node("MaskPreview", title="Preview Mask", category="mask", is_output=True)
def mask_preview(*, mask: Mask, context: RunContext) -> NodeResult:
    """Show masks without keeping them."""
    return previewed(as_grey(mask), context)


def never_the_same() -> float:
    """A fingerprint that no run shares with another."""
    return math.nan


@node("SaveImageWebsocket", category="api/image", is_output=True, fingerprint=never_the_same)
def save_image_websocket(*, images: Image, context: RunContext) -> NodeResult:
    """Send each picture to the client as a preview; nothing is written."""
    for index, picture in enumerate(to_pictures(images)):
        context.progress(index + 1, len(images), picture)
    return NodeResult()


@node("SaveAnimatedWEBP", category="image/animation", is_output=True)
def save_animated_webp(
    *,
    images: Image,
    filename_prefix: Prefix = "ComfyUI",
    fps: Annotated[float, Float(0.01, 1000.0, 0.01)] = 6.0,
    lossless: Annotated[bool, Bool()] = True,
    quality: Annotated[int, Int(0, 100)] = 80,
    method: Annotated[str, Choice(tuple(WEBP_METHODS))],
    context: RunContext,
) -> NodeResult:
    """Write the batch as one animation, with the workflow in its EXIF data."""
    folder, stem = context.output_folder(filename_prefix)
    frames = to_pictures(images)
    options: dict[str, Any] = {
        "duration": int(1000.0 / fps),
        "lossless": lossless,
        "quality": quality,
        "method": WEBP_METHODS[method],
    }
    write = partial(save_webp, frames, texts=workflow_texts(context), **options)
    path = write_numbered(folder, stem, ".webp", write, context.ledger)
    entry = {"filename": path.name, "subfolder": _subfolder(folder, context), "type": "output"}
    return NodeResult(ui={"images": [entry], "animated": [len(frames) > 1]})


@node("SaveLatent", category="_for_testing", is_output=True)
def save_latent(*, samples: Latent, filename_prefix: Prefix = "latents/ComfyUI", context: RunContext) -> NodeResult:
    """Write the latent as safetensors, as ComfyUI does."""
    folder, stem = context.output_folder(filename_prefix)
    tensors = {"latent_tensor": samples["samples"].contiguous(), LATENT_VERSION: torch.tensor([])}
    metadata = {"prompt": json.dumps(context.prompt)}
    metadata |= {key: json.dumps(value) for key, value in context.extra_pnginfo.items()}
    write = partial(save_file, tensors, metadata=metadata)
    path = write_numbered(folder, stem, ".latent", write, context.ledger)
    subfolder = _subfolder(folder, context)
    return NodeResult(ui={"latents": [{"filename": path.name, "subfolder": subfolder, "type": "output"}]})


@node("LoadLatent", category="_for_testing", outputs=("LATENT",))
def load_latent(*, latent: Annotated[str, FileChoice("input latents")], context: RunContext) -> LatentDict:
    """Read a latent of the input folder; files from before the version key hold scaled values."""
    path = context.input_path(latent)
    try:
        tensors = load_file(path)
        samples = tensors["latent_tensor"].float()
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ImageFileError(f"{path.name} is no latent file") from error
    except Exception as error:  # safetensors raises its own type, which is not exported everywhere
        raise ImageFileError(f"{path.name} is broken: {error}") from error
    return {"samples": samples if LATENT_VERSION in tensors else samples / 0.18215}
