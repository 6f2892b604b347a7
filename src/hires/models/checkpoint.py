"""Files and folders to handles: checkpoints, VAEs, UNets and text encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hires.errors import ModelFileError
from hires.models.build import Holding, build_text, build_unet, build_vae
from hires.models.clip import ClipModel, TextStack
from hires.models.contents import Contents, Network, family_of, file_contents, join_texts, prediction_of
from hires.models.endings import is_diffusers_folder
from hires.models.folder import folder_contents
from hires.models.handles import LATENT_SCALES, DiffusionModel, VaeModel
from hires.models.precision import FLOAT8, SMALL_FILE_BYTES, WeightsPolicy, held_dtype, in_float8
from hires.models.sizes import LayoutError
from hires.models.weights import main_dtype

TEXT_FAMILIES = {("l",): "sd1", ("h",): "sd2", ("l", "g"): "sdxl", ("g",): "sdxl_refiner"}


CPU_DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Placement:
    """Where and how networks are held: device, the UNet's and the VAE's arithmetic, and the weights' precision."""

    device: torch.device = CPU_DEVICE
    compute_dtype: torch.dtype = torch.float32
    vae_dtype: torch.dtype = torch.float32
    weights: WeightsPolicy = "auto"
    float8: str = "off"


CPU = Placement()


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint. Parts that the file does not have are None. `size` is the file's, in bytes."""

    path: Path
    model: DiffusionModel | None
    clip: TextStack | None
    vae: VaeModel | None
    family: str
    prediction: str
    dtype: str
    size: int


def open_contents(path: Path) -> Contents:
    """Look into a file or a diffusers folder."""
    if is_diffusers_folder(path):
        return folder_contents(path)
    return file_contents(path)


def file_identity(path: Path) -> str:
    """A key for a file or folder as it is now, without reading it: path, size and time of every file."""
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def part_identity(identity: str, part: str, *facts: object) -> str:
    """The key of one part as held and computed."""
    return hashlib.sha256(repr((identity, part, *map(str, facts))).encode()).hexdigest()


def load_checkpoint(
    path: Path,
    placement: Placement = CPU,
    *,
    prediction: str | None = None,
    embedding_dirs: Sequence[Path] = (),
    identity: str | None = None,
) -> Checkpoint:
    """Load a single file or a diffusers folder whole.

    `prediction` overrides what the file says. `identity` is a key for its content (its sha256); without it, one is
    made of path, size and time.
    """
    contents = open_contents(path)
    if contents.unet is None:
        raise contents.error("there is no UNet in this file, so it is not a checkpoint")
    identity = identity or file_identity(path)
    try:
        family = family_of(contents.unet.pieces)
        model = load_unet_part(contents, contents.unet, family, placement, prediction, identity)
        vae = load_vae_part(contents, family, placement, identity)
        clip = load_text_part(contents, placement, family, tuple(embedding_dirs), identity)
    except LayoutError as problem:
        raise contents.error(problem) from None
    size = sum(file.stat().st_size for file in {network.weights.path for network in contents.networks})
    return Checkpoint(
        path, model, clip, vae, family, model.prediction, str(contents.dtype).removeprefix("torch."), size
    )


def load_unet_part(
    contents: Contents, unet: Network, family: str, placement: Placement, stated: str | None, identity: str
) -> DiffusionModel:
    """The diffusion model of a file."""
    prediction, zero_snr = prediction_of(contents, family, stated)
    held = held_dtype(placement.weights, contents.dtype, contents.numbers, placement.compute_dtype)
    float8 = in_float8(placement.float8, family)
    holding = Holding(held, placement.compute_dtype, placement.device, mapped(contents), float8)
    module = build_unet(unet.pieces, unet.weights, contents.hints, holding)
    lost: Any = held if held.itemsize < contents.dtype.itemsize else "as stored"
    lost = (lost, FLOAT8) if float8 else lost
    return DiffusionModel(
        family=family,
        unet=module,
        prediction=prediction,
        zero_terminal_snr=zero_snr,
        latent_scale=latent_scale(contents, family),
        in_channels=int(module.config.in_channels),
        identity=part_identity(identity, "unet", prediction, zero_snr, lost, placement.compute_dtype),
        device=placement.device,
        compute_dtype=placement.compute_dtype,
    )


def mapped(contents: Contents) -> bool:
    """Whether weights may stay in the mapped file: only where a copy of their own would be large."""
    return contents.numbers * 2 >= SMALL_FILE_BYTES


