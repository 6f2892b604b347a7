"""The axes that there are: the web UI's, in its order, since its interface counts them; ours behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from hires.errors import SettingError
from hires.imaging.preprocessors import PREPROCESSORS, check_preprocessor
from hires.imaging.upscalers import LATENT_UPSCALERS
from hires.models.names import close_names
from hires.recipes.controlnets import CONTROL_MODES, RESIZE_MODES
from hires.recipes.fine_sampling import NO, YES
from hires.recipes.grids.axes import (
    IMG2IMG,
    TXT2IMG,
    Axis,
    Known,
    Request,
    Stage,
    base_name,
    base_of,
    closest,
    decimal,
    each,
    field,
    hires_field,
    needs_hires,
    one_of,
    texts,
    whole,
    with_base,
)
from hires.recipes.grids.prompt_axes import (
    add_styles,
    needs_lora,
    orders,
    reorder,
    search_and_replace,
    shown_styles,
    style_lists,
    weigh_loras,
)
from hires.recipes.img2img_request import Img2Img
from hires.recipes.request import FP8_MODES, Refiner
from hires.recipes.samplers import chosen, sampler_rows, schedule_rows
from hires.recipes.tiled import DeepShrink, TiledDiffusion
from hires.tiling.joint import METHODS

NOTHING = "Nothing"
SEEDS = ("Seed", "Var. seed")
REFINER = "Refiner checkpoint"
FACE_RESTORERS = ("CodeFormer", "GFPGAN")
LARGEST_SIDE = 100_000


# --- values ----------------------------------------------------------------------------------------------------


def _sampler(item: str, known: Known) -> str:
    """The list's spelling, unless the old name holds a schedule too."""
    entry, _ = chosen(item, "Automatic")
    label = entry if isinstance(entry, str) else entry.label
    return label if label.lower() == item.lower() else item


def _schedule(item: str, known: Known) -> str:
    chosen("Euler", item)
    labels = ["Automatic", *(label for label, _ in schedule_rows())]
    return next((label for label in labels if label.lower() == item.lower()), item)


def _checkpoint(item: str, known: Known) -> str:
    return closest("checkpoints", item, known)


def _checkpoint_or_none(item: str, known: Known) -> str | None:
    return None if item.lower() == "none" else _checkpoint(item, known)


def _vae(item: str, known: Known) -> str | None:
    if item.lower() in ("auto", "automatic"):
        return "Automatic"
    return None if item.lower() == "none" else closest("vae", item, known)


def _controlnet(item: str, known: Known) -> str:
    return closest("controlnet", item, known)


def _upscaler(item: str, known: Known) -> str:
    return known.upscaler(item)


def _size(item: str, known: Known) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})\s*[xX×]\s*(\d{1,6})", item)
    if match is None or not 0 < int(match[1]) <= LARGEST_SIDE or not 0 < int(match[2]) <= LARGEST_SIDE:
        raise SettingError(f"{item!r} is no size", "Write it as 768x512.")
    return int(match[1]), int(match[2])


def _preprocessor(item: str, known: Known) -> str:
    return check_preprocessor(item).name


def _random_source(item: str, known: Known) -> str:
    sources = {"GPU": "NV", "NV": "NV", "CPU": "CPU"}
    if item.upper() not in sources:
        raise SettingError(f"there is no random source {item!r}", "Use GPU (its numbers, on any machine), NV or CPU.")
    return sources[item.upper()]


def _restorer(item: str, known: Known) -> str:
    """A face restorer's name, or true for the web UI's usual one."""
    if item.lower() in (*YES, "y"):
        return FACE_RESTORERS[0]
    if item.lower() in (*NO, "n", "none"):
        return ""
    for name in FACE_RESTORERS:
        if name.lower() == item.lower():
            return name
    raise SettingError(f"there is no face restorer {item!r}", f"Use {', '.join(FACE_RESTORERS)} or None.")


def _truth(item: str, known: Known) -> bool:
    """True or false in the words that A1111 takes."""
    if item.lower() in (*YES, *NO):
        return item.lower() in YES
    raise SettingError(f"{item!r} is neither true nor false", "Write True or False.")


