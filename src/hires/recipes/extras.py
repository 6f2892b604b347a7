"""Enlarging a finished picture, as the web UI's Extras tab does: the request, its workflow, and what is noted of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hires.errors import SettingError
from hires.imaging.alpha import ALPHA_MODES
from hires.imaging.sizes import LARGEST
from hires.imaging.targets import SizeRule, Target, by_factor, to_size
from hires.metadata.carrying import DEEP_FORMATS, ENDINGS, field_line
from hires.recipes.draft import Draft
from hires.recipes.infotext import number

RULES = ("exact", "webui")
TILINGS = ("exact", "a1111")
EDGES = ("clip", "wrap")
UNUSED_SIDE = 512
"""What stands in the node where the size follows from the factor."""


@dataclass(frozen=True)
class Extras:
    """What is asked for. width and height 0: by the factor `scale`; else to that size, covered and, with `crop`, cut.

    visibility in 0..1 is upscaler_2's share. max_side 0: no limit, else the longest side of the result by factor.
    alpha: keep, two-background or flatten; edge: wrap for textures that are laid side by side; rule: exact sizes and
    full precision, or the sizes and the 8-bit steps of the A1111 web UI. tile 0: what fits; tiling: exact, or a1111 for
    the web UI's tiles (192 pixels, 8 of them overlapping, in 8 bits, blue first). bits 0: as the source.
    steps (0: its own number) and seed are for upscalers that draw, LDSR and SD x4; prompt, cfg and noise_level (0 to
    350) for the latter. gfpgan_visibility and codeformer_visibility in 0..1 are the shares of faces restored after
    enlarging, first by GFPGAN, then by CodeFormer, whose weight 0 changes a face most.
    """

    upscaler: str = "Lanczos"
    scale: float = 4.0
    width: int = 0
    height: int = 0
    crop: bool = True
    max_side: int = 0
    upscaler_2: str = "None"
    visibility: float = 0.0
    alpha: str = "keep"
    edge: str = "clip"
    rule: SizeRule = "exact"
    tile: int = 0
    tiling: Literal["exact", "a1111"] = "exact"
    steps: int = 0
    seed: int = 0
    prompt: str = ""
    cfg: float = 9.0
    noise_level: int = 20
    bits: int = 0
    gfpgan_visibility: float = 0.0
    codeformer_visibility: float = 0.0
    codeformer_weight: float = 0.0
    format: str = "png"
    quality: int = 90


def check_extras(request: Extras) -> None:
    """Raise SettingError for the first value that is out of range."""
    for name, value, low, high in (
        ("the factor", request.scale, 0.05, 16),
        ("the visibility of upscaler 2", request.visibility, 0, 1),
        ("the width", request.width, 0, LARGEST),
        ("the height", request.height, 0, LARGEST),
        ("the longest side", request.max_side, 0, LARGEST),
        ("the tile", request.tile, 0, 8192),
        ("the number of steps", request.steps, 0, 1000),
        ("the seed", request.seed, 0, 2**64 - 1),
        ("the guidance scale", request.cfg, 1, 30),
        ("the noise level", request.noise_level, 0, 350),
        ("the visibility of GFPGAN", request.gfpgan_visibility, 0, 1),
        ("the visibility of CodeFormer", request.codeformer_visibility, 0, 1),
        ("the weight of CodeFormer", request.codeformer_weight, 0, 1),
        ("the quality", request.quality, 1, 100),
    ):
        if not low <= value <= high:
            raise SettingError(f"{name} must be from {low} to {high}, not {value}")
    if bool(request.width) != bool(request.height):
        raise SettingError("a size to enlarge to has a width and a height", "Give both, such as 2048x1536.")
    choices: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("alpha mode", request.alpha, ALPHA_MODES),
        ("edge", request.edge, EDGES),
        ("rule", request.rule, RULES),
        ("tiling", request.tiling, TILINGS),
        ("format", request.format, tuple(ENDINGS)),
        ("number of bits", request.bits, (0, 8, 16)),
    )
    for name, chosen, known in choices:
        if chosen not in known:
            raise SettingError(f"unknown {name} {chosen!r}", f"Use one of {', '.join(map(str, known))}.")
    if request.bits == 16 and request.format not in DEEP_FORMATS:
        raise SettingError(f"16 bits cannot be written as {request.format}", "Use PNG or TIFF.")


def extras(request: Extras, picture: str, prefix: str, *, numbered: bool = True) -> dict[str, Any]:
    """The workflow for a picture of the input folder; the result's name in the output folder begins with `prefix`."""
    draft = Draft()
    loaded = draft.add("HiresLoadPicture", image=picture)
    larger = draft.add(
        "HiresUpscale",
        image=loaded.out(0),
        upscaler=request.upscaler,
        upscaler_2=request.upscaler_2,
        visibility=request.visibility,
        alpha=request.alpha,
        edge=request.edge,
        rule=request.rule,
        tile=request.tile,
        tiling=request.tiling,
        steps=request.steps,
        seed=request.seed,
        prompt=request.prompt,
        cfg=request.cfg,
        noise_level=request.noise_level,
        resize="to" if request.width else "by",
        scale_by=request.scale,
        max_side=request.max_side,
        width=request.width or UNUSED_SIDE,
        height=request.height or UNUSED_SIDE,
        crop=request.crop,
    )
    made = larger
    for restorer, visibility in restorers(request):
        made = draft.add(
            "HiresRestoreFaces",
            image=made.out(),
            restorer=restorer,
            visibility=visibility,
            weight=request.codeformer_weight,
        )
    draft.add(
        "HiresSavePicture",
        images=made.out(),
        facts=loaded.out(1),
        filename_prefix=prefix,
        format=request.format,
        bits=str(request.bits) if request.bits else "as loaded",
        quality=request.quality,
        numbered=numbered,
        done=field_line(fields(request)),
    )
    return draft.graph()


