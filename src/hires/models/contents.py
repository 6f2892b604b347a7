"""Which networks a file or a folder holds, in which layout, and of which family they are. Nothing is built here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from hires.errors import ModelFileError
from hires.models.clip import ClipKind
from hires.models.keys import (
    Pieces,
    ldm_unet,
    ldm_vae,
    module_unet,
    module_vae,
    openclip_text,
    transformers_text,
    under,
    with_prefix,
)
from hires.models.kinds import recognise
from hires.models.sizes import Hints, LayoutError, metadata_hints, shape
from hires.models.weights import TensorInfo, Weights, main_dtype, open_weights

REFINER_SIZES = 5 * 256  # sinusoids in the refiner's vector; the base's has six
SD2_V_SPREAD = 0.09  # ComfyUI's test for the 768-v models of SD 2.x
SD2_V_KEY = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"


@dataclass(frozen=True)
class Network:
    """One network in a file: the open file and where each parameter is."""

    weights: Weights
    pieces: Pieces

    @property
    def infos(self) -> dict[str, TensorInfo]:
        """What the file says of the tensors used."""
        return {piece.key: piece.info for piece in self.pieces.values()}


@dataclass(frozen=True)
class Contents:
    """The networks that a checkpoint file or folder holds. `marks` are keys outside of them (v_pred, ztsnr)."""

    path: Path
    unet: Network | None
    vae: Network | None
    texts: tuple[tuple[ClipKind, Network], ...]
    hints: Hints
    marks: frozenset[str] = frozenset()

    @property
    def networks(self) -> list[Network]:
        """Those that are there."""
        return [network for network in (self.unet, self.vae, *(text for _, text in self.texts)) if network is not None]

    @property
    def dtype(self) -> torch.dtype:
        """The precision that most of the weights have, the UNet's before the others'."""
        networks = [self.unet] if self.unet is not None else self.networks
        return main_dtype({f"{i}.{key}": info for i, n in enumerate(networks) for key, info in n.infos.items()})

    @property
    def numbers(self) -> int:
        """How many weights all networks have together."""
        return sum(info.numel for network in self.networks for info in network.infos.values())

    def error(self, problem: object) -> ModelFileError:
        """The error that says what is wrong with this file."""
        return ModelFileError(f"{self.path.name}: {problem} ({self.path})")


def file_contents(path: Path) -> Contents:
    """Look into a single file of any supported layout. Files that hold no part raise ModelFileError."""
    weights = open_weights(path)
    return weights_contents(weights)


def weights_contents(weights: Weights) -> Contents:
    """Look into an open file."""
    tensors = weights.tensors
    sign = recognise(tensors.keys())
    if not sign.supported:
        raise weights.error(
            f"this is {sign.label}, which hires does not run",
            "Supported are Stable Diffusion 1.x, 2.x, SDXL and the SDXL refiner.",
        )
    try:
        hints = metadata_hints(weights.metadata)
    except LayoutError as problem:
        raise weights.error(str(problem)) from None
    unet, vae, texts = find_unet(tensors), find_vae(tensors), find_texts(tensors)
    if unet is None and vae is None and not texts:
        raise weights.error(
            f"this is {sign.label}; it holds no UNet, VAE or text encoder", "Put it into the folder of its own kind."
        )
    return Contents(
        weights.path,
        None if unet is None else Network(weights, unet),
        None if vae is None else Network(weights, vae),
        tuple((kind, Network(weights, pieces)) for kind, pieces in texts),
        hints,
        frozenset(key for key in ("v_pred", "ztsnr") if key in tensors),
    )


def find_unet(tensors: Mapping[str, TensorInfo]) -> Pieces | None:
    """The UNet below any of the prefixes in use, or at the top of a file of its own."""
    for prefix in ("model.diffusion_model.", "diffusion_model.", "unet.", ""):
        if f"{prefix}input_blocks.0.0.weight" in tensors:
            return with_prefix(ldm_unet(under(tensors, prefix)), prefix)
        if f"{prefix}down_blocks.0.resnets.0.conv1.weight" in tensors and f"{prefix}conv_in.weight" in tensors:
            return with_prefix(module_unet(under(tensors, prefix)), prefix)
    broken = [key for key in tensors if key.startswith("model.diffusion_model.")]
    return {} if broken else None  # an empty UNet: its builder says what is missing


def find_vae(tensors: Mapping[str, TensorInfo]) -> Pieces | None:
    """The autoencoder, likewise."""
    for prefix in ("first_stage_model.", "vae.", ""):
        below = under(tensors, prefix)
        if any(key.startswith(("encoder.down.", "decoder.up.")) for key in below):
            return with_prefix(ldm_vae(below), prefix)
        if any(key.startswith(("encoder.down_blocks.", "decoder.up_blocks.")) for key in below):
            return with_prefix(module_vae(below), prefix)
    return None


TEXT_PREFIXES: tuple[tuple[str, str, ClipKind | None], ...] = (
    ("conditioner.embedders.0.transformer.", "transformers", "l"),
    ("conditioner.embedders.0.model.", "openclip", "g"),
    ("conditioner.embedders.1.model.", "openclip", "g"),
    ("conditioner.embedders.1.transformer.", "transformers", "g"),
    ("cond_stage_model.model.", "openclip", "h"),
    ("cond_stage_model.transformer.", "transformers", None),
    ("cond_stage_model.clip_l.transformer.", "transformers", "l"),
    ("cond_stage_model.clip_h.transformer.", "transformers", "h"),
    ("cond_stage_model.clip_g.transformer.", "transformers", "g"),
    ("text_encoders.clip_l.transformer.", "transformers", "l"),
    ("text_encoders.clip_h.transformer.", "transformers", "h"),
    ("text_encoders.clip_g.transformer.", "transformers", "g"),
    ("", "transformers", None),
    ("", "openclip", None),
)
MARKS = {
    "transformers": ("text_model.embeddings.token_embedding.weight", "embeddings.token_embedding.weight"),
    "openclip": ("token_embedding.weight",),
}


def find_texts(tensors: Mapping[str, TensorInfo]) -> list[tuple[ClipKind, Pieces]]:
    """The text towers, CLIP-L first."""
    found: list[tuple[ClipKind, Pieces]] = []
    for prefix, layout, kind in TEXT_PREFIXES:
        if not any(prefix + mark in tensors for mark in MARKS[layout]):
            continue
        below = under(tensors, prefix)
        pieces = with_prefix(transformers_text(below) if layout == "transformers" else openclip_text(below), prefix)
        found.append((kind or text_kind(pieces), pieces))
    return found


def text_kind(pieces: Pieces) -> ClipKind:
    """Which tower it is, where the file's layout does not say: by its width."""
    width = pieces["embeddings.token_embedding.weight"].shape[-1]
    return "g" if width >= 1280 else "h" if width >= 1024 else "l"