# --- changes ---------------------------------------------------------------------------------------------------


def _leave(request: Request, value: Any, values: Sequence[Any]) -> Request:
    return request


def _denoise(request: Request, value: Any, values: Sequence[Any]) -> Request:
    if isinstance(request, Img2Img):
        return replace(request, denoise=value)
    return hires_field("denoise")(request, value, values)


def _needs_second_pass(request: Request) -> str:
    return "" if isinstance(request, Img2Img) else needs_hires(request)


def _own(name: str) -> Callable[[Request, Any, Sequence[Any]], Request]:
    """A field of img2img."""
    return lambda request, value, values: replace(request, **{name: value})


def _needs_picture(request: Request) -> str:
    return "" if isinstance(request, Img2Img) else "it belongs to img2img"


def _mask_weight(request: Request, value: Any, values: Sequence[Any]) -> Request:
    assert isinstance(request, Img2Img) and request.inpaint is not None
    return replace(request, inpaint=replace(request.inpaint, mask_weight=value))


def _needs_mask(request: Request) -> str:
    return "" if isinstance(request, Img2Img) and request.inpaint is not None else "there is no mask"


def _refiner(request: Request, value: Any, values: Sequence[Any]) -> Request:
    own = base_of(request).refiner
    if value is None:
        return with_base(request, refiner=None)
    return with_base(request, refiner=Refiner(value) if own is None else replace(own, checkpoint=value))


def _fine(name: str) -> Callable[[Request, Any, Sequence[Any]], Request]:
    """One of A1111's options of sampling."""

    def apply(request: Request, value: Any, values: Sequence[Any]) -> Request:
        return with_base(request, fine=replace(base_of(request).fine, **{name: value}))

    return apply


def _switch(name: str) -> Callable[[Request, Any, Sequence[Any]], Request]:
    """A field of the refiner; a cell whose refiner is None has none to change."""

    def apply(request: Request, value: Any, values: Sequence[Any]) -> Request:
        own = base_of(request).refiner
        changes = {name: value} | ({"switch_step": None} if name == "switch_at" else {})
        return request if own is None else with_base(request, refiner=replace(own, **changes))

    return apply


def _needs_refiner(request: Request) -> str:
    return "" if base_of(request).refiner is not None else "there is no refiner; name one"


def _tiles(*names: str) -> Callable[[Request, Any, Sequence[Any]], Request]:
    def apply(request: Request, value: Any, values: Sequence[Any]) -> Request:
        own = base_of(request).tiled or TiledDiffusion()
        return with_base(request, tiled=replace(own, **dict.fromkeys(names, value)))

    return apply


def _shrink(request: Request, value: Any, values: Sequence[Any]) -> Request:
    own = base_of(request).deep_shrink or DeepShrink()
    return with_base(request, deep_shrink=None if value == 1 else replace(own, factor=value))


def _unit(name: str) -> Callable[[Request, Any, Sequence[Any]], Request]:
    """A field of the first ControlNet."""

    def apply(request: Request, value: Any, values: Sequence[Any]) -> Request:
        first, *others = base_of(request).controlnets
        return with_base(request, controlnets=(replace(first, **{name: value}), *others))

    return apply


def _needs_unit(request: Request) -> str:
    return "" if base_of(request).controlnets else "there is no ControlNet"


def _sized(request: Request, value: Any, values: Sequence[Any]) -> Request:
    return with_base(request, width=value[0], height=value[1])


# --- what can be chosen ----------------------------------------------------------------------------------------


def _samplers(known: Known) -> list[str]:
    return [row[0] for row in sampler_rows()]


def _schedules(known: Known) -> list[str]:
    return ["Automatic", *(label for label, _ in schedule_rows())]


def _checkpoints(known: Known) -> list[str]:
    return list(known.names("checkpoints"))


def _listed(*choices: str) -> Callable[[Known], Sequence[str]]:
    return lambda known: choices


# --- the table -------------------------------------------------------------------------------------------------