def latent_scale(contents: Contents, family: str) -> float:
    """The factor between raw latents and the UNet's: the family's, unless the file states its own."""
    return float(contents.hints.of("vae", "scaling_factor") or LATENT_SCALES[family])


def load_vae_part(contents: Contents, family: str, placement: Placement, identity: str) -> VaeModel | None:
    """The autoencoder of a file, or None."""
    if contents.vae is None:
        return None
    holding = Holding(placement.vae_dtype, placement.vae_dtype, placement.device, mapped(contents))
    module = build_vae(contents.vae.pieces, contents.vae.weights, contents.hints, holding)
    key = part_identity(identity, "vae", placement.vae_dtype)
    return VaeModel(module, key, placement.device, placement.vae_dtype, latent_scale(contents, family))


def load_text_part(
    contents: Contents, placement: Placement, family: str, embedding_dirs: tuple[Path, ...], identity: str
) -> TextStack | None:
    """The text towers of a file, or None. They compute in float32 everywhere."""
    if not contents.texts:
        return None
    clips: list[ClipModel] = []
    kept = []
    for kind, text in contents.texts:
        held = text_dtype(placement.weights, main_dtype(text.infos))
        kept.append(held)
        holding = Holding(held, torch.float32, placement.device, mapped(contents))
        clips.append(build_text(kind, text.pieces, text.weights, contents.hints, holding))
    return TextStack(family, tuple(clips), None, embedding_dirs, part_identity(identity, "text", *kept))


def text_dtype(policy: WeightsPolicy, stored: torch.dtype) -> torch.dtype:
    """The precision to hold text weights in. "auto" rounds float32 to float16, as ComfyUI does on every device: without
    it pictures from float32 checkpoints differ from ComfyUI's by some 5e-4. Text runs once a prompt, so the rest stays
    as stored."""
    if policy != "auto":
        return held_dtype(policy, stored, 0, torch.float32)
    return torch.float16 if stored.itemsize > 2 else stored


def load_vae(path: Path, placement: Placement = CPU, *, family: str = "sd1", identity: str | None = None) -> VaeModel:
    """Load the autoencoder of a file of its own, or of a checkpoint or diffusers folder."""
    contents = open_contents(path)
    try:
        vae = load_vae_part(contents, family, placement, identity or file_identity(path))
    except LayoutError as problem:
        raise contents.error(problem) from None
    if vae is None:
        raise contents.error("there is no VAE in this file")
    return vae


def load_unet(
    path: Path, placement: Placement = CPU, *, prediction: str | None = None, identity: str | None = None
) -> DiffusionModel:
    """Load a UNet from a file of its own (either layout), or that of a checkpoint or diffusers folder."""
    contents = open_contents(path)
    if contents.unet is None:
        raise contents.error("there is no UNet in this file")
    try:
        family = family_of(contents.unet.pieces)
        return load_unet_part(contents, contents.unet, family, placement, prediction, identity or file_identity(path))
    except LayoutError as problem:
        raise contents.error(problem) from None


def load_text_encoders(
    paths: Sequence[Path],
    placement: Placement = CPU,
    *,
    embedding_dirs: Sequence[Path] = (),
    identity: str | None = None,
) -> TextStack:
    """Load one text encoder, or SDXL's two, from files of their own; the family follows from which towers they are."""
    found = [open_contents(path) for path in paths]
    for one in found:
        if not one.texts:
            raise one.error("there is no text encoder in this file")
    texts = join_texts(found)
    kinds = tuple(kind for kind, _ in texts)
    if kinds not in TEXT_FAMILIES:
        raise ModelFileError(
            f"text encoders {', '.join(f'CLIP {kind.upper()}' for kind in kinds)} belong to no family together",
            "SDXL takes one CLIP-L and one CLIP-G file.",
        )
    identity = identity or "+".join(file_identity(path) for path in paths)
    family = TEXT_FAMILIES[kinds]
    stacks = []
    for one in found:
        try:
            stacks.append(load_text_part(one, placement, family, tuple(embedding_dirs), identity))
        except LayoutError as problem:
            raise one.error(problem) from None
    clips = [clip for stack in stacks if stack is not None for clip in stack.clips]
    clips.sort(key=lambda clip: "lgh".index(clip.kind))
    keys = [stack.identity for stack in stacks if stack is not None]
    return TextStack(family, tuple(clips), None, tuple(embedding_dirs), part_identity(identity, "text", *keys))
