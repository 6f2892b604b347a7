"""Between a txt2img request and its infotext: which fields are written, in which order, and how they are read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hires import __version__
from hires.errors import SettingError
from hires.metadata.infotext import Infotext, read_infotext, write_infotext
from hires.recipes.controlnets import controlnet_fields
from hires.recipes.facts import ModelFacts
from hires.recipes.fine_sampling import LABELS as FINE_LABELS
from hires.recipes.fine_sampling import fine_fields, fine_in
from hires.recipes.networks import embedding_hashes, lora_hashes, stated_hashes
from hires.recipes.request import HiresFix, Refiner, Templates, Txt2Img
from hires.recipes.tiled import FIELD as TILED
from hires.recipes.tiled import SHRINK_FIELD, read_shrink, read_tiled, shrink_fact, tiled_facts

EMPHASIZED = re.compile(r"[(\[\\]|\bBREAK\b")
"""What the way of emphasis makes a difference for; A1111 writes it for such prompts only."""
TILING = "Tiling"
FP8 = "FP8 weight"
FACES, FACE_WEIGHT = "Face restoration", "Face restoration weight"
MERGING, MERGING_HIRES = "Token merging ratio", "Token merging ratio hr"
OLD_TIMELINES = "Old prompt editing timelines"
TEMPLATES = ("Template", "Negative Template", "Hires template", "Hires negative template")
"""The prompts before their choices were made; the first two under the names that the Dynamic Prompts extension uses."""
GPU_RNG = "NV"
"""An infotext without RNG was drawn with the device's generator, which NV gives on any machine."""


def infotext(request: Txt2Img, facts: Mapping[str, ModelFacts], index: int = 0, final: bool = True) -> str:
    """The paragraph of image `index` (0-based over all batches). With final=False, of its first pass alone."""
    return write_infotext(request.prompt, request.negative, infotext_fields(request, facts, index, final))


def infotext_fields(
    request: Txt2Img, facts: Mapping[str, ModelFacts], index: int = 0, final: bool = True
) -> dict[str, Any]:
    """The fields of the paragraph's last line, in its order."""
    from hires.recipes.samplers import infotext_names, uses_ensd

    checkpoint = facts[request.checkpoint or ""]
    sampler, schedule = infotext_names(request.sampler, request.schedule)
    varied = request.variation_strength > 0
    fields: dict[str, Any] = {
        "Steps": request.steps,
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": number(request.cfg),
        "Seed": request.seed if varied else request.seed + index,
        "Size": f"{request.width}x{request.height}",
        "Model hash": checkpoint.hash,
        "Model": checkpoint.stem,
    }
    if request.fp8 != "Disable" and (request.fp8 == "Enable" or checkpoint.family.startswith("sdxl")):
        fields[FP8] = request.fp8
    if request.face_restoration and final:
        fields = {key: fields[key] for key in list(fields)[:5]} | {FACES: request.face_restoration} | fields
    if request.vae:
        fields |= {"VAE hash": facts[request.vae].hash, "VAE": request.vae}
    if request.vae_mode != Txt2Img.vae_mode:
        fields["VAE mode"] = request.vae_mode
    if request.vae_tile != Txt2Img.vae_tile:
        fields["VAE tile"] = request.vae_tile
    if varied:
        fields["Variation seed"] = request.variation_seed + index
        fields["Variation seed strength"] = number(request.variation_strength)
    if request.seed_resize_width > 0 and request.seed_resize_height > 0:
        fields["Seed resize from"] = f"{request.seed_resize_width}x{request.seed_resize_height}"
    hires = request.hires if final else None
    if hires is not None:
        fields["Denoising strength"] = number(hires.denoise)
    if request.clip_skip > 1:
        fields["Clip skip"] = request.clip_skip
    if request.ensd and request.eta != 0 and uses_ensd(request.sampler):
        fields["ENSD"] = request.ensd
    if request.token_merging:
        fields[MERGING] = number(request.token_merging)
    if hires is not None and (request.token_merging_hires or request.token_merging):
        fields[MERGING_HIRES] = number(request.token_merging_hires or request.token_merging)
    fields["RNG"] = request.rng
    if request.face_restoration and final and request.face_weight != Txt2Img.face_weight:
        fields[FACE_WEIGHT] = number(request.face_weight)
    if request.seamless != "off":
        fields[TILING] = True if request.seamless == "both" else request.seamless
    if request.tiled is not None:
        fields[TILED] = tiled_facts(request.tiled)
    if request.deep_shrink is not None:
        fields[SHRINK_FIELD] = shrink_fact(request.deep_shrink)
    fields |= controlnet_fields(request, facts)
    if hires is not None:
        fields |= _hires_fields(request, hires, facts)
    hashes = lora_hashes(request, facts)
    if hashes is not None:
        fields["Lora hashes"] = hashes
    if (embedded := embedding_hashes(facts)) is not None:
        fields["TI hashes"] = embedded
    if request.emphasis != "Original" and is_emphasized(request):
        fields["Emphasis"] = request.emphasis
    fields |= _wording_fields(request)
    fields |= _sampler_fields(request)
    if request.refiner is not None and (final or request.refiner.passes != "second pass"):
        fields |= _refiner_fields(request.refiner, facts)
    fields |= fine_fields(request.fine, number, of_levels=True)
    if request.dialect != "webui":
        fields["Dialect"] = request.dialect
    if request.original_quirks:
        fields["Original quirks"] = True
    beyond = {key: value for key, value in request.extra_fields.items() if key not in fields}
    return fields | beyond | {"Version": f"hires {__version__}"}


