"""txt2img with hires fix and refiner, as a workflow of nodes (A1111's procedure; docs/numbers.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hires.graph.digest import digest
from hires.graph.workflow import Output
from hires.imaging.sizes import LATENT, floor_to_latent
from hires.imaging.upscalers import LATENT_UPSCALERS, PLAIN, same_name
from hires.nodes.registry import own_nodes
from hires.recipes.controlnets import Shown, steered
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts
from hires.recipes.fine_sampling import fine_model
from hires.recipes.infotext import infotext
from hires.recipes.networks import lay_over, without_tags
from hires.recipes.request import FP8_MODES, HiresFix, Refiner, Txt2Img, delivered_size
from hires.recipes.samplers import calls_per_step, sampler_inputs, switch_step
from hires.recipes.sizes import hires_size
from hires.recipes.tiled import DeepShrink, TiledDiffusion, add_regions, shrink_model, tile_model
from hires.sampling.schedules_webui import img2img_steps

Facts = Mapping[str, ModelFacts]
FIRST_PASS, FINAL = "first pass", "second pass"


@dataclass(frozen=True)
class Pass:
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
    tiled: TiledDiffusion | None = None
    shrink: DeepShrink | None = None
    merging: float = 0.0
    shown: Shown = field(default_factory=Shown)


def txt2img(request: Txt2Img, facts: Facts, batch: int = 0) -> dict[str, Any]:
    """The workflow of batch number `batch` (0-based) of a request whose seed, size and checkpoint are set.

    facts must name every checkpoint and VAE of the request. Image k of the batch has seed + batch * batch_size + k.
    """
    draft = Draft()
    first = guided_pass(request)
    latent = draft.add(
        "EmptyLatentImage",
        width=floor_to_latent(request.width),
        height=floor_to_latent(request.height),
        batch_size=request.batch_size,
    ).out()
    index = batch * request.batch_size
    sampled = sampled_pass(draft, request, first, facts, latent, index, denoise=1.0)
    vae = vae_of(draft, request, first.checkpoint)
    if request.hires is None:
        made = _seams_said(draft, request, first, facts, decoded(draft, sampled, vae, request))
        made = faces_restored(draft, made, request)
        saved(draft, made, "txt2img", infotext(request, facts, index), request)
        return draft.graph()
    if request.save_first_pass:
        text = infotext(request, facts, index, final=False)
        saved(draft, decoded(draft, sampled, vae, request), "txt2img-before-highres-fix", text, request)
    final = second_pass_over(draft, request, first, facts, index, latent=sampled)
    saved(draft, final, "txt2img", infotext(request, facts, index), request)
    return draft.graph()


def second_pass_over(
    draft: Draft,
    request: Txt2Img,
    first: Pass,
    facts: Facts,
    index: int,
    *,
    latent: Link | None = None,
    image: Link | None = None,
) -> Link:
    """The picture that hires fix makes of the first pass' latent, or of a picture of its size."""
    hires = request.hires
    assert hires is not None
    second = _second_pass(request, hires, first)
    enlarged = _enlarge(draft, request, hires, latent, image, first, second)
    if hires.denoise > 0:
        enlarged = sampled_pass(draft, request, second, facts, enlarged, index, denoise=hires.denoise)
    final = decoded(draft, enlarged, vae_of(draft, request, second.checkpoint), request)
    final = _seams_said(draft, request, second, facts, final) if hires.denoise > 0 else final
    return faces_restored(draft, final, request)


def guided_pass(request: Txt2Img) -> Pass:
    """The first pass of a request, or the only one."""
    refiner = request.refiner
    if refiner is not None and request.hires is not None and refiner.passes == FINAL:
        refiner = None
    return Pass(
        checkpoint=request.checkpoint or "",
        prompt=request.prompt,
        negative=request.negative,
        sampler=request.sampler,
        schedule=request.schedule,
        steps=request.steps,
        cfg=request.cfg,
        calls_before=0,
        refiner=refiner,
        tiled=_tiled(request, FINAL),
        shrink=request.deep_shrink,
        merging=request.token_merging,
    )


