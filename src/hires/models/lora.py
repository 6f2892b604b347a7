"""LoRA files: opened, matched with a model's layers, and laid over its weights.

    file = open_lora(path, identity)
    applied = apply_lora(model, clip, file, te=1.0, unet=0.8)

The models given stay as they are; what comes back shares every tensor that the file does not change.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hires.errors import ModelFileError
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel
from hires.models.kinds import recognise
from hires.models.layers import Change, derived_identity, lay
from hires.models.lora_formulas import Kind, changed, kind_of
from hires.models.lora_names import Target, split_key, text_stems, unet_stems
from hires.models.weights import Weights, open_weights

LOG = logging.getLogger(__name__)
FAMILY_LABELS: Mapping[str, str] = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "SDXL",
    "sdxl_refiner": "the SDXL refiner",
}
CONTEXT_FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl_refiner"}
ARCHITECTURES = (
    ("stable-diffusion-xl", "sdxl"),
    ("sdxl", "sdxl"),
    ("stable-diffusion-v2", "sd2"),
    ("sd_v2", "sd2"),
    ("stable-diffusion-v1", "sd1"),
    ("sd_v1", "sd1"),
    ("flux", "Flux"),
    ("sd3", "Stable Diffusion 3"),
    ("stable-diffusion-3", "Stable Diffusion 3"),
)
FOREIGN_MARKS = (
    ("double_blocks", "Flux"),
    ("single_transformer_blocks", "Flux"),
    ("joint_blocks", "Stable Diffusion 3"),
    ("lora_te3_", "Stable Diffusion 3"),
    ("lora_prior_", "Stable Cascade"),
)


@dataclass(frozen=True, eq=False)
class LoraFile:
    """An open LoRA: by stem the tensors of one change, part -> key in the file. `others` are keys of no change."""

    weights: Weights
    identity: str
    stems: Mapping[str, Mapping[str, str]]
    others: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.weights.path.name

    def shape(self, stem: str, part: str) -> tuple[int, ...]:
        return self.weights.tensors[self.stems[stem][part]].shape

    def parts(self, stem: str) -> dict[str, Tensor]:
        """The tensors of one change, float32."""
        return {
            part: self.weights.read_as(key, torch.float32) for part, key in self.stems[stem].items() if part != "alpha"
        }

    def alpha(self, stem: str) -> float | None:
        key = self.stems[stem].get("alpha")
        return None if key is None else float(self.weights.read_as(key, torch.float32).flatten()[0])

    @property
    def family(self) -> str | None:
        """The family it was trained for, as far as names, shapes or metadata tell."""
        for mark, family in FOREIGN_MARKS:
            if any(mark in stem for stem in self.stems):
                return family
        for stem, parts in self.stems.items():
            if stem.endswith(("attn2_to_k", "attn2.to_k")) and "down" in parts:
                width = self.shape(stem, "down")[1]
                if width in CONTEXT_FAMILIES:
                    return CONTEXT_FAMILIES[width]
        metadata = self.weights.metadata
        stated = f"{metadata.get('modelspec.architecture', '')} {metadata.get('ss_base_model_version', '')}".lower()
        for word, family in ARCHITECTURES:
            if word in stated:
                return family
        return "sdxl" if any(stem.startswith(("lora_te2_", "text_encoder_2.")) for stem in self.stems) else None


def open_lora(path: Path, identity: str) -> LoraFile:
    """Open a LoRA of any known layout; `identity` is a key for its content (its sha256)."""
    weights = open_weights(path)
    stems: dict[str, dict[str, str]] = {}
    others = []
    for key in weights.tensors:
        found = split_key(key, weights.tensors.keys())
        if found is None:
            others.append(key)
        else:
            stems.setdefault(found[0], {})[found[1]] = key
    stems = {stem: parts for stem, parts in stems.items() if parts.keys() != {"alpha"}}
    if not stems:
        raise weights.error(f"this is {recognise(weights.tensors.keys()).label}, not a LoRA")
    return LoraFile(weights, identity, stems, tuple(others))


@dataclass(frozen=True, eq=False)
class Applied:
    """The models with a LoRA in them, and the stems and keys of the file that nothing was made of, with the reason."""

    model: DiffusionModel | None
    clip: TextStack | None
    unmatched: Mapping[str, str]

    @property
    def warning(self) -> str | None:
        """One line that names, block by block, what did not fit."""
        if not self.unmatched:
            return None
        blocks = Counter(f"{block_of(stem)} ({reason})" for stem, reason in self.unmatched.items())
        listed = ", ".join(f"{block}: {number}" for block, number in sorted(blocks.items()))
        return f"{len(self.unmatched)} parts were not used: {listed}"


def apply_lora(
    model: DiffusionModel | None,
    clip: TextStack | None,
    file: LoraFile,
    te: float = 1.0,
    unet: float = 1.0,
    block_weights: Mapping[str, float] | None = None,
    *,
    dyn: int | None = None,
    strict: bool = True,
) -> Applied:
    """Lay a LoRA over a UNet with strength `unet` and over text towers with strength `te`.

    block_weights: latent-diffusion block ("input_blocks.4", "middle_block", "text" ...) -> factor of the strength; the
    longest prefix counts. `dyn` cuts the rank (A1111). A file for another family raises ModelFileError, or, when not
    `strict`, is left out and told in `unmatched`.
    """
    stems = _stems(model, clip)
    matched: dict[str, dict[str, Change]] = {}
    unmatched = dict.fromkeys(file.others, "unknown key")
    misfits = 0
    for stem, parts in file.stems.items():
        target = stems.get(stem)
        if target is None:
            if not _left_out(stem, model, clip):
                unmatched[stem] = "no such layer"
            continue
        factor = _factor(block_weights, target)
        strength = (unet if target.network == "unet" else te) * factor
        changes = _changes(file, stem, parts, _module(model, clip, target), target, strength, dyn)
        if changes is None:
            unmatched[stem] = "another shape"
            misfits += 1
        elif strength != 0.0:
            matched.setdefault(target.network, {}).update(changes)
    found = sum(stem in stems for stem in file.stems)
    if (misfits * 2 > found or found == 0) and stems:
        if strict:
            raise _wrong_family(file, model, clip)
        return Applied(model, clip, unmatched)
    key = (file.identity, unet, te, sorted((block_weights or {}).items()), dyn)
    applied = Applied(_patched_model(model, matched, key), _patched_clip(clip, matched, key), unmatched)
    if applied.warning is not None:
        LOG.warning("%s: %s", file.name, applied.warning)
    return applied


def block_of(stem: str) -> str:
    """The block that a stem names, for messages: "input_blocks_4", "down_blocks.1", "lora_te", its first word."""
    found = re.search(r"(input|output|down|up)_blocks[._]\d+|middle_block|mid_block|lora_te\d?|text_encoder\w*", stem)
    return found[0] if found else re.split(r"[.:]", stem)[0][:40]


def _stems(model: DiffusionModel | None, clip: TextStack | None) -> dict[str, Target]:
    stems = {} if model is None else unet_stems(dict(model.unet.named_parameters()))
    for tower in clip.clips if clip is not None else ():
        stems |= text_stems(tower.kind, dict(tower.module.named_parameters()), alone=len(clip.clips) == 1)  # type: ignore[union-attr]
    return stems


def _left_out(stem: str, model: DiffusionModel | None, clip: TextStack | None) -> bool:
    """Whether a stem belongs to a network that the caller did not give: no reason to warn."""
    text = stem.startswith(("lora_te", "lycoris_te", "text_encoder", "clip_", "text_encoders."))
    return (text and clip is None) or (not text and model is None)


def _module(model: DiffusionModel | None, clip: TextStack | None, target: Target) -> nn.Module:
    if target.network == "unet":
        assert model is not None
        layer: nn.Module = model.unet.get_submodule(target.path)
        return layer
    assert clip is not None
    tower = next(one for one in clip.clips if one.kind == target.network)
    return tower.module.get_submodule(target.path)


def _factor(block_weights: Mapping[str, float] | None, target: Target) -> float:
    prefixes = [block for block in block_weights or {} if f"{target.block}.".startswith(f"{block}.")]
    return (block_weights or {})[max(prefixes, key=len)] if prefixes else 1.0


def _changes(
    file: LoraFile,
    stem: str,
    parts: Mapping[str, str],
    layer: nn.Module,
    target: Target,
    strength: float,
    dyn: int | None,
) -> dict[str, Change] | None:
    """What one stem does to its layer's parameters; None if it does not fit them."""
    changes: dict[str, Change] = {}
    own = dict(layer.named_parameters(recurse=False))
    kind = kind_of(parts)
    if kind is not None:
        if not _fits(file, stem, kind, own["weight"]):
            return None
        changes[f"{target.path}.weight"] = _weight_change(file, stem, kind, strength, dyn)
    if "diff_b" in parts:
        if "bias" not in own or own["bias"].shape != file.shape(stem, "diff_b"):
            return None
        changes[f"{target.path}.bias"] = _bias_change(file, stem, strength)
    return changes or None


