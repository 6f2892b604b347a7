"""txt2img with hires fix and refiner, as a workflow of nodes (A1111's procedure, spec of both passes in docs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hires.imaging.sizes import LATENT, floor_to_latent
from hires.imaging.upscalers import LATENT_UPSCALERS, PLAIN, same_name
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import infotext
from hires.recipes.networks import lay_over, without_tags
from hires.recipes.request import HiresFix, Refiner, Txt2Img
from hires.recipes.samplers import calls_per_step, sampler_inputs, switch_step
from hires.recipes.sizes import hires_size

Facts = Mapping[str, ModelFacts]
FIRST_PASS, FINAL = "first pass", "second pass"


@dataclass(frozen=True)
class _Pass:
    """One sampling pass: what differs between the first and the second."""

    checkpoint: str
    prompt: str
    negative: str
    sampler: str
    schedule: str
    steps: int
    cfg: float
    calls_before: int
    refiner: Refiner | None


def txt2img(request: Txt2Img, facts: Facts, batch: int = 0) -> dict[str, Any]:
    """The workflow of batch number `batch` (0-based) of a request whose seed, size and checkpoint are set.

    facts must name every checkpoint and VAE of the request. Image k of the batch has seed + batch * batch_size + k.
    """
    draft = Draft()
    first = _first_pass(request)
    latent = draft.add(
        "EmptyLatentImage",
        width=floor_to_latent(request.width),
        height=floor_to_latent(request.height),
        batch_size=request.batch_size,
    ).out()
    index = batch * request.batch_size
    sampled = _sample(draft, request, first, facts, latent, index, denoise=1.0)
    vae = _vae(draft, request, first.checkpoint)
    if request.hires is None:
        _save(draft, _decode(draft, sampled, vae), "txt2img", infotext(request, facts, index))
        return draft.graph()
    if request.save_first_pass:
        text = infotext(request, facts, index, final=False)
        _save(draft, _decode(draft, sampled, vae), "txt2img-before-highres-fix", text)
    second = _second_pass(request, request.hires, first)
    enlarged = _enlarge(draft, request, request.hires, sampled, vae, second)
    if request.hires.denoise > 0:
        enlarged = _sample(draft, request, second, facts, enlarged, index, denoise=request.hires.denoise)
    final = _decode(draft, enlarged, _vae(draft, request, second.checkpoint))
    _save(draft, final, "txt2img", infotext(request, facts, index))
    return draft.graph()


def _first_pass(request: Txt2Img) -> _Pass:
    refiner = request.refiner
    if refiner is not None and request.hires is not None and refiner.passes == FINAL:
        refiner = None
    return _Pass(
        checkpoint=request.checkpoint or "",
        prompt=request.prompt,
        negative=request.negative,
        sampler=request.sampler,
        schedule=request.schedule,
        steps=request.steps,
        cfg=request.cfg,
        calls_before=0,
        refiner=refiner,
    )


def _second_pass(request: Txt2Img, hires: HiresFix, first: _Pass) -> _Pass:
    refiner = request.refiner
    if refiner is not None and refiner.passes == FIRST_PASS:
        refiner = None
    return _Pass(
        checkpoint=hires.checkpoint or first.checkpoint,
        prompt=hires.prompt or request.prompt,
        negative=hires.negative or request.negative,
        sampler=hires.sampler or request.sampler,
        schedule=hires.schedule or request.schedule,
        steps=hires.steps or request.steps,
        cfg=request.cfg if hires.cfg is None else hires.cfg,
        calls_before=request.steps * calls_per_step(request.sampler),
        refiner=refiner,
    )


def _guided(draft: Draft, request: Txt2Img, part: _Pass, checkpoint: str, facts: Facts) -> dict[str, Any]:
    """The inputs model, positive and negative of a sampling node, with the prompt's LoRAs and the clip skip."""
    loader = draft.add("CheckpointLoaderSimple", ckpt_name=checkpoint)
    model, clip = lay_over(draft, loader.out(0), loader.out(1), part.prompt, facts[checkpoint].family, facts)
    if request.clip_skip > 1:
        clip = draft.add("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-request.clip_skip).out()
    shared: dict[str, Any] = {"clip": clip}
    if request.dialect == "webui":
        shared |= {"dialect": "webui", "schedule_calls": part.steps * calls_per_step(part.sampler)}
        if part.calls_before:
            shared["schedule_calls_before"] = part.calls_before
        if request.emphasis != "Original":
            shared["emphasis"] = request.emphasis
    # ComfyUI's node knows no tags; the A1111 dialect takes them out by itself
    text = part.prompt if request.dialect == "webui" else without_tags(part.prompt)
    positive = draft.add("CLIPTextEncode", title="Prompt", text=text, **shared).out()
    if request.dialect == "webui":
        shared |= {"negative": True, "zero_if_empty": not part.negative}
    negative = draft.add("CLIPTextEncode", title="Negative prompt", text=part.negative, **shared).out()
    return {"model": model, "positive": positive, "negative": negative}


def _sample(
    draft: Draft, request: Txt2Img, part: _Pass, facts: Facts, latent: Link, index: int, denoise: float
) -> Link:
    """One pass: a KSampler, or two KSamplerAdvanced where a refiner takes over."""
    shared = {"cfg": part.cfg, **sampler_inputs(request, part.sampler, part.schedule, index)}
    steps, start = part.steps, 0
    if denoise < 1.0:
        steps = int(part.steps / min(denoise, 0.999))
        start = steps - part.steps
    switch = steps
    if part.refiner is not None:
        switch = switch_step(request, part.sampler, part.schedule, steps, start, part.refiner)
    if switch >= steps:
        return _ksampler(draft, request, part, facts, shared, latent, denoise)
    base = _stage(draft, request, part, facts, part.checkpoint, shared, steps)
    assert part.refiner is not None
    refiner = _stage(draft, request, part, facts, part.refiner.checkpoint, shared, steps)
    if switch <= start:
        return draft.add(
            "KSamplerAdvanced", title="Refiner", latent_image=latent, **_window(start, None, True), **refiner
        ).out()
    handed = draft.add(
        "KSamplerAdvanced", title="Base", latent_image=latent, **_window(start, switch, True), **base
    ).out()
    return draft.add(
        "KSamplerAdvanced", title="Refiner", latent_image=handed, **_window(switch, None, False), **refiner
    ).out()


def _ksampler(
    draft: Draft,
    request: Txt2Img,
    part: _Pass,
    facts: Facts,
    shared: dict[str, Any],
    latent: Link,
    denoise: float,
) -> Link:
    title = "First pass" if denoise == 1.0 else "Hires pass"
    return draft.add(
        "KSampler",
        title=title,
        **_guided(draft, request, part, part.checkpoint, facts),
        latent_image=latent,
        steps=part.steps,
        denoise=denoise,
        **shared,
    ).out()


def _stage(
    draft: Draft, request: Txt2Img, part: _Pass, facts: Facts, checkpoint: str, shared: dict[str, Any], steps: int
) -> dict[str, Any]:
    inputs = {key: value for key, value in shared.items() if key != "seed"} | {"noise_seed": shared["seed"]}
    return inputs | _guided(draft, request, part, checkpoint, facts) | {"steps": steps}


def _window(start: int, end: int | None, add_noise: bool) -> dict[str, Any]:
    return {
        "add_noise": "enable" if add_noise else "disable",
        "start_at_step": start,
        "end_at_step": 10_000 if end is None else end,
        "return_with_leftover_noise": "disable" if end is None else "enable",
    }


def _enlarge(draft: Draft, request: Txt2Img, hires: HiresFix, latent: Link, vae: Link, second: _Pass) -> Link:
    """From the first pass to the latent that the second starts from: resized, then cropped in latent cells."""
    size = hires_size(request.width, request.height, hires.scale, hires.width, hires.height)
    width, height = floor_to_latent(size.width), floor_to_latent(size.height)
    latent_names = [name for name in LATENT_UPSCALERS if same_name(name, hires.upscaler)]
    if latent_names:
        method = LATENT_UPSCALERS[latent_names[0]]
        enlarged = draft.add(
            "LatentUpscale", samples=latent, upscale_method=method, width=width, height=height, crop="disabled"
        ).out()
    else:
        image = _enlarge_image(draft, hires.upscaler, _decode(draft, latent, vae), width, height)
        enlarged = draft.add("VAEEncode", pixels=image, vae=_vae(draft, request, second.checkpoint)).out()
    if size.crop_x_latent or size.crop_y_latent:
        crop_width, crop_height = size.delivered
        enlarged = draft.add(
            "LatentCrop",
            samples=enlarged,
            width=crop_width,
            height=crop_height,
            x=size.crop_x_latent // 2 * LATENT,
            y=size.crop_y_latent // 2 * LATENT,
        ).out()
    return enlarged


def _enlarge_image(draft: Draft, upscaler: str, image: Link, width: int, height: int) -> Link:
    method = "nearest-exact" if same_name(upscaler, "Nearest") else "lanczos"
    if not any(same_name(upscaler, name) for name in PLAIN):
        model = draft.add("UpscaleModelLoader", model_name=upscaler).out()
        image = draft.add("ImageUpscaleWithModel", upscale_model=model, image=image).out()
    return draft.add(
        "ImageScale", image=image, upscale_method=method, width=width, height=height, crop="disabled"
    ).out()


def _vae(draft: Draft, request: Txt2Img, checkpoint: str) -> Link:
    if request.vae:
        return draft.add("VAELoader", vae_name=request.vae).out()
    return draft.add("CheckpointLoaderSimple", ckpt_name=checkpoint).out(2)


def _decode(draft: Draft, latent: Link, vae: Link) -> Link:
    return draft.add("VAEDecode", samples=latent, vae=vae).out()


def _save(draft: Draft, images: Link, prefix: str, text: str) -> None:
    draft.add("SaveImage", images=images, filename_prefix=prefix, parameters=text)
