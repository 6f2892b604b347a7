"""Pictures in files with all that belongs to them: 16 bits, alpha, colour profile, texts; read, and written again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image as PillowImage
from torch import Tensor

from hires.errors import OutputError
from hires.graph.declare import NodeResult, node
from hires.graph.inputs import Bool, Choice, Int, Socket, Text
from hires.imaging.png import Raster, Rows
from hires.imaging.rasters import open_raster
from hires.imaging.strips import Rounded
from hires.metadata.carrying import DEEP_FORMATS, ENDINGS, carried_texts, copied_exif, save_raster
from hires.metadata.files import Ledger, picture_texts, write_new, write_numbered
from hires.nodes.context import RunContext
from hires.nodes.images import picture_is_there, workflow_texts
from hires.nodes.types import Image, InputPicture
from hires.tiling.upscale_passes import as_tensor

Bits = Annotated[Literal["as loaded", "8", "16"], Choice(("as loaded", "8", "16"))]
Format = Annotated[str, Choice(tuple(ENDINGS))]


@dataclass(frozen=True)
class PictureFacts:
    """What a file holds beside its pixels. bits: 8 or 16 a channel; grey: it has one channel of colour."""

    bits: int = 8
    grey: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)
    icc_profile: bytes | None = None
    exif: PillowImage.Exif | None = None


Facts = Annotated[PictureFacts, Socket("PICTURE_FACTS")]


@node(
    "HiresLoadPicture",
    title="Load Picture (hires)",
    category="image",
    outputs=("IMAGE", "PICTURE_FACTS"),
    validate=picture_is_there,
)
def hires_load_picture(*, image: InputPicture, context: RunContext) -> tuple[Tensor, PictureFacts]:
    """A picture with every bit it has, its alpha as a fourth channel, and what else its file holds."""
    raster, picture = open_raster(context.input_path(image), int(context.max_megapixels * 1e6))
    facts = PictureFacts(
        bits=raster.dtype.itemsize * 8,
        grey=raster.shape[2] < 3,
        texts=picture_texts(picture),
        icc_profile=picture.info.get("icc_profile") if picture.mode != "CMYK" else None,
        exif=copied_exif(picture),
    )
    return as_tensor(as_coloured(raster)), facts


def as_coloured(raster: Raster) -> Raster:
    """Grey becomes red, green and blue; alpha stays."""
    channels = {1: [0, 0, 0], 2: [0, 0, 0, 1]}.get(raster.shape[2])
    return raster if channels is None else raster[..., channels]


@node("HiresSavePicture", title="Save Picture (hires)", category="image", is_output=True)
def hires_save_picture(
    *,
    images: Image,
    facts: Facts | None = None,
    filename_prefix: Annotated[str, Text()] = "extras",
    format: Format = "png",
    bits: Bits = "as loaded",
    quality: Annotated[int, Int(1, 100)] = 90,
    numbered: Annotated[bool, Bool()] = True,
    done: Annotated[str, Text(multiline=True)] = "",
    context: RunContext,
) -> NodeResult:
    """Write pictures as they were loaded: depth, grey, profile and texts; `done` is added to the texts.

    Not numbered, the file has the prefix as its name, with the format's ending where it has none; one that is there
    already is an error.
    """
    facts = facts or PictureFacts()
    folder, stem = context.output_folder(filename_prefix)
    deep = bits == "16" or (bits == "as loaded" and facts.bits > 8 and format in DEEP_FORMATS)
    dtype: np.dtype[Any] = np.dtype(np.uint16 if deep else np.uint8)
    texts = carried_texts(facts.texts, done, workflow_texts(context))
    saved = []
    for image in images:
        rows = Rounded(image.numpy(), dtype, facts.grey)
        write = partial(_write, rows, format, texts, facts, quality)
        saved.append(_placed(folder, stem, ENDINGS[format], write, numbered, context.ledger).name)
    relative = folder.relative_to(context.output_dir.resolve()).as_posix()
    subfolder = "" if relative == "." else relative
    return NodeResult(ui={"images": [{"filename": name, "subfolder": subfolder, "type": "output"} for name in saved]})


def _write(rows: Rows, kind: str, texts: Mapping[str, str], facts: PictureFacts, quality: int, path: Path) -> None:
    exif = PillowImage.Exif()
    if facts.exif is not None:
        exif.load(facts.exif.tobytes())
    save_raster(rows, path, kind, texts, facts.icc_profile, exif, quality)


def _placed(folder: Path, stem: str, ending: str, write: partial[None], numbered: bool, ledger: Ledger | None) -> Path:
    if numbered:
        return write_numbered(folder, stem, ending, write, ledger)
    path = folder / (stem if Path(stem).suffix else f"{stem}{ending}")
    try:
        return write_new(path, write, ledger)
    except FileExistsError as error:
        raise OutputError(f"{path} is there already", "Choose another name.") from error