def _weight_change(file: LoraFile, stem: str, kind: Kind, strength: float, dyn: int | None) -> Change:
    alpha = file.alpha(stem)

    def change(weight: Tensor) -> Tensor:
        parts = {part: tensor.to(weight.device) for part, tensor in file.parts(stem).items()}
        scaled = alpha
        if dyn is not None and "up" in parts and "mid" not in parts:
            rank = parts["down"].shape[0]
            parts["up"], parts["down"] = parts["up"][:, :dyn], parts["down"][:dyn]
            scaled = None if alpha is None else alpha * parts["down"].shape[0] / rank
        return changed(kind, weight, parts, scaled, strength)

    return change


def _bias_change(file: LoraFile, stem: str, strength: float) -> Change:
    return lambda bias: bias + strength * file.parts(stem)["diff_b"].to(bias.device)


def _fits(file: LoraFile, stem: str, kind: Kind, weight: Tensor) -> bool:
    """Whether a change gives a weight of this shape: the formula is run on shapes alone."""
    parts = {part: torch.empty(file.shape(stem, part), device="meta") for part in file.stems[stem] if part != "alpha"}
    try:
        result = changed(kind, torch.empty(weight.shape, device="meta"), parts, 1.0, 1.0)
    except (RuntimeError, IndexError, ValueError):
        return False
    return result.shape == weight.shape