def family_of(unet: Pieces) -> str:
    """The family of a UNet, from its tensors."""
    context = next((p.shape[1] for name, p in unet.items() if name.endswith(".attn2.to_k.weight")), None)
    if not unet:
        raise LayoutError("the UNet is not whole: its first block is missing")
    if context is None:
        raise LayoutError("the UNet has no cross attention")
    if "class_embedding.linear_1.weight" in unet:
        # The refiner's only text tower gives both the context and the pooled vector.
        vector = shape(unet, "class_embedding.linear_1.weight")[1]
        return "sdxl_refiner" if vector - REFINER_SIZES == context else "sdxl"
    projections = (p for name, p in unet.items() if name.endswith(".proj_in.weight"))
    return "sd2" if any(len(p.shape) == 2 for p in projections) else "sd1"


def prediction_of(contents: Contents, family: str, stated: str | None = None) -> tuple[str, bool]:
    """(prediction, zero terminal SNR): what the caller stated, then the metadata, then marks, then SD 2.x' own test."""
    hints = contents.hints
    snr = hints.zero_terminal_snr if hints.zero_terminal_snr is not None else "ztsnr" in contents.marks
    if stated is not None:
        return stated, snr
    if hints.prediction is not None:
        return hints.prediction, snr
    if "v_pred" in contents.marks:
        return "v", snr
    if family == "sd2" and contents.unet is not None and looks_like_sd2_v(contents.unet):
        return "v", snr
    return "eps", snr


def looks_like_sd2_v(unet: Network) -> bool:
    """ComfyUI's test: in the 768-v models one norm's biases are spread wider. Inpainting forms are never v."""
    if SD2_V_KEY not in unet.pieces or shape(unet.pieces, "conv_in.weight")[1] != 4:
        return False
    bias = unet.weights.read_as(unet.pieces[SD2_V_KEY].key, torch.float32)
    return bool(bias.std(unbiased=False) > SD2_V_SPREAD)


def join_texts(contents: Iterable[Contents]) -> tuple[tuple[ClipKind, Network], ...]:
    """The text towers of several files, CLIP-L first."""
    texts = [text for one in contents for text in one.texts]
    return tuple(sorted(texts, key=lambda text: "lgh".index(text[0])))
