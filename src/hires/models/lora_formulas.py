"""What the kinds of LoRA do to a weight: each formula from a file's small tensors to the changed weight, in float32.

LoRA (Hu et al. 2021), its convolutional and Tucker forms, LoHa and LoKr (LyCORIS, Yeh et al. 2023), GLoRA, (IA)^3,
DoRA (Liu et al. 2024), OFT and BOFT (Qiu et al. 2023, Liu et al. 2023), and plain differences. The conventions of
alpha, rank and strength are ComfyUI's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]


@dataclass(frozen=True)
class Kind:
    """One kind: the parts that mark it, and `formula(weight, parts, alpha)` -> what is added at strength 1."""

    name: str
    needs: tuple[frozenset[str], ...]
    formula: Callable[[Tensor, Parts, float | None], Tensor]

    def marks(self, parts: Mapping[str, object]) -> bool:
        return any(need <= parts.keys() for need in self.needs)


def changed(kind: Kind, weight: Tensor, parts: Parts, alpha: float | None, strength: float) -> Tensor:
    """The weight with a kind's change at some strength; DoRA's rescaling where the parts have a magnitude."""
    if kind is SET:
        return kind.formula(weight, parts, alpha)
    if kind is OFT:
        return rotated(weight, parts, alpha, strength)
    delta = kind.formula(weight, parts, alpha)
    if "dora_scale" in parts:
        return weight + strength * (decomposed(weight, delta, parts["dora_scale"]) - weight)
    return weight + strength * delta


def decomposed(weight: Tensor, delta: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA: (W + delta) scaled to the stored magnitude, along outputs or inputs as the magnitude's shape says.

    Along outputs ComfyUI divides by the norm of W alone, along inputs by that of W + delta.
    """
    merged = weight + delta
    magnitude = magnitude.reshape(-1, *[1] * (weight.ndim - 1)) if magnitude.ndim == 1 else magnitude
    on_output = magnitude.shape[0] == weight.shape[0]
    if on_output:
        norm = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
        magnitude = magnitude.reshape(norm.shape)
    else:
        norm = merged.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (weight.ndim - 2))
        magnitude = magnitude.reshape(norm.shape)
    return merged * (magnitude / (norm + torch.finfo(torch.float32).eps))


def scale(alpha: float | None, rank: int | None) -> float:
    """alpha / rank; 1 where the file has no alpha or the kind no rank."""
    return 1.0 if alpha is None or not rank else alpha / rank