def restorers(request: Extras) -> list[tuple[str, float]]:
    """The face restorers that are asked for, with the share of each, in the order of their work."""
    asked = (("GFPGAN", request.gfpgan_visibility), ("CodeFormer", request.codeformer_visibility))
    return [(title, visibility) for title, visibility in asked if visibility > 0]


def fields(request: Extras) -> dict[str, Any]:
    """What is noted in the result, under the web UI's names; options that it lacks only where they are set."""
    found = {f"{title} visibility": number(round(visibility, 3)) for title, visibility in restorers(request)}
    if request.codeformer_visibility > 0:
        found["CodeFormer weight"] = number(round(request.codeformer_weight, 3))
    return {**_enlarging_fields(request), **found}


def _enlarging_fields(request: Extras) -> dict[str, Any]:
    if request.upscaler == "None":
        return {}
    found: dict[str, Any] = {}
    if request.width:
        found["Postprocess upscale to"] = f"{request.width}x{request.height}"
        found["Postprocess crop to"] = f"{request.width}x{request.height}" if request.crop else None
    else:
        found["Postprocess upscale by"] = number(request.scale)
        found["Max side length"] = request.max_side or None
    found["Postprocess upscaler"] = request.upscaler
    if request.visibility > 0 and request.upscaler_2 != "None":
        found["Postprocess upscaler 2"] = request.upscaler_2
        found["Postprocess upscaler 2 visibility"] = number(request.visibility)
    for key, value, default in (("alpha", request.alpha, "keep"), ("edge", request.edge, "clip")):
        found[f"Postprocess {key}"] = value if value != default else None
    found["Postprocess rule"] = request.rule if request.rule != "exact" else None
    found["Postprocess tiling"] = request.tiling if request.tiling != "exact" else None
    found["Postprocess steps"] = request.steps or None
    found["Postprocess seed"] = request.seed or None
    found["Postprocess prompt"] = request.prompt or None
    found["Postprocess CFG scale"] = number(request.cfg) if request.cfg != 9 else None
    found["Postprocess noise level"] = request.noise_level if request.noise_level != 20 else None
    return {key: value for key, value in found.items() if value is not None}


def target_of(request: Extras, width: int, height: int) -> Target:
    """The size that a picture of width x height is brought to."""
    if request.width:
        return to_size(width, height, (request.width, request.height), request.crop, request.rule)
    return by_factor(width, height, request.scale, request.max_side, request.rule)