def _tiled(request: Txt2Img, other: str) -> TiledDiffusion | None:
    """The tiling of a pass; `other` names the pass that it is not."""
    return None if request.tiled is None or request.tiled.passes == other else request.tiled


def _second_pass(request: Txt2Img, hires: HiresFix, first: Pass) -> Pass:
    refiner = request.refiner
    if refiner is not None and refiner.passes == FIRST_PASS:
        refiner = None
    return Pass(
        checkpoint=hires.checkpoint or first.checkpoint,
        prompt=hires.prompt or request.prompt,
        negative=hires.negative or request.negative,
        sampler=hires.sampler or request.sampler,
        schedule=hires.schedule or request.schedule,
        steps=hires.steps or request.steps,
        cfg=request.cfg if hires.cfg is None else hires.cfg,
        calls_before=request.steps * calls_per_step(request.sampler),
        refiner=refiner,
        tiled=_tiled(request, FIRST_PASS),
        merging=request.token_merging_hires or request.token_merging,
    )


def guided(draft: Draft, request: Txt2Img, part: Pass, checkpoint: str, facts: Facts) -> dict[str, Any]:
    """The inputs model, positive and negative of a sampling node, with the prompt's LoRAs and the clip skip."""
    loader = loaded(draft, request, checkpoint)
    model, clip = lay_over(draft, loader.out(0), loader.out(1), part.prompt, facts[checkpoint].family, facts)
    if request.clip_skip > 1:
        clip = draft.add("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-request.clip_skip).out()
    shared: dict[str, Any] = {"clip": clip}
    if request.dialect == "webui":
        shared |= {"dialect": "webui", "schedule_calls": part.steps * calls_per_step(part.sampler)}
        if part.calls_before:
            shared["schedule_calls_before"] = part.calls_before
        options = ("emphasis", "comma_backtrack", "comments", "old_scheduling")
        shared |= {name: getattr(request, name) for name in options if getattr(request, name) != getattr(Txt2Img, name)}

    def encode(own: str, is_negative: bool) -> Link:
        """The main prompt of a side, and behind it a region's own."""
        text = ", ".join(words for words in (part.negative if is_negative else part.prompt, own) if words)
        more: dict[str, Any] = {}
        if request.dialect != "webui" and not is_negative:
            text = without_tags(text)  # ComfyUI's node knows no tags; the A1111 dialect takes them out by itself
        if request.dialect == "webui" and is_negative:
            more = {"negative": True, "zero_if_empty": not text}
        title = "Negative prompt" if is_negative else "Prompt"
        return draft.add("CLIPTextEncode", title=title, text=text, **shared, **more).out()

    positive, negative = encode("", False), encode("", True)
    if part.tiled is not None:
        positive, negative = add_regions(draft, positive, negative, part.tiled, encode)
    second = part.calls_before > 0
    size = delivered_size(request)
    positive, negative = steered(draft, request, positive, negative, size, second=second, shown=part.shown)
    if request.seamless != "off":
        model = draft.add("HiresSeamlessModel", model=model, sides=request.seamless).out()
    if part.merging > 0:
        model = draft.add("TomePatchModel", model=model, ratio=part.merging, **_dialect(request)).out()
    model = _patched(draft, fine_model(draft, model, request.fine), part)
    return {"model": model, "positive": positive, "negative": negative}


def _dialect(request: Txt2Img) -> dict[str, Any]:
    """For nodes that have ComfyUI's numbers unless they are told otherwise."""
    return {"dialect": request.dialect} if request.dialect == "webui" else {}


def _patched(draft: Draft, model: Link, part: Pass) -> Link:
    """The model with Deep Shrink and tiles where a pass asks for them."""
    if part.shrink is not None:
        model = shrink_model(draft, model, part.shrink)
    return model if part.tiled is None else tile_model(draft, model, part.tiled)


def _seams_said(draft: Draft, request: Txt2Img, part: Pass, facts: Facts, image: Link) -> Link:
    """The picture of a pass, with a word of how much its tiles show."""
    if part.tiled is None:
        return image
    model = guided(draft, request, part, part.checkpoint, facts)["model"]
    return draft.add("HiresSeamIndex", image=image, model=model).out()


@dataclass(frozen=True)
class OverPicture:
    """What a pass over a picture adds: inputs of its sampling nodes, what the inputs model, positive and negative go
    through, and, without `fixed_steps`, that only the denoised share of the steps is run."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    shown: Callable[[dict[str, Any]], dict[str, Any]] = dict
    fixed_steps: bool = True
    title: str | None = None

    def span(self, steps: int, denoise: float) -> tuple[int, int]:
        """(length of the schedule, its first step that is run)."""
        if denoise >= 1.0:
            return steps, 0
        length, reached = img2img_steps(steps, denoise, self.fixed_steps)
        return length, length - reached - 1


def sampled_pass(
    draft: Draft,
    request: Txt2Img,
    part: Pass,
    facts: Facts,
    latent: Link,
    index: int,
    denoise: float,
    over: OverPicture | None = None,
) -> Link:
    """One pass: a KSampler, or two KSamplerAdvanced where a refiner takes over."""
    over = over or OverPicture()
    shared = {"cfg": part.cfg, **sampler_inputs(request, part.sampler, part.schedule, index), **over.inputs}
    steps, start = over.span(part.steps, denoise)
    switch = steps
    if part.refiner is not None:
        switch = switch_step(request, part.sampler, part.schedule, steps, start, part.refiner)
    if switch >= steps:
        return _ksampler(draft, request, part, facts, shared, latent, denoise, over)
    base = over.shown(_stage(draft, request, part, facts, part.checkpoint, shared, steps))
    assert part.refiner is not None
    refiner = over.shown(_stage(draft, request, part, facts, part.refiner.checkpoint, shared, steps))
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
    part: Pass,
    facts: Facts,
    shared: dict[str, Any],
    latent: Link,
    denoise: float,
    over: OverPicture,
) -> Link:
    title = over.title or ("First pass" if denoise == 1.0 else "Hires pass")
    if not over.fixed_steps and denoise < 1.0 and request.dialect == "webui":
        shared = {**shared, "fixed_steps": False}
    return draft.add(
        "KSampler",
        title=title,
        **over.shown(guided(draft, request, part, part.checkpoint, facts)),
        latent_image=latent,
        steps=part.steps,
        denoise=denoise,
        **shared,
    ).out()


def _stage(
    draft: Draft, request: Txt2Img, part: Pass, facts: Facts, checkpoint: str, shared: dict[str, Any], steps: int
) -> dict[str, Any]:
    inputs = {key: value for key, value in shared.items() if key != "seed"} | {"noise_seed": shared["seed"]}
    return inputs | guided(draft, request, part, checkpoint, facts) | {"steps": steps}


def _window(start: int, end: int | None, add_noise: bool) -> dict[str, Any]:
    return {
        "add_noise": "enable" if add_noise else "disable",
        "start_at_step": start,
        "end_at_step": 10_000 if end is None else end,
        "return_with_leftover_noise": "disable" if end is None else "enable",
    }


def _enlarge(
    draft: Draft, request: Txt2Img, hires: HiresFix, latent: Link | None, image: Link | None, first: Pass, second: Pass
) -> Link:
    """From the first pass, or a picture, to the latent that the second starts from: resized, then cropped in latent
    cells."""
    vae = vae_of(draft, request, first.checkpoint)
    size = hires_size(request.width, request.height, hires.scale, hires.width, hires.height)
    width, height = floor_to_latent(size.width), floor_to_latent(size.height)
    latent_names = [name for name in LATENT_UPSCALERS if same_name(name, hires.upscaler)]
    if latent_names:
        method = LATENT_UPSCALERS[latent_names[0]]
        latent = latent if image is None else encoded(draft, image, vae, request)
        enlarged = draft.add(
            "LatentUpscale", samples=latent, upscale_method=method, width=width, height=height, crop="disabled"
        ).out()
    else:
        if image is None:
            assert latent is not None
            image = decoded(draft, latent, vae, request)
        image = enlarged_image(draft, hires.upscaler, image, width, height)
        enlarged = encoded(draft, image, vae_of(draft, request, second.checkpoint), request)
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


def enlarged_image(draft: Draft, upscaler: str, image: Link, width: int, height: int) -> Link:
    """A picture at another size: by a network and then Lanczos, or by one of the plain methods alone."""
    method = "nearest-exact" if same_name(upscaler, "Nearest") else "lanczos"
    if not any(same_name(upscaler, name) for name in PLAIN):
        model = draft.add("UpscaleModelLoader", model_name=upscaler).out()
        image = draft.add("ImageUpscaleWithModel", upscale_model=model, image=image).out()
    return draft.add(
        "ImageScale", image=image, upscale_method=method, width=width, height=height, crop="disabled"
    ).out()


def loaded(draft: Draft, request: Txt2Img, checkpoint: str) -> Output:
    """A checkpoint's loader, with the precision of its weights."""
    how = {} if request.fp8 == Txt2Img.fp8 else {"float8": FP8_MODES[request.fp8]}
    return draft.add("CheckpointLoaderSimple", ckpt_name=checkpoint, **how)


def vae_of(draft: Draft, request: Txt2Img, checkpoint: str) -> Link:
    """The request's VAE, or the checkpoint's own."""
    if request.vae:
        vae = draft.add("VAELoader", vae_name=request.vae).out()
    else:
        vae = loaded(draft, request, checkpoint).out(2)
    if request.seamless == "off":
        return vae
    return draft.add("HiresSeamlessVAE", vae=vae, sides=request.seamless).out()


def decoded(draft: Draft, latent: Link, vae: Link, request: Txt2Img) -> Link:
    """The picture of a latent, in the request's VAE mode."""
    how = _vae_mode(request)
    return draft.add("HiresVAEDecode" if how else "VAEDecode", samples=latent, vae=vae, **how).out()


def faces_restored(draft: Draft, image: Link, request: Txt2Img) -> Link:
    """Pictures with their faces restored, where the request asks for it."""
    if not request.face_restoration:
        return image
    how: dict[str, Any] = {"restorer": request.face_restoration, "visibility": 1.0, "weight": request.face_weight}
    return draft.add("HiresRestoreFaces", image=image, **how).out()


def encoded(draft: Draft, image: Link, vae: Link, request: Txt2Img) -> Link:
    """The latent of a picture, in the request's VAE mode."""
    how = _vae_mode(request)
    return draft.add("HiresVAEEncode" if how else "VAEEncode", pixels=image, vae=vae, **how).out()


def _vae_mode(request: Txt2Img) -> dict[str, Any]:
    """Nothing where it is as usual: the nodes that every editor knows do that too."""
    if (request.vae_mode, request.vae_tile) == (Txt2Img.vae_mode, Txt2Img.vae_tile):
        return {}
    return {"mode": request.vae_mode, "tile_size": request.vae_tile}


def saved(draft: Draft, images: Link, prefix: str, text: str | Link, request: Txt2Img | None = None) -> None:
    """Pictures written with their infotext, in the request's format."""
    how: dict[str, Any] = {}
    if request is not None and request.format != Txt2Img.format:
        how = {"format": request.format, "quality": request.quality}
    if isinstance(text, str):
        how["parameters_of"] = digest(draft.graph(), images, own_nodes())
    draft.add("SaveImage", images=images, filename_prefix=prefix, parameters=text, **how)
