"""From a client's fields and the server's options to the requests that every door makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hires.errors import SettingError
from hires.recipes.fine_sampling import FineSampling, fine_from_options
from hires.recipes.infotext import request_from
from hires.recipes.request import HiresFix, Refiner, Txt2Img
from hires.recipes.samplers import chosen
from hires.sampling.webui import WebuiSampler
from hires.server.bodies import Drawn, TextToImage
from hires.server.faults import Refused
from hires.text.syntax_webui import split_networks

NOTHING = ("", "none", "automatic")
AUTOMATIC = "automatic"
SAME = "use same "
SEEDS = 2**64
LATENT = "Latent"
DENOISING = 0.7
"""What a hires pass takes where a client names no strength."""
WITH_ETA = ("ddim_timesteps", "ddim_cfg_pp")
"""Samplers whose eta is 0 unless somebody says otherwise; that of all others is 1."""


def request_of(body: Drawn, options: Mapping[str, Any]) -> Txt2Img:
    """What txt2img and img2img share. With `infotext`, it fills what the client did not set."""
    asked = _Asked(body, options)
    base = asked.base
    request = replace(
        base,
        prompt=asked.value("prompt", base.prompt),
        negative=asked.value("negative_prompt", base.negative),
        styles=tuple(body.styles or ()),
        steps=asked.value("steps", base.steps),
        cfg=asked.value("cfg_scale", base.cfg),
        width=asked.value("width", base.width),
        height=asked.value("height", base.height),
        seed=_seed(asked.value("seed", base.seed)),
        variation_seed=_seed(asked.value("subseed", base.variation_seed)),
        variation_strength=asked.value("subseed_strength", base.variation_strength),
        batch_size=body.batch_size,
        batch_count=body.n_iter,
        refiner=_refiner(asked),
        seamless=_seamless(asked),
        **_faces(asked),
        **_sampler(asked),
        **_seed_resize(asked),
        **_by_options(options),
    )
    if request.vae is None and str(options["sd_vae"]).lower() == AUTOMATIC and not asked.from_text:
        request = replace(request, vae=options["sd_vae"])  # an infotext names the VAE that was loaded, if any was
    request = replace(request, **_sigmas(asked, request.sampler), fine=_fine(asked))
    if body.disable_extra_networks:
        request = replace(request, prompt=split_networks(request.prompt)[0])
    return request


def txt2img_request(body: TextToImage, options: Mapping[str, Any]) -> Txt2Img:
    """A request of the txt2img route."""
    request = request_of(body, options)
    hires = _hires(body, request)
    if hires is not None and body.firstphase_width and body.firstphase_height:
        hires = replace(hires, width=request.width, height=request.height)
        request = replace(request, width=body.firstphase_width, height=body.firstphase_height)
    first_pass = bool(options["save_images_before_highres_fix"]) and body.save_images
    return replace(request, hires=hires, save_first_pass=first_pass)


class _Asked:
    """What was set by the client, and what stands behind it: an infotext, else the interface's defaults."""

    def __init__(self, body: Drawn, options: Mapping[str, Any]) -> None:
        self.body, self.options = body, options
        self.given = body.model_fields_set
        self.from_text = bool((body.infotext or "").strip())
        self.base = _from_text(body.infotext or "", options) if self.from_text else Txt2Img()

    def value(self, name: str, behind: Any) -> Any:
        return getattr(self.body, name) if name in self.given or not self.from_text else behind


def _from_text(text: str, options: Mapping[str, Any]) -> Txt2Img:
    request = request_from(text)
    if options["disable_weights_auto_swap"]:
        request = replace(request, checkpoint=None)
    return request


def _seed(value: int) -> int:
    return value if value >= 0 else -1


def _sampler(asked: _Asked) -> dict[str, Any]:
    """The sampler by any of its names, with the schedule that some end in."""
    body, base = asked.body, asked.base
    name = body.sampler_name or (body.sampler_index if "sampler_index" in asked.given or not asked.from_text else None)
    schedule = body.scheduler
    if name is None:
        return {"schedule": schedule} if schedule else {}
    if not schedule:
        schedule = base.schedule if asked.from_text and name == base.sampler else "Automatic"
    return {"sampler": name, "schedule": check_sampler(name, schedule)}


def check_sampler(name: str, schedule: str) -> str:
    """The schedule as it is asked for; Refused where there is no such sampler."""
    schedule = "Automatic" if schedule.lower() == "automatic" else schedule
    try:
        chosen(name, "Automatic")
    except SettingError as error:
        raise Refused(400, "Sampler not found", error.message, error.hint) from error
    chosen(name, schedule)
    return schedule