second = partial(Axis, stage=Stage.SECOND_PASS, needs=needs_hires)
model = partial(Axis, read=each(_checkpoint), stage=Stage.LOADED, cost=1.0, choices=_checkpoints, shown=base_name)
unit = partial(Axis, needs=_needs_unit)
on_txt2img, on_img2img = (TXT2IMG,), (IMG2IMG,)

AXES: tuple[Axis, ...] = (
    Axis(NOTHING, lambda text, known: [""], _leave, bare=True),
    Axis("Seed", whole, field("seed")),
    Axis("Var. seed", whole, field("variation_seed")),
    Axis("Var. strength", decimal, field("variation_strength")),
    Axis("Steps", whole, field("steps")),
    second("Hires steps", whole, hires_field("steps"), tabs=on_txt2img),
    Axis("CFG Scale", decimal, field("cfg")),
    Axis("Image CFG Scale", decimal, _own("image_cfg_scale"), tabs=on_img2img, needs=_needs_picture),
    Axis("Prompt S/R", texts, search_and_replace, bare=True),
    Axis("Prompt order", orders, reorder, bare=True, shown=", ".join),
    Axis("Sampler", each(_sampler), field("sampler"), bare=True, choices=_samplers),
    second("Hires sampler", each(_sampler), hires_field("sampler"), tabs=on_txt2img, bare=True, choices=_samplers),
    model("Checkpoint name", apply=field("checkpoint"), bare=True),
    Axis("Negative Guidance minimum sigma", decimal, _fine("ngms")),
    Axis("Sigma Churn", decimal, field("s_churn")),
    Axis("Sigma min", decimal, field("s_tmin")),
    Axis("Sigma max", decimal, field("s_tmax")),
    Axis("Sigma noise", decimal, field("s_noise")),
    Axis("Schedule type", each(_schedule), field("schedule"), choices=_schedules),
    Axis("Schedule min sigma", decimal, _fine("schedule_min")),
    Axis("Schedule max sigma", decimal, _fine("schedule_max")),
    Axis("Schedule rho", decimal, _fine("schedule_rho")),
    Axis("Beta schedule alpha", decimal, _fine("beta_alpha")),
    Axis("Beta schedule beta", decimal, _fine("beta_beta")),
    Axis("Eta", decimal, field("eta")),
    Axis("Clip skip", whole, field("clip_skip")),
    Axis("Denoising", decimal, _denoise, stage=Stage.SECOND_PASS, needs=_needs_second_pass),
    Axis("Initial noise multiplier", decimal, _own("noise_multiplier"), needs=_needs_picture),
    Axis("Extra noise", decimal, _own("extra_noise"), needs=_needs_picture),
    Axis("Hires upscaler", each(_upscaler), hires_field("upscaler"), stage=Stage.ENLARGED, tabs=on_txt2img,
         needs=needs_hires, choices=lambda known: [*LATENT_UPSCALERS, *known.upscalers]),
    Axis("Cond. Image Mask Weight", decimal, _mask_weight, tabs=on_img2img, needs=_needs_mask),
    Axis("VAE", each(_vae), field("vae"), stage=Stage.DECODED, cost=0.7, shown=base_name,
         choices=lambda known: ["Automatic", "None", *known.names("vae")]),
    Axis("Styles", style_lists, add_styles, shown=shown_styles, early=True,
         choices=lambda known: list(known.styles or ())),
    Axis("UniPC Order", whole, _fine("unipc_order"), cost=0.5),
    Axis("Face restore", each(_restorer), field("face_restoration"), stage=Stage.DECODED, bare=True,
         shown=lambda name: name or "None", choices=_listed("None", *FACE_RESTORERS)),
    Axis("Token merging ratio", decimal, field("token_merging")),
    second("Token merging ratio high-res", decimal, field("token_merging_hires")),
    Axis("Always discard next-to-last sigma", each(_truth), _fine("discard_penultimate"),
         choices=_listed("False", "True")),
    Axis("SGM noise multiplier", each(_truth), _fine("sgm_noise"), choices=_listed("False", "True")),
    Axis(REFINER, each(_checkpoint_or_none), _refiner, stage=Stage.SWITCHED, cost=1.0, shown=base_name, early=True,
         choices=lambda known: ["None", *known.names("checkpoints")]),
    Axis("Refiner switch at", decimal, _switch("switch_at"), stage=Stage.SWITCHED, needs=_needs_refiner),
    Axis("RNG source", each(_random_source), field("rng"), choices=_listed("GPU", "CPU", "NV")),
    Axis("FP8 mode", one_of(tuple(FP8_MODES)), field("fp8"), stage=Stage.LOADED, cost=0.9,
         choices=_listed(*FP8_MODES)),
    Axis("Size", each(_size), _sized, shown=lambda size: f"{size[0]}x{size[1]}"),
    # ours
    Axis("LoRA weight", decimal, weigh_loras, needs=needs_lora),
    Axis("Prompt", texts, field("prompt"), bare=True, early=True),
    second("Hires denoise", decimal, hires_field("denoise")),
    second("Hires CFG", decimal, hires_field("cfg")),
    second("Hires schedule", each(_schedule), hires_field("schedule"), choices=_schedules),
    model("Hires checkpoint", apply=hires_field("checkpoint"), needs=needs_hires),
    Axis("Hires scale", decimal, hires_field("scale"), stage=Stage.ENLARGED, needs=needs_hires),
    Axis("Refiner switch step", whole, _switch("switch_step"), stage=Stage.SWITCHED, needs=_needs_refiner),
    Axis("Tile size", whole, _tiles("tile_width", "tile_height")),
    Axis("Tile overlap", whole, _tiles("overlap")),
    Axis("Tile method", one_of(tuple(METHODS)), _tiles("method"), choices=_listed(*METHODS)),
    Axis("Deep Shrink", decimal, _shrink),
    Axis("VAE mode", texts, field("vae_mode"), stage=Stage.DECODED),
    Axis("Emphasis", texts, field("emphasis")),
    unit("[ControlNet] Weight", decimal, _unit("weight")),
    unit("[ControlNet] Guidance Start", decimal, _unit("guidance_start")),
    unit("[ControlNet] Guidance End", decimal, _unit("guidance_end")),
    unit("[ControlNet] Resize Mode", one_of(RESIZE_MODES), _unit("resize_mode"), choices=_listed(*RESIZE_MODES)),
    unit("[ControlNet] Preprocessor", each(_preprocessor), _unit("module"), choices=_listed(*PREPROCESSORS)),
    unit("[ControlNet] Pre Resolution", whole, _unit("processor_res")),
    unit("[ControlNet] Pre Threshold A", decimal, _unit("threshold_a")),
    unit("[ControlNet] Pre Threshold B", decimal, _unit("threshold_b")),
    unit("[ControlNet] Pixel Perfect", each(_truth), _unit("pixel_perfect"), choices=_listed("False", "True")),
    unit("[ControlNet] Control Mode", one_of(CONTROL_MODES), _unit("control_mode"), choices=_listed(*CONTROL_MODES)),
    unit("[ControlNet] Model", each(_controlnet), _unit("model"), shown=base_name,
         choices=lambda known: list(known.names("controlnet"))),
)  # fmt: skip


def axes_of(tab: str) -> list[Axis]:
    """The axes of a tab (txt2img, img2img), in the order that the web UI's interface counts them."""
    return [axis for axis in AXES if tab in axis.tabs]


def find_axis(name: str | int, tab: str) -> Axis:
    """The axis of a label, in any letter case, or of a number of the web UI's list. SettingError names those near."""
    listed = axes_of(tab)
    if isinstance(name, int):
        if not 0 <= name < len(listed):
            raise SettingError(f"there is no axis {name}", f"They are numbered 0 to {len(listed) - 1}.")
        return listed[name]
    wanted = _plain(name)
    for axis in listed:
        if _plain(axis.label) == wanted:
            return axis
    if any(_plain(axis.label) == wanted for axis in AXES):
        raise SettingError(f"the axis {name!r} is not for {tab}")
    near = close_names(name, [axis.label for axis in listed]) or [axis.label for axis in listed]
    raise SettingError(f"there is no axis {name!r}", f"There are: {', '.join(near)}.")


def _plain(label: str) -> str:
    return "".join(character for character in label.lower() if character.isalnum() or character == "/")
