"""Merging of models and text encoders, and writing what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from hires.errors import ModelFileError
from hires.graph.declare import NodeResult, NodeType, node
from hires.graph.inputs import Float, Input, Socket, Text
from hires.metadata.files import write_numbered
from hires.models.clip import TextStack
from hires.models.export import (
    architecture_facts,
    clip_file_tensors,
    hires_config,
    ldm_vae_tensors,
    single_file_tensors,
    write_tensors,
)
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.merging import Mix, by_prefix, interpolation, merge_models, merge_texts
from hires.models.sizes import METADATA_KEY
from hires.nodes.context import RunContext
from hires.nodes.types import Clip, Model, Vae

MERGING = "advanced/model_merging"
Ratio = Annotated[float, Float(0.0, 1.0, 0.01)]
Multiplier = Annotated[float, Float(-10.0, 10.0, 0.01)]
Prefix = Annotated[str, Text()]


@node("ModelMergeSimple", category=MERGING, outputs=("MODEL",))
def merge_simple(*, model1: Model, model2: Model, ratio: Ratio = 1.0) -> DiffusionModel:
    """model1 * ratio + model2 * (1 - ratio)"""
    return merge_models(model1, model2, lambda key: interpolation(ratio), ratio)


@node("ModelMergeBlocks", category=MERGING, outputs=("MODEL",))
def merge_blocks(
    *,
    model1: Model,
    model2: Model,
    input: Ratio = 1.0,
    middle: Ratio = 1.0,
    out: Ratio = 1.0,
) -> DiffusionModel:
    """The same with a ratio for each third of the UNet; `input` also for what belongs to none."""
    ratios = {"input": input, "middle": middle, "out": out}
    return merge_models(model1, model2, by_prefix(ratios), tuple(ratios.items()))


@node("ModelMergeAdd", category=MERGING, outputs=("MODEL",))
def merge_add(*, model1: Model, model2: Model) -> DiffusionModel:
    """model1 + model2"""
    return merge_models(model1, model2, lambda key: Mix(1.0, 1.0), "add")


@node("ModelMergeSubtract", category=MERGING, outputs=("MODEL",))
def merge_subtract(*, model1: Model, model2: Model, multiplier: Multiplier = 1.0) -> DiffusionModel:
    """multiplier * (model1 - model2)"""
    return merge_models(model1, model2, lambda key: Mix(multiplier, -multiplier), "subtract", multiplier)


def _per_block(name: str, blocks: Mapping[str, int]) -> Callable[..., DiffusionModel]:
    """A merge with a ratio for every block; its inputs have dots in their names, so it is declared by hand."""
    prefixes = ["time_embed.", "label_emb."]
    prefixes += [f"{stage}.{number}." for stage, count in blocks.items() for number in range(count)]
    prefixes.append("out.")

    def merge(*, model1: DiffusionModel, model2: DiffusionModel, **ratios: float) -> DiffusionModel:
        return merge_models(model1, model2, by_prefix(ratios), tuple(ratios.items()))

    sockets = tuple(Input(side, Socket("MODEL"), required=True) for side in ("model1", "model2"))
    floats = tuple(Input(prefix, Float(0.0, 1.0, 0.01), required=True, default=1.0) for prefix in prefixes)
    declared = NodeType(
        name,
        merge,
        (*sockets, *floats),
        ("MODEL",),
        category=f"{MERGING}/model_specific",
        description="model1 * ratio + model2 * (1 - ratio), with a ratio for every block",
        defaults=dict.fromkeys(prefixes, 1.0),
    )
    merge.__dict__["node_types"] = (declared,)
    return merge


merge_sd1 = _per_block("ModelMergeSD1", {"input_blocks": 12, "middle_block": 3, "output_blocks": 12})
merge_sdxl = _per_block("ModelMergeSDXL", {"input_blocks": 9, "middle_block": 3, "output_blocks": 9})


@node("CLIPMergeSimple", category=MERGING, outputs=("CLIP",))
def clip_merge_simple(*, clip1: Clip, clip2: Clip, ratio: Ratio = 1.0) -> TextStack:
    """clip1 * ratio + clip2 * (1 - ratio)"""
    return merge_texts(clip1, clip2, interpolation(ratio))


@node("CLIPMergeAdd", category=MERGING, outputs=("CLIP",))
def clip_merge_add(*, clip1: Clip, clip2: Clip) -> TextStack:
    """clip1 + clip2"""
    return merge_texts(clip1, clip2, Mix(1.0, 1.0))


@node("CLIPMergeSubtract", category=MERGING, outputs=("CLIP",))
def clip_merge_subtract(*, clip1: Clip, clip2: Clip, multiplier: Multiplier = 1.0) -> TextStack:
    """multiplier * (clip1 - clip2)"""
    return merge_texts(clip1, clip2, Mix(multiplier, -multiplier))


# ---- writing --------------------------------------------------------------------------------------------------------


@node("CheckpointSave", title="Save Checkpoint", category=MERGING, is_output=True)
def save_checkpoint(
    *, model: Model, clip: Clip, vae: Vae, filename_prefix: Prefix = "checkpoints/ComfyUI", context: RunContext
) -> NodeResult:
    """Write model, text encoder and VAE as one checkpoint, with LoRAs and merges in its weights."""
    return _save_model(model, clip, vae, filename_prefix, context)


@node("ModelSave", category=MERGING, is_output=True)
def save_model(
    *, model: Model, filename_prefix: Prefix = "diffusion_models/ComfyUI", context: RunContext
) -> NodeResult:
    """Write the UNet as a file of its own."""
    return _save_model(model, None, None, filename_prefix, context)


def _save_model(
    model: DiffusionModel | None,
    clip: TextStack | None,
    vae: VaeModel | None,
    prefix: str,
    context: RunContext,
) -> NodeResult:
    if model is None:
        raise ModelFileError("the checkpoint holds no diffusion model, so there is nothing to save")
    config = {METADATA_KEY: json.dumps(hires_config(model, clip, vae))}
    facts = architecture_facts(model)
    return _written(context, prefix, lambda: single_file_tensors(model, clip, vae), {**facts, **config}, titled=True)


@node("CLIPSave", category=MERGING, is_output=True)
def save_clip(*, clip: Clip, filename_prefix: Prefix = "clip/ComfyUI", context: RunContext) -> NodeResult:
    """Write each text encoder as a file of its own, its kind in the name."""
    files: list[dict[str, Any]] = []
    for tower in clip.clips:
        prefix = f"{filename_prefix}_clip_{tower.kind}"
        files += (_written(context, prefix, partial(clip_file_tensors, tower), {}).ui or {})["files"]
    return NodeResult(ui={"files": files})


@node("VAESave", category=MERGING, is_output=True)
def save_vae(*, vae: Vae, filename_prefix: Prefix = "vae/ComfyUI_vae", context: RunContext) -> NodeResult:
    """Write the VAE as a file of its own."""
    return _written(context, filename_prefix, lambda: ldm_vae_tensors(vae.vae), {})


def _written(
    context: RunContext,
    prefix: str,
    tensors: Callable[[], Mapping[str, Tensor]],
    metadata: Mapping[str, str],
    *,
    titled: bool = False,
) -> NodeResult:
    """Write under the next free number below the output folder, with the workflow in the metadata."""
    folder, stem = context.output_folder(prefix)
    texts = {**metadata, "prompt": json.dumps(dict(context.prompt))}
    texts |= {key: json.dumps(value) for key, value in context.extra_pnginfo.items()}
    if titled:
        texts["modelspec.title"] = stem

    def write(path: Path) -> None:
        write_tensors(tensors(), path, texts)

    path = write_numbered(folder, stem, ".safetensors", write, context.ledger)
    subfolder = folder.relative_to(context.output_dir.resolve()).as_posix()
    entry = {"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"}
    return NodeResult(ui={"files": [entry]})