def _sigmas(asked: _Asked, sampler: str) -> dict[str, Any]:
    """Eta and the s_ values: the client's, else the options'. The web UI's own values are left unsaid."""
    body, options, base = asked.body, asked.options, asked.base
    entry, _ = chosen(sampler, "Automatic")
    ddim = isinstance(entry, WebuiSampler) and entry.sampler in WITH_ETA
    usual, key = (0.0, "eta_ddim") if ddim else (1.0, "eta_ancestral")
    eta = body.eta if body.eta is not None else base.eta if asked.from_text and base.eta is not None else options[key]
    values: dict[str, Any] = {"eta": None if eta == usual else eta}
    for name in ("s_churn", "s_tmin", "s_tmax", "s_noise"):
        given = getattr(body, name)
        values[name] = given if given is not None else getattr(base, name) if asked.from_text else options[name]
    return values


def _seamless(asked: _Asked) -> str:
    if asked.body.tiling is not None:
        return "both" if asked.body.tiling else "off"
    return "both" if asked.options["tiling"] else asked.base.seamless


def _faces(asked: _Asked) -> dict[str, Any]:
    """Who restores faces: the model of the options, where the client, an infotext or the options ask for it."""
    options, base = asked.options, asked.base
    wanted = asked.body.restore_faces
    if wanted is None and asked.from_text and base.face_restoration:
        return {}
    if not (options["face_restoration"] if wanted is None else wanted):
        return {"face_restoration": ""}
    return {"face_restoration": options["face_restoration_model"], "face_weight": options["code_former_weight"]}


def _fine(asked: _Asked) -> FineSampling:
    """What the options say of schedules and guidance, over an infotext's; a client's own NGMS before both."""
    fine = fine_from_options(asked.options, asked.base.fine)
    return fine if asked.body.s_min_uncond is None else replace(fine, ngms=asked.body.s_min_uncond)


def _seed_resize(asked: _Asked) -> dict[str, Any]:
    base = asked.base
    width = asked.value("seed_resize_from_w", base.seed_resize_width)
    height = asked.value("seed_resize_from_h", base.seed_resize_height)
    return {"seed_resize_width": max(width, 0), "seed_resize_height": max(height, 0)}


def _by_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that options stand for, where they are not as usual: an infotext's values stay otherwise."""
    kind = str(options["samples_format"])
    found: dict[str, Any] = {"format": "jpg" if kind == "jpeg" else kind, "quality": options["jpeg_quality"]}
    for key, name, default in (
        ("CLIP_stop_at_last_layers", "clip_skip", 1),
        ("emphasis", "emphasis", "Original"),
        ("comma_padding_backtrack", "comma_backtrack", 20),
        ("eta_noise_seed_delta", "ensd", 0),
        ("use_old_scheduling", "old_scheduling", False),
        ("fp8_storage", "fp8", "Disable"),
        ("token_merging_ratio", "token_merging", 0.0),
        ("token_merging_ratio_hr", "token_merging_hires", 0.0),
    ):
        if options[key] != default:
            found[name] = options[key]
    if options["randn_source"] == "CPU":  # the numbers of a GPU are NV's, on any machine
        found["rng"] = "CPU"
    if options["sd_model_checkpoint"]:
        found["checkpoint"] = options["sd_model_checkpoint"]
    if str(options["sd_vae"]).lower() not in NOTHING:
        found["vae"] = options["sd_vae"]
    return found


def _refiner(asked: _Asked) -> Refiner | None:
    body, options = asked.body, asked.options
    name = body.refiner_checkpoint
    if name is None or name.lower() in NOTHING:
        return asked.base.refiner if name is None else None
    switch = 0.8 if body.refiner_switch_at is None else body.refiner_switch_at
    return Refiner(
        name, switch, bool(options["refiner_switch_by_sample_steps"]), passes=options["hires_fix_refiner_pass"]
    )


def _hires(body: TextToImage, request: Txt2Img) -> HiresFix | None:
    given = body.model_fields_set
    if not body.enable_hr:
        return request.hires if "enable_hr" not in given else None
    base = request.hires or HiresFix(denoise=DENOISING)
    names = {
        "upscaler": "hr_upscaler",
        "scale": "hr_scale",
        "width": "hr_resize_x",
        "height": "hr_resize_y",
        "steps": "hr_second_pass_steps",
        "denoise": "denoising_strength",
        "cfg": "hr_cfg",
        "prompt": "hr_prompt",
        "negative": "hr_negative_prompt",
    }
    changes = {name: getattr(body, field) for name, field in names.items() if field in given}
    for name, field in (
        ("sampler", "hr_sampler_name"),
        ("schedule", "hr_scheduler"),
        ("checkpoint", "hr_checkpoint_name"),
    ):
        value = getattr(body, field)
        if field in given:
            changes[name] = None if value == "" or value.lower().startswith(SAME) else value
    hires = replace(base, **changes)
    check_sampler(hires.sampler or request.sampler, hires.schedule or request.schedule)
    return hires
