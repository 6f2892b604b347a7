"""Merging of checkpoint files, tensor by tensor: never more than a few tensors are in memory.

Source of the rules (which tensors, which order of terms, inpainting models): the A1111 web UI's checkpoint merger.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hires.errors import Interrupted, ModelFileError, SettingError
from hires.models.weights import DTYPES, TensorInfo, Weights

Method = Literal["weighted sum", "add difference", "no interpolation"]
METHODS: tuple[Method, ...] = ("weighted sum", "add difference", "no interpolation")
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MERGED = "model"
"""A tensor is merged if its key holds this; all of a UNet's, a VAE's and a text encoder's do."""
NOT_MERGED = "embeddings.position_ids"
INPAINTING, PIX2PIX = ".inpainting", ".instruct-pix2pix"
EXTRA_CHANNELS = {9: INPAINTING, 8: PIX2PIX}
"""Input channels of a UNet that sees more than the latent, and what a merge of it with a plain one is called."""
OLD_TEXT = re.compile(r"^cond_stage_model\.transformer\.(embeddings|encoder|final_layer_norm)\.")
"""Keys of the first SD 1.x files, which left out a level."""
VAE_PREFIX = "first_stage_model."
ON_PROGRESS = Callable[[int, int], None]


def usual_key(key: str) -> str:
    """A tensor's key as today's files have it."""
    return OLD_TEXT.sub(r"cond_stage_model.transformer.text_model.\1.", key)


@dataclass(frozen=True)
class Source:
    """An open checkpoint by today's keys."""

    weights: Weights
    keys: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, weights: Weights) -> Source:
        """The checkpoint of an open file."""
        return cls(weights, {usual_key(key): key for key in weights.tensors})

    @property
    def name(self) -> str:
        return self.weights.path.name

    def info(self, key: str) -> TensorInfo:
        return self.weights.tensors[self.keys[key]]

    def read(self, key: str) -> Tensor:
        """The tensor in float32 at least."""
        info = self.info(key)
        wide = info.dtype if info.dtype == torch.float64 else torch.float32
        return self.weights.read_as(self.keys[key], wide if info.dtype.is_floating_point else info.dtype, mapped=False)


@dataclass(frozen=True)
class MergePlan:
    """What will be written: the tensors' shapes and precisions, by key, and where each comes from."""

    method: Method
    multiplier: float
    first: Source
    second: Source | None
    third: Source | None
    vae: Mapping[str, Tensor]
    tensors: Mapping[str, TensorInfo]
    suffix: str
    """.inpainting or .instruct-pix2pix where a model that sees more channels was merged with a plain one; else ""."""

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(info.bytes for info in self.tensors.values())

    def tensor(self, key: str) -> Tensor:
        """A merged tensor in the precision that it is written in."""
        made = self.vae[key] if key in self.vae else self._merged(key)
        return made.to(self.tensors[key].dtype)

    def _merged(self, key: str) -> Tensor:
        first = self.first.read(key)
        if not self._is_merged(key):
            return first
        assert self.second is not None
        second = self.second.read(key)
        shared = first if first.shape == second.shape else first[:, : second.shape[1]]
        if self.method == "add difference":
            assert self.third is not None
            # What C does not have did not change from C to B: A stays.
            change = second - self.third.read(key) if key in self.third.keys else torch.zeros_like(second)
            mixed = shared + change * self.multiplier
        else:
            mixed = shared * (1 - self.multiplier) + second * self.multiplier
        return mixed if shared is first else torch.cat([mixed, first[:, second.shape[1] :]], dim=1)

    def _is_merged(self, key: str) -> bool:
        return self.second is not None and is_merged(key, self.first, self.second)


def is_merged(key: str, first: Source, second: Source) -> bool:
    """Whether a tensor of the first is merged: floating point, in both, and not the numbers of positions."""
    return (
        MERGED in key
        and not key.endswith(NOT_MERGED)
        and key in second.keys
        and first.info(key).dtype.is_floating_point
    )


