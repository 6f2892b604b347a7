"""LoRA tags of prompts: `<lora:name:0.8>` and the like, as loaders laid over a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hires.errors import PromptError, SettingError
from hires.models.lora_blocks import block_weights
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts
from hires.recipes.request import Txt2Img
from hires.text.syntax_webui import NetworkTag, split_networks, strip_comments

LORA_KINDS = ("lora", "lyco")
HYPERNET = "hypernet"
EMBEDDING = "embedding:"


def network_tags(prompt: str) -> list[NetworkTag]:
    """The tags of a prompt in its order."""
    return split_networks(strip_comments(prompt))[1]


def unknown_arguments(tag: NetworkTag) -> list[str]:
    """The named arguments of a tag that mean nothing here."""
    known = ("te", "unet", "dyn", "lbw") if tag.kind in LORA_KINDS else ()
    return [name for name in tag.named if name not in known]


def without_tags(prompt: str) -> str:
    """The prompt as it is encoded."""
    return split_networks(prompt)[0] if network_tags(prompt) else prompt


def lora_names(request: Txt2Img) -> list[str]:
    """The names of all LoRAs that the prompts of both passes ask for, each once."""
    prompts = [request.prompt, request.hires.prompt if request.hires is not None else ""]
    tags = [tag for prompt in prompts for tag in network_tags(prompt) if tag.kind in LORA_KINDS]
    return list(dict.fromkeys(tag.name for tag in tags))


def hypernetwork_names(request: Txt2Img) -> list[str]:
    """The names of all hypernetworks that the prompts of both passes ask for, each once."""
    prompts = [request.prompt, request.hires.prompt if request.hires is not None else ""]
    return list(dict.fromkeys(tag.name for prompt in prompts for tag in network_tags(prompt) if tag.kind == HYPERNET))


def fact_key(name: str, kind: str = "lora") -> str:
    """Where a request's facts hold the LoRA or hypernetwork that a tag calls `name`."""
    return f"{HYPERNET if kind == HYPERNET else 'lora'}:{name}"


def check_blocks(tag: NetworkTag, family: str) -> None:
    """PromptError, at the tag's place, for block weights that do not fit the family of a model."""
    try:
        block_weights(tag.blocks or "ALL", family)
    except SettingError as error:
        where = f"<{tag.kind}:{tag.name}> at character {tag.position + 1}"
        raise PromptError(f"{where}: {error.message}", error.hint, tag.position) from None


def lay_over(
    draft: Draft, model: Link, clip: Link, prompt: str, family: str, facts: Mapping[str, ModelFacts]
) -> tuple[Link, Link]:
    """model and clip with the prompt's LoRAs, in its order; those of another family are left out (A1111's refiner
    keeps going too), as are names that were not found."""
    for tag in network_tags(prompt):
        found = facts.get(fact_key(tag.name, tag.kind))
        if found is None or found.family not in ("", family):
            continue
        if tag.kind == HYPERNET:
            strength = tag.strengths()[0]
            model = draft.add("HypernetworkLoader", model=model, hypernetwork_name=found.name, strength=strength).out()
            continue
        text_strength, unet_strength, rank = tag.strengths()
        more: dict[str, Any] = {} if rank is None else {"rank": rank}
        if tag.blocks is not None:
            check_blocks(tag, family)
            more["block_weights"] = tag.blocks
        loader = draft.add(
            "LoraLoader",
            model=model,
            clip=clip,
            lora_name=found.name,
            strength_model=unet_strength,
            strength_clip=text_strength,
            **more,
        )
        model, clip = loader.out(0), loader.out(1)
    return model, clip


def lora_hashes(request: Txt2Img, facts: Mapping[str, ModelFacts]) -> str | None:
    """The value of infotext's `Lora hashes`; None without LoRAs."""
    found = [(name, facts[fact_key(name)].hash) for name in lora_names(request) if fact_key(name) in facts]
    return _hash_list(found)


def embedding_key(name: str) -> str:
    """Where a request's facts hold the embedding that a prompt calls `name`."""
    return f"{EMBEDDING}{name}"


def embedding_hashes(facts: Mapping[str, ModelFacts]) -> str | None:
    """The value of infotext's `TI hashes`; None where the prompts name no embedding."""
    found = [(key.removeprefix(EMBEDDING), fact.hash) for key, fact in facts.items() if key.startswith(EMBEDDING)]
    return _hash_list(found)


def stated_hashes(loras: str, embeddings: str) -> dict[str, str]:
    """The hashes of the fields `Lora hashes` and `TI hashes` under the keys of `fact_key` and `embedding_key`."""
    return {
        key(name.strip()): hash_.strip()
        for key, text in ((fact_key, loras), (embedding_key, embeddings))
        for name, colon, hash_ in (entry.rpartition(":") for entry in text.split(","))
        if colon and re.fullmatch(r"[0-9a-fA-F]{8,64}", hash_.strip())
    }


def _hash_list(found: list[tuple[str, str]]) -> str | None:
    clean = [(name.replace(":", "").replace(",", ""), hash_) for name, hash_ in found]
    return ", ".join(f"{name}: {hash_}" for name, hash_ in clean) or None
