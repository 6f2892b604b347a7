"""Names in LoRA files: which weight of which network each stem means, in the spellings of the trainers in use.

kohya's "lora_unet_..." and "lora_te_..." with underscores for dots, over diffusers' block names or latent-diffusion's;
LyCORIS' "lycoris_..."; diffusers' "unet...." and "text_encoder....", its older "processor" names; generic
"diffusion_model....". Stems stand before a suffix that says which part of the change a tensor is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from hires.models.keys import module_unet_blocks, renamed, unet_block_names

SUFFIXES: Mapping[str, str] = {
    ".lora_up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_mid.weight": "mid",
    "_lora.up.weight": "up",
    "_lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B": "up",
    ".lora_A": "down",
    ".alpha": "alpha",
    ".dora_scale": "dora_scale",
    ".lora_magnitude_vector.default.weight": "dora_scale",
    ".lora_magnitude_vector.weight": "dora_scale",
    ".lora_magnitude_vector": "dora_scale",
    ".hada_w1_a": "w1_a",
    ".hada_w1_b": "w1_b",
    ".hada_w2_a": "w2_a",
    ".hada_w2_b": "w2_b",
    ".hada_t1": "t1",
    ".hada_t2": "t2",
    ".lokr_w1": "kw1",
    ".lokr_w1_a": "kw1_a",
    ".lokr_w1_b": "kw1_b",
    ".lokr_w2": "kw2",
    ".lokr_w2_a": "kw2_a",
    ".lokr_w2_b": "kw2_b",
    ".lokr_t2": "kt2",
    ".a1.weight": "a1",
    ".a2.weight": "a2",
    ".b1.weight": "b1",
    ".b2.weight": "b2",
    ".oft_blocks": "blocks",
    ".oft_diag": "blocks",
    ".rescale": "rescale",
    ".on_input": "on_input",
    ".diff": "diff",
    ".diff_b": "diff_b",
    ".set_weight": "set_weight",
    ".w_norm": "diff",
    ".b_norm": "diff_b",
}
LONGEST_FIRST = sorted(SUFFIXES, key=len, reverse=True)


def split_key(key: str, keys: Collection[str]) -> tuple[str, str] | None:
    """(stem, part) of a tensor's key; None for a key that belongs to no change. `keys` are all of the file's."""
    for suffix in LONGEST_FIRST:
        if key.endswith(suffix):
            return key.removesuffix(suffix), SUFFIXES[suffix]
    if key.endswith(".weight") and key.removesuffix(".weight") + ".on_input" in keys:
        return key.removesuffix(".weight"), "ia3"
    return None


@dataclass(frozen=True)
class Target:
    """A layer: of which network ("unet" or a CLIP tower's letter), its path there, its latent-diffusion block."""

    network: str
    path: str
    block: str = ""


def unet_stems(parameters: Collection[str]) -> dict[str, Target]:
    """Every spelling of every layer of a UNet."""
    inverted = {module: ldm for ldm, module in unet_block_names(module_unet_blocks(parameters)).items()}
    stems: dict[str, Target] = {}
    for path in layer_paths(parameters):
        ldm = renamed(path, inverted) or path
        target = Target("unet", path, ldm)
        for name in (path, ldm, path.replace("class_embedding.", "add_embedding.")):
            flat = name.replace(".", "_")
            for stem in (f"lora_unet_{flat}", f"lycoris_{flat}", f"lycoris_unet_{flat}", *dotted(name)):
                stems.setdefault(stem, target)
    return stems


DOTTED_PREFIXES = (
    "unet.",
    "diffusion_model.",
    "model.diffusion_model.",
    "base_model.model.",
    "unet.base_model.model.",
)


def dotted(name: str) -> Iterator[str]:
    """Spellings that keep the dots, with the prefixes in use."""
    processor = name.replace(".to_", ".processor.to_").removesuffix(".0") if ".to_" in name else name
    bare = name.removesuffix(".0") if ".to_out" in name else name
    for prefix in DOTTED_PREFIXES:
        yield prefix + name
        yield prefix + processor
        yield prefix + bare
    yield from (name, processor, bare)


TOWER_PREFIXES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # tower -> (prefixes before underscored names, prefixes before dotted names)
    "l": (
        ("lora_te_", "lora_te1_", "lycoris_te_"),
        ("text_encoder.", "text_encoders.clip_l.transformer.", "clip_l.transformer."),
    ),
    "h": (
        ("lora_te_", "lora_te1_", "lycoris_te_"),
        ("text_encoder.", "text_encoders.clip_h.transformer.", "clip_h.transformer."),
    ),
    "g": (("lora_te2_",), ("text_encoder_2.", "text_encoders.clip_g.transformer.", "clip_g.transformer.")),
}
OLD_PROJECTIONS = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def text_stems(tower: str, parameters: Collection[str], *, alone: bool) -> dict[str, Target]:
    """Every spelling of every layer of a text tower; the only tower of a family also goes by the first one's names."""
    flat_prefixes, dotted_prefixes = TOWER_PREFIXES[tower]
    if alone and tower == "g":
        flat_prefixes, dotted_prefixes = (*flat_prefixes, "lora_te_", "lora_te1_"), (*dotted_prefixes, "text_encoder.")
    stems: dict[str, Target] = {}
    for path in layer_paths(parameters):
        name = "text_model." + path.removeprefix("text_model.")
        leaf = name.rpartition(".")[2]
        old = name.removesuffix(leaf) + OLD_PROJECTIONS[leaf] if leaf in OLD_PROJECTIONS else name
        target = Target(tower, path, "text")
        for prefix in flat_prefixes:
            stems.setdefault(prefix + name.replace(".", "_"), target)
        for prefix in dotted_prefixes:
            stems.setdefault(prefix + name, target)
            stems.setdefault(prefix + old, target)
    return stems


def layer_paths(parameters: Collection[str]) -> list[str]:
    """The layers that own parameters, in order."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))