def is_emphasized(request: Txt2Img) -> bool:
    """Whether the way of emphasis makes a difference for one of its prompts."""
    hires = request.hires or HiresFix()
    texts = (request.prompt, request.negative, hires.prompt, hires.negative)
    return any(EMPHASIZED.search(text) for text in texts)


def _hires_fields(request: Txt2Img, hires: HiresFix, facts: Mapping[str, ModelFacts]) -> dict[str, Any]:
    from hires.recipes.samplers import infotext_names

    fields: dict[str, Any] = {}
    if hires.checkpoint:
        fields["Hires checkpoint"] = facts[hires.checkpoint].title
    base_sampler, base_schedule = infotext_names(request.sampler, request.schedule)
    sampler, schedule = infotext_names(hires.sampler or request.sampler, hires.schedule or request.schedule)
    if sampler != base_sampler:
        fields["Hires sampler"] = sampler
    if hires.prompt and hires.prompt != request.prompt:
        fields["Hires prompt"] = hires.prompt
    if hires.negative and hires.negative != request.negative:
        fields["Hires negative prompt"] = hires.negative
    if hires.cfg is not None and hires.cfg != request.cfg:
        fields["Hires CFG Scale"] = number(hires.cfg)
    if schedule != base_schedule:
        fields["Hires schedule type"] = schedule
    if hires.width or hires.height:
        fields["Hires resize"] = f"{hires.width}x{hires.height}"
    else:
        fields["Hires upscale"] = number(hires.scale)
    if hires.steps:
        fields["Hires steps"] = hires.steps
    fields["Hires upscaler"] = hires.upscaler
    return fields


def _wording_fields(request: Txt2Img) -> dict[str, Any]:
    """How the prompts were read, where not as usual, and what they were before their choices were made."""
    fields: dict[str, Any] = {}
    if request.comma_backtrack != Txt2Img.comma_backtrack:
        fields["Comma backtrack"] = request.comma_backtrack
    if not request.comments:
        fields["Prompt comments"] = False
    if request.old_scheduling:
        fields[OLD_TIMELINES] = True
    if request.templates is not None:
        own = request.templates
        texts = (own.prompt, own.negative, own.hires_prompt, own.hires_negative)
        fields |= {key: text for key, text in zip(TEMPLATES, texts, strict=True) if text}
    return fields


def _merging_hires(known: _Reader) -> float:
    """0 where it is the first pass', which A1111 says twice."""
    ratio: float = known.read(MERGING_HIRES, float, 0.0)
    return 0.0 if ratio == known.read(MERGING, float, 0.0) else ratio


def _templates(info: Infotext) -> Templates | None:
    if not any(key in info.fields for key in TEMPLATES):
        return None
    return Templates(*(info.fields.get(key, "") for key in TEMPLATES))


def _old_timelines(info: Infotext) -> bool:
    """A1111 read `[a:b:when]` otherwise before 1.6; it says so where it still does."""
    if OLD_TIMELINES in info.fields:
        return info.fields[OLD_TIMELINES] == "True"
    version = re.match(r"v?(\d{1,9})\.(\d{1,9})", info.fields.get("Version", ""))
    older = version is not None and (int(version[1]), int(version[2])) < (1, 6)
    return older and "[" in info.prompt + info.negative