def lora(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    """up @ down; with a mid tensor (Tucker form) down is first joined with it."""
    up, down = parts["up"], parts["down"]
    rank = down.shape[0]
    if "mid" in parts:
        mid = parts["mid"]  # (rank, rank, kernel, kernel)
        shape = (down.shape[1], down.shape[0], *mid.shape[2:])
        joined = down.transpose(0, 1).flatten(1) @ mid.transpose(0, 1).flatten(1)
        down = joined.reshape(shape).transpose(0, 1)
    return (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * scale(alpha, rank)


def hadamard(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    """LoHa: the element-wise product of two low-rank products."""
    first = _product(parts, "w1", parts.get("t1"))
    second = _product(parts, "w2", parts.get("t2"))
    return (first * second).reshape(weight.shape) * scale(alpha, parts["w1_b"].shape[0])


def kronecker(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    """LoKr: the Kronecker product of two matrices, either of them whole or a low-rank product."""
    first = parts["kw1"] if "kw1" in parts else parts["kw1_a"] @ parts["kw1_b"]
    rank = None if "kw1" in parts else parts["kw1_b"].shape[0]
    if "kw2" in parts:
        second = parts["kw2"]
    elif "kt2" in parts:
        second, rank = tucker(parts["kt2"], parts["kw2_a"], parts["kw2_b"]), parts["kw2_b"].shape[0]
    else:
        second, rank = parts["kw2_a"] @ parts["kw2_b"].flatten(1), parts["kw2_b"].shape[0]
    if second.ndim == 4:
        first = first[:, :, None, None]
    return torch.kron(first, second).reshape(weight.shape) * scale(alpha, rank)


def _product(parts: Parts, name: str, core: Tensor | None) -> Tensor:
    a, b = parts[f"{name}_a"], parts[f"{name}_b"]
    return a @ b if core is None else tucker(core, a, b)


def tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """core (i, j, kernel, kernel) between a (i, out) and b (j, in): (out, in, kernel, kernel)."""
    return torch.einsum("i j k l, j r, i p -> p r k l", core, b, a)


def glora(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    """GLoRA: W @ A + B with A and B of low rank; in the older files' order of factors too."""
    a1, a2, b1, b2 = (parts[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    flat = weight.flatten(1)
    old = b2.shape[1] == b1.shape[0] == a1.shape[0] == a2.shape[1]
    new = b2.shape[0] == b1.shape[1] == a1.shape[1] == a2.shape[0]
    if old and not (new and not (a2.shape[0] == weight.shape[0] == weight.shape[1])):
        delta = b2 @ b1 + (flat @ a2) @ a1
        return delta.reshape(weight.shape) * scale(alpha, a1.shape[0])
    if weight.ndim > 2:
        delta = torch.einsum("o i ..., i j -> o j ...", torch.einsum("o i ..., i j -> o j ...", weight, a1), a2)
    else:
        delta = flat @ a1 @ a2
    return (delta + (b1 @ b2).reshape(weight.shape)) * scale(alpha, a2.shape[0])


def ia3(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    """(IA)^3: inputs or outputs scaled one by one; the stored numbers are added to 1."""
    factors = parts["ia3"].flatten()
    tail = [1] * (weight.ndim - 2)
    on_input = bool(parts["on_input"].flatten()[0] > 0.5) if parts["on_input"].device.type != "meta" else True
    return weight * (factors.reshape(1, -1, *tail) if on_input else factors.reshape(-1, 1, *tail))


def difference(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    return parts["diff"].reshape(weight.shape)


def replacement(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    return parts["set_weight"].reshape(weight.shape)


def rotated(weight: Tensor, parts: Parts, alpha: float | None, strength: float) -> Tensor:
    """OFT and BOFT: blocks of outputs turned by Cayley's orthogonal matrices, blended with the identity.

    blocks is (blocks, size, size), for BOFT (stages, blocks, size, size) with a butterfly order in each stage; alpha
    bounds the norm of what generates the turn.
    """
    blocks = parts["blocks"]
    stages = blocks if blocks.ndim == 4 else blocks[None]
    size = stages.shape[-1]
    identity = torch.eye(size, device=blocks.device)
    generator = stages - stages.transpose(-1, -2)
    if blocks.ndim == 3 and alpha:
        generator = generator * (alpha / (generator.norm() + 1e-8)).clamp(max=1.0)
    turn = (identity + generator) @ torch.linalg.inv(identity - generator)
    turn = turn * strength + identity * (1.0 - strength)
    value = weight
    if blocks.ndim == 3:
        cut = value.reshape(len(blocks), size, *weight.shape[1:])
        value = torch.einsum("k n m, k n ... -> k m ...", turn[0], cut).reshape(weight.shape)
    else:
        for stage, matrices in enumerate(turn):
            value = _butterfly(value, matrices, 2**stage * (size // 2))
    if "rescale" in parts:
        factor = parts["rescale"].reshape(-1, *[1] * (weight.ndim - 1))
        value = weight + strength * (value * factor - weight) if strength != 1.0 else value * factor
    return value


def _butterfly(value: Tensor, matrices: Tensor, stride: int) -> Tensor:
    """Rows taken in pairs `stride` apart, turned block by block, and put back."""
    rows, size = value.shape[0], matrices.shape[-1]
    tail = value.shape[1:]
    order = value.reshape(rows // (2 * stride), 2, stride, *tail).transpose(1, 2).reshape(-1, size, *tail)
    turned = torch.einsum("b i j, b j ... -> b i ...", matrices, order)
    return turned.reshape(rows // (2 * stride), stride, 2, *tail).transpose(1, 2).reshape(value.shape)


def _turned(weight: Tensor, parts: Parts, alpha: float | None) -> Tensor:
    return rotated(weight, parts, alpha, 1.0) - weight


SET = Kind("replacement", (frozenset({"set_weight"}),), replacement)
OFT = Kind("OFT or BOFT", (frozenset({"blocks"}),), _turned)

KINDS: tuple[Kind, ...] = (
    Kind("LoRA", (frozenset({"up", "down"}),), lora),
    Kind("LoHa", (frozenset({"w1_a", "w1_b", "w2_a", "w2_b"}),), hadamard),
    Kind(
        "LoKr",
        tuple(
            frozenset((*first, *second))
            for first in (("kw1",), ("kw1_a", "kw1_b"))
            for second in (("kw2",), ("kw2_a", "kw2_b"))
        ),
        kronecker,
    ),
    Kind("GLoRA", (frozenset({"a1", "a2", "b1", "b2"}),), glora),
    OFT,
    Kind("IA3", (frozenset({"ia3", "on_input"}),), ia3),
    Kind("difference", (frozenset({"diff"}),), difference),
    SET,
)


def kind_of(parts: Mapping[str, object]) -> Kind | None:
    """The first kind that the parts make whole."""
    return next((kind for kind in KINDS if kind.marks(parts)), None)