def _wrong_family(file: LoraFile, model: DiffusionModel | None, clip: TextStack | None) -> ModelFileError:
    owner = model.family if model is not None else clip.family if clip is not None else ""
    theirs = file.family
    made_for = "another kind of model" if theirs is None else FAMILY_LABELS.get(theirs, theirs)
    if theirs == owner:
        made_for = f"a {made_for} of other sizes"
    return file.weights.error(
        f"this LoRA is made for {made_for}, the model is {FAMILY_LABELS.get(owner, owner)}",
        "Choose a LoRA of the model's family.",
    )


def _patched_model(
    model: DiffusionModel | None, matched: Mapping[str, Mapping[str, Change]], key: object
) -> DiffusionModel | None:
    if model is None or "unet" not in matched:
        return model
    unet, layers = lay(model.unet, model.layers, matched["unet"])
    return replace(model, unet=unet, layers=layers, identity=derived_identity(model.identity, "lora", key))


def _patched_clip(clip: TextStack | None, matched: Mapping[str, Mapping[str, Change]], key: object) -> TextStack | None:
    if clip is None or not any(tower.kind in matched for tower in clip.clips):
        return clip
    towers = []
    for tower in clip.clips:
        if tower.kind in matched:
            module, layers = lay(tower.module, tower.layers, matched[tower.kind])
            tower = replace(tower, module=module, layers=layers)
        towers.append(tower)
    return replace(clip, clips=tuple(towers), identity=derived_identity(clip.identity, "lora", key))