def _sampler_fields(request: Txt2Img) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if request.eta is not None:
        fields["Eta"] = number(request.eta)
    for key, value, default in (
        ("Sigma churn", request.s_churn, 0.0),
        ("Sigma tmin", request.s_tmin, 0.0),
        ("Sigma tmax", request.s_tmax, 0.0),
        ("Sigma noise", request.s_noise, 1.0),
    ):
        if value != default:
            fields[key] = number(value)
    return fields | fine_fields(request.fine, number)


def _refiner_fields(refiner: Refiner, facts: Mapping[str, ModelFacts]) -> dict[str, Any]:
    fields: dict[str, Any] = {"Refiner": facts[refiner.checkpoint].title}
    if refiner.switch_step is not None:
        fields["Refiner switch step"] = refiner.switch_step
    else:
        fields["Refiner switch at"] = number(refiner.switch_at)
        if refiner.by_steps:
            fields["Refiner switch by sampling steps"] = True
    if refiner.passes != "second pass":
        fields["Hires refiner"] = refiner.passes
    return fields


def number(value: float) -> str:
    """A number without a needless fraction: 7.0 -> 7, 0.45 -> 0.45."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def request_from(text: str) -> Txt2Img:
    """The request that an infotext by hires or A1111 describes. Raises SettingError when it has no parameters."""
    info = read_infotext(text)
    if not info.fields:
        raise SettingError("the picture carries no generation parameters", "It may have been saved by another program.")
    known = _Reader(info)
    width, height = info.size("First pass size") or info.size("Size") or (0, 0)
    seed_resize = info.size("Seed resize from") or (0, 0)
    request = Txt2Img(
        prompt=info.prompt,
        negative=info.negative,
        checkpoint=_checkpoint(info),
        vae=_vae(info),
        vae_mode=info.fields.get("VAE mode", Txt2Img.vae_mode),
        vae_tile=known.read("VAE tile", int, Txt2Img.vae_tile),
        seamless=info.fields.get(TILING, "off").replace("True", "both").replace("False", "off"),
        sampler=info.fields.get("Sampler", "Euler"),
        schedule=_schedule(info),
        steps=known.read("Steps", int, 20),
        cfg=known.read("CFG scale", float, 7.0),
        width=width,
        height=height,
        seed=known.read("Seed", int, -1),
        clip_skip=known.read("Clip skip", int, 1),
        variation_seed=known.read("Variation seed", int, -1),
        variation_strength=known.read("Variation seed strength", float, 0.0),
        seed_resize_width=seed_resize[0],
        seed_resize_height=seed_resize[1],
        ensd=known.read("ENSD", int, 0),
        rng=info.fields.get("RNG", GPU_RNG).replace("GPU", GPU_RNG),
        emphasis=info.fields.get("Emphasis", "Original"),
        wildcards=_templates(info) is not None,
        templates=_templates(info),
        comments=info.fields.get("Prompt comments") != "False",
        comma_backtrack=known.read("Comma backtrack", int, Txt2Img.comma_backtrack),
        old_scheduling=_old_timelines(info),
        eta=known.read("Eta", float, None),
        s_churn=known.read("Sigma churn", float, 0.0),
        s_tmin=known.read("Sigma tmin", float, 0.0),
        s_tmax=known.read("Sigma tmax", float, 0.0),
        s_noise=known.read("Sigma noise", float, 1.0),
        fine=fine_in(info.fields),
        fp8=info.fields.get(FP8, Txt2Img.fp8),
        face_restoration=info.fields.get(FACES, ""),
        face_weight=known.read(FACE_WEIGHT, float, Txt2Img.face_weight),
        token_merging=known.read(MERGING, float, 0.0),
        token_merging_hires=_merging_hires(known),
        dialect=info.fields.get("Dialect", "webui"),
        original_quirks=not info.fields.get("Version", "").startswith("hires") or "Original quirks" in info.fields,
        extra_fields=unknown_fields(info),
        hashes=stated_hashes(info.fields.get("Lora hashes", ""), info.fields.get("TI hashes", "")),
    )
    tiled, shrink = info.fields.get(TILED), info.fields.get(SHRINK_FIELD)
    return replace(
        request,
        hires=_hires(info, known),
        refiner=_refiner(info, known),
        tiled=None if not tiled else read_tiled(tiled),
        deep_shrink=None if not shrink else read_shrink(shrink),
    )


KNOWN = frozenset(
    (
        *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", "VAE hash", "VAE"),
        *("VAE mode", "VAE tile", "Variation seed", "Variation seed strength", "Seed resize from"),
        *("Denoising strength", "Clip skip", "ENSD", "RNG", TILED, SHRINK_FIELD, "Lora hashes", "TI hashes"),
        *("Hires checkpoint", "Hires sampler", "Hires prompt", "Hires negative prompt", "Hires CFG Scale"),
        *("Hires schedule type", "Hires resize", "Hires upscale", "Hires steps", "Hires upscaler", "First pass size"),
        *("Emphasis", "Eta", "Sigma churn", "Sigma tmin", "Sigma tmax", "Sigma noise", "Dialect", "Original quirks"),
        *("Refiner", "Refiner switch step", "Refiner switch at", "Refiner switch by sampling steps", "Hires refiner"),
        *("Version", "Comma backtrack", "Prompt comments", OLD_TIMELINES, TILING, *TEMPLATES, *FINE_LABELS.values()),
        *(MERGING, MERGING_HIRES, FACES, FACE_WEIGHT, FP8),
    )
)
"""The fields that a request reads and writes."""


def unknown_fields(info: Infotext) -> dict[str, str]:
    """What an infotext says beyond a request, without what was done to the finished picture."""
    return {key: value for key, value in info.fields.items() if key not in KNOWN and not key.startswith("Postprocess")}


def _vae(info: Infotext) -> str | None:
    name, hash_ = info.fields.get("VAE"), info.fields.get("VAE hash")
    if not name or name in ("None", "Automatic"):
        return None
    return f"{name} [{hash_}]" if hash_ else name


class _Reader:
    """Reads numbers out of infotext fields, naming the field in the error."""

    def __init__(self, info: Infotext) -> None:
        self.info = info

    def read(self, key: str, kind: Callable[[str], Any], default: Any) -> Any:
        text = self.info.fields.get(key)
        if text is None or text == "":
            return default
        try:
            return kind(text)
        except ValueError as error:
            raise SettingError(f"the infotext field {key!r} should be a number, not {text!r}") from error


def _checkpoint(info: Infotext) -> str | None:
    name, hash_ = info.fields.get("Model"), info.fields.get("Model hash")
    if name and hash_:
        return f"{name} [{hash_}]"
    return name or (f"[{hash_}]" if hash_ else None)


def _schedule(info: Infotext) -> str:
    """Before A1111 1.9 a bare "DPM++ 2M" meant the uniform schedule; since then its own default."""
    schedule = info.fields.get("Schedule type")
    if schedule:
        return schedule
    version = info.fields.get("Version", "")
    digits = version.lstrip("vV").split("-")[0].split(".")
    is_number = all(part.isdecimal() and len(part) < LONGEST_NUMBER for part in digits)
    older = version == "" or (is_number and tuple(map(int, digits)) < (1, 9))
    return "Uniform" if older and info.fields.get("Sampler") in BARE_MEANT_UNIFORM else "Automatic"


LONGEST_NUMBER = 10
"""Digits of a part of a version; what is longer is no version."""
BARE_MEANT_UNIFORM = (
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 2S a",
    "DPM++ 3M SDE",
    "DPM2",
    "DPM2 a",
)


def _hires(info: Infotext, known: _Reader) -> HiresFix | None:
    old = info.size("First pass size") is not None
    named = any(key in info.fields for key in ("Hires upscale", "Hires upscaler", "Hires resize"))
    if not (named or old) or "Denoising strength" not in info.fields:
        return None
    width, height = info.size("Size" if old else "Hires resize") or (0, 0)

    def other(key: str) -> str | None:
        """A field that says what differs from the first pass."""
        value = info.fields.get(key)
        return None if value is None or value.startswith("Use same ") else value

    return HiresFix(
        upscaler=info.fields.get("Hires upscaler", "Latent"),
        scale=known.read("Hires upscale", float, 2.0),
        width=width,
        height=height,
        steps=known.read("Hires steps", int, 0),
        denoise=known.read("Denoising strength", float, 0.7),
        sampler=other("Hires sampler"),
        schedule=other("Hires schedule type"),
        prompt=info.fields.get("Hires prompt", ""),
        negative=info.fields.get("Hires negative prompt", ""),
        cfg=known.read("Hires CFG Scale", float, None),
        checkpoint=other("Hires checkpoint"),
    )


def _refiner(info: Infotext, known: _Reader) -> Refiner | None:
    checkpoint = info.fields.get("Refiner")
    if not checkpoint:
        return None
    return Refiner(
        checkpoint=checkpoint,
        switch_at=known.read("Refiner switch at", float, 0.8),
        by_steps=info.fields.get("Refiner switch by sampling steps") == "True",
        switch_step=known.read("Refiner switch step", int, None),
        passes=info.fields.get("Hires refiner", "second pass"),
    )