def plan_merge(
    method: Method,
    first: Weights,
    second: Weights | None,
    third: Weights | None,
    multiplier: float,
    *,
    half: bool = False,
    vae: Mapping[str, Tensor] | None = None,
    discard: str = "",
) -> MergePlan:
    """Check that checkpoints can be merged and say what comes of it; no tensor is read.

    `vae` are tensors by the keys that they have below first_stage_model; `discard` is a regular expression: tensors
    whose key it is found in are left out. SettingError and ModelFileError say what does not fit.
    """
    a, b, c = (None if weights is None else Source.of(weights) for weights in (first, second, third))
    assert a is not None
    if b is not None:
        check_fit(a, b)
    if b is not None and c is not None:
        check_difference(b, c)
    try:
        dropped = re.compile(discard) if discard else None
    except re.error as problem:
        raise SettingError(f"{discard!r} is no regular expression: {problem}") from None
    baked = {VAE_PREFIX + key: value for key, value in (vae or {}).items()}
    infos = {key: a.info(key) for key in a.keys}
    infos |= {key: TensorInfo(tuple(value.shape), value.dtype) for key, value in baked.items()}
    kept = {
        key: TensorInfo(info.shape, torch.float16 if half and wide(info.dtype) else info.dtype)
        for key, info in infos.items()
        if dropped is None or not dropped.search(key)
    }
    if not kept:
        raise SettingError(f"{discard!r} discards every tensor of {a.name}", "Narrow it.")
    return MergePlan(method, multiplier, a, b, c, baked, kept, suffix_of(a, b))


def wide(dtype: torch.dtype) -> bool:
    """Whether a number takes more room than half precision."""
    return dtype.is_floating_point and dtype.itemsize > 2


def check_fit(first: Source, second: Source) -> None:
    """ModelFileError unless the tensors that both have are of one shape, or A sees more input channels than B."""
    shared = [key for key in first.keys if is_merged(key, first, second)]
    if not shared:
        raise ModelFileError(f"{first.name} and {second.name} have no tensor in common", "Choose two of one family.")
    for key in shared:
        a, b = first.info(key).shape, second.info(key).shape
        if a == b:
            continue
        channels = len(a) == len(b) == 4 and (a[0], *a[2:]) == (b[0], *b[2:])
        if channels and a[1] in EXTRA_CHANNELS and b[1] == 4:
            continue
        if channels and a[1] == 4 and b[1] in EXTRA_CHANNELS:
            kind = "an inpainting" if b[1] == 9 else "an instruct-pix2pix"
            raise ModelFileError(
                f"{second.name} is {kind} model ({b[1]} input channels) and {first.name} is not",
                f"Choose {second.name} as the first model.",
            )
        raise ModelFileError(
            f"{first.name} and {second.name} do not fit: {key} is {shape(a)} in one and {shape(b)} in the other",
            "Choose two of one family.",
        )


def check_difference(second: Source, third: Source) -> None:
    """ModelFileError unless the third's tensors are of the second's shapes."""
    for key in second.keys:
        if MERGED in key and key in third.keys and second.info(key).shape != third.info(key).shape:
            raise ModelFileError(
                f"{second.name} and {third.name} have no difference: {key} is {shape(second.info(key).shape)} in one "
                f"and {shape(third.info(key).shape)} in the other",
                "Choose the model that the second one was made from.",
            )


def shape(sides: tuple[int, ...]) -> str:
    """320x4x3x3"""
    return "x".join(map(str, sides)) or "a number"


def suffix_of(first: Source, second: Source | None) -> str:
    """What is added to the name of a merge of a model that sees more channels with a plain one."""
    key = "model.diffusion_model.input_blocks.0.0.weight"
    if second is None or key not in first.keys or key not in second.keys:
        return ""
    mine, other = first.info(key).shape, second.info(key).shape
    return EXTRA_CHANNELS.get(mine[1], "") if mine != other else ""


def write_merge(
    plan: MergePlan,
    path: Path,
    metadata: Mapping[str, str],
    *,
    on_progress: ON_PROGRESS | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Write the merged checkpoint as a safetensors file, tensor by tensor; OSError where the disk does not take it.

    `on_progress` is told how many tensors are written, of how many. Interrupted when `stopped` says so.
    """
    # Widest numbers first, as the safetensors library writes them: each tensor begins at a multiple of its numbers.
    keys = sorted(plan.tensors, key=lambda key: (-plan.tensors[key].dtype.itemsize, key))
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for key in keys:
        info = plan.tensors[key]
        offsets = [end, end := end + info.bytes]
        header[key] = {"dtype": NAMES[info.dtype], "shape": list(info.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, key in enumerate(keys, start=1):
            if stopped():
                raise Interrupted
            file.write(plan.tensor(key).contiguous().reshape(-1).view(torch.uint8).numpy().data)
            if on_progress is not None:
                on_progress(number, len(keys))
