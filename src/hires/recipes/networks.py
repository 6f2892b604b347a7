"""LoRA tags of prompts: `<lora:name:0.8>` and the like, as loaders laid over a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts
from hires.recipes.request import Txt2Img
from hires.text.syntax_webui import NetworkTag, split_networks, strip_comments

LORA_KINDS = ("lora", "lyco")


def network_tags(prompt: str) -> list[NetworkTag]:
    """The tags of a prompt in its order."""
    return split_networks(strip_comments(prompt))[1]


def without_tags(prompt: str) -> str:
    """The prompt as it is encoded."""
    return split_networks(prompt)[0] if network_tags(prompt) else prompt


def lora_names(request: Txt2Img) -> list[str]:
    """The names of all LoRAs that the prompts of both passes ask for, each once."""
    prompts = [request.prompt, request.hires.prompt if request.hires is not None else ""]
    tags = [tag for prompt in prompts for tag in network_tags(prompt) if tag.kind in LORA_KINDS]
    return list(dict.fromkeys(tag.name for tag in tags))


def fact_key(name: str) -> str:
    """Where a request's facts hold the LoRA that a tag calls `name`."""
    return f"lora:{name}"


def lay_over(
    draft: Draft, model: Link, clip: Link, prompt: str, family: str, facts: Mapping[str, ModelFacts]
) -> tuple[Link, Link]:
    """model and clip with the prompt's LoRAs, in its order; those of another family are left out (A1111's refiner
    keeps going too), as are names that were not found."""
    for tag in network_tags(prompt):
        found = facts.get(fact_key(tag.name))
        if tag.kind not in LORA_KINDS or found is None or found.family not in ("", family):
            continue
        text_strength, unet_strength, _ = tag.strengths()
        loader = draft.add(
            "LoraLoader",
            model=model,
            clip=clip,
            lora_name=found.name,
            strength_model=unet_strength,
            strength_clip=text_strength,
        )
        model, clip = loader.out(0), loader.out(1)
    return model, clip


def lora_hashes(request: Txt2Img, facts: Mapping[str, ModelFacts]) -> str | None:
    """The value of infotext's `Lora hashes`; None without LoRAs."""
    found = [(name, facts[fact_key(name)].hash) for name in lora_names(request) if fact_key(name) in facts]
    clean = [(name.replace(":", "").replace(",", ""), hash_) for name, hash_ in found]
    return ", ".join(f"{name}: {hash_}" for name, hash_ in clean) or None
