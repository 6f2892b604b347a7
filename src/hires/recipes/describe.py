"""What a request is going to do, in one line, and what experience says against it."""

from __future__ import annotations

from collections.abc import Mapping

from hires.imaging.sizes import floor_to_latent
from hires.imaging.upscalers import LATENT_UPSCALERS
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import number
from hires.recipes.networks import (
    HYPERNET,
    LORA_KINDS,
    fact_key,
    hypernetwork_names,
    lora_names,
    network_tags,
    unknown_arguments,
)
from hires.recipes.request import Txt2Img, delivered_size
from hires.recipes.samplers import infotext_names
from hires.text.notes import prompt_notes
from hires.text.wildcards import names_in

LATENT_NEEDS = 0.5
"""Below this denoising strength an enlarged latent stays blurry."""


def describe(request: Txt2Img, facts: Mapping[str, ModelFacts]) -> str:
    """One line: model, sampler, steps and size of each pass, seed. The request must be prepared."""
    sampler, schedule = infotext_names(request.sampler, request.schedule)
    count = request.batch_size * request.batch_count
    width, height = floor_to_latent(request.width), floor_to_latent(request.height)
    parts = [
        f"{facts[request.checkpoint or ''].title}, {sampler} {schedule}, {request.steps} steps at {width}x{height}"
    ]
    if request.hires is not None:
        hires = request.hires
        final = "x".join(map(str, delivered_size(request)))
        if hires.denoise > 0:
            steps = hires.steps or request.steps
            parts.append(f"then {steps} at {final} ({hires.upscaler}, denoising {number(hires.denoise)})")
        else:
            parts.append(f"then enlarged to {final} ({hires.upscaler})")
    if request.refiner is not None:
        parts.append(f"refiner {facts[request.refiner.checkpoint].title}")
    seeds = f"seed {request.seed}" if count == 1 else f"{count} pictures from seed {request.seed}"
    return ", ".join([*parts, seeds])


def notices(request: Txt2Img, facts: Mapping[str, ModelFacts]) -> list[str]:
    """What a user should know before the run: sizes that are floored, settings that are known to disappoint."""
    found = []
    floored = floor_to_latent(request.width), floor_to_latent(request.height)
    if floored != (request.width, request.height):
        found.append(
            f"{request.width}x{request.height} is drawn as {floored[0]}x{floored[1]}: sides are multiples of 8"
        )
    hires = request.hires
    if hires is not None and hires.upscaler in LATENT_UPSCALERS and 0 < hires.denoise < LATENT_NEEDS:
        found.append(
            f"the upscaler {hires.upscaler} needs a denoising strength of {LATENT_NEEDS} or more; at {hires.denoise} "
            "the picture stays blurry (Lanczos works from 0.2)"
        )
    return found + _prompt_notices(request) + _network_notices(request, facts)


def _prompt_notices(request: Txt2Img) -> list[str]:
    """What in the prompts will surprise, with its place."""
    hires = request.hires
    prompts = {"prompt": request.prompt, "negative prompt": request.negative}
    if hires is not None:
        prompts |= {"hires prompt": hires.prompt, "hires negative prompt": hires.negative}
    found = [
        f"{kind}, character {position + 1}: there is no wildcard file {name}.txt, so __{name}__ is drawn as text"
        for kind, text in prompts.items()
        for position, name in (names_in(text) if request.templates is not None else ())
    ]
    if request.dialect != "webui" or request.emphasis == "None":
        return found
    return found + [
        f"{name}, {note}"
        for name, text in prompts.items()
        for note in prompt_notes(text, negative="negative" in name, comments=request.comments)
    ]


def _network_notices(request: Txt2Img, facts: Mapping[str, ModelFacts]) -> list[str]:
    """Which <...> tags of the prompts do nothing, and why."""
    found = []
    checkpoint = facts[request.checkpoint or ""]
    for name in hypernetwork_names(request):
        if fact_key(name, HYPERNET) not in facts:
            found.append(f"there is no hypernetwork {name!r} in the hypernetworks folder; its tag does nothing")
    for name in lora_names(request):
        lora = facts.get(fact_key(name))
        if lora is None:
            found.append(f"there is no LoRA {name!r} in the loras folder; its tag does nothing")
        elif lora.family not in ("", checkpoint.family):
            found.append(f"the LoRA {name!r} is for {lora.family}, not {checkpoint.family}; its tag does nothing")
    hires = request.hires
    positive = [request.prompt, hires.prompt if hires is not None else ""]
    negative = [request.negative, hires.negative if hires is not None else ""]
    tags = [tag for prompt in positive for tag in network_tags(prompt)]
    other = {tag.kind for tag in tags if tag.kind not in (*LORA_KINDS, HYPERNET)}
    if other:
        found.append(f"tags of the kind {', '.join(sorted(other))} are left out")
    for tag in tags:
        if tag.kind not in other and (unknown := unknown_arguments(tag)):
            found.append(f"{', '.join(unknown)} of <{tag.kind}:{tag.name}> means nothing here and is left out")
    if any(network_tags(prompt) for prompt in negative):
        found.append("<...> tags in a negative prompt are left out")
    return found
