"""A UNet's pass written out in latent-diffusion's block order, with places where patches and ControlNets act.

The modules are the UNet's own and are only called, never changed, so any number of threads may walk one UNet with
different patches. Without patches the result is `UNet2DConditionModel.forward`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Place:
    """Where and when a patch acts: stage ("input", "middle", "output") and number of the block as latent-diffusion
    counts them, transformer layer within it, self or cross attention; sigma; the latent's size (height, width).

    Around attention `tokens` (batch, tokens, channels) are the layer's input before it is normed."""

    stage: str
    block: int
    sigma: float
    size: tuple[int, int]
    depth: int = 0
    crosswise: bool = False
    tokens: Tensor | None = field(default=None, compare=False)


class Patch:
    """What may act on a pass. Every method's default changes nothing; patches are frozen dataclasses."""

    def after_input(self, h: Tensor, place: Place) -> Tensor:
        """Features (batch, channels, h, w) behind an input block, before the skip is stored."""
        return h

    def after_skip(self, h: Tensor, place: Place) -> Tensor:
        """The same, after the skip is stored."""
        return h

    def before_output(self, h: Tensor, skip: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Features and skip before they are joined at the head of an output block."""
        return h, skip

    def attention(self, attend: Attend, q: Tensor, k: Tensor, v: Tensor, place: Place) -> Tensor:
        """Around an attention layer: q, k, v (batch, tokens, channels) are what its projections will take."""
        return attend(q, k, v)

    def weighted(self, q: Tensor, k: Tensor, v: Tensor, heads: int, place: Place) -> Tensor | None:
        """In place of softmax(q k) v on projected q, k, v (batch, tokens, channels); None leaves it."""
        return None


@dataclass(frozen=True, eq=False)
class Residuals:
    """What ControlNets and adapters add: to skips by number (0 = conv_in's), behind the middle, behind input blocks."""

    skips: Mapping[int, Tensor] = field(default_factory=dict)
    middle: Tensor | None = None
    inputs: Mapping[int, Tensor] = field(default_factory=dict)

    def __add__(self, other: Residuals) -> Residuals:
        """Both at once."""
        middle = other.middle if self.middle is None else self.middle
        if self.middle is not None and other.middle is not None:
            middle = self.middle + other.middle
        return Residuals(_sums(self.skips, other.skips), middle, _sums(self.inputs, other.inputs))


def _sums(first: Mapping[int, Tensor], second: Mapping[int, Tensor]) -> dict[int, Tensor]:
    return {n: sum(part[n] for part in (first, second) if n in part) for n in first.keys() | second.keys()}  # type: ignore[misc]


NOTHING = Residuals()


def walk(
    unet: UNet2DConditionModel,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    vector: Tensor | None,
    *,
    patches: Sequence[Patch] = (),
    sigma: float = 0.0,
    control: Residuals | None = None,
) -> Tensor:
    """The UNet's output (batch, 4, h, w); arguments as `UNet2DConditionModel.forward` takes them, vector = labels."""
    steps = _Pass(context, tuple(patches), sigma, (x.shape[-2], x.shape[-1]), control or NOTHING)
    emb = unet.time_embedding(unet.get_time_embed(sample=x, timestep=timestep))
    labels = unet.get_class_embed(sample=x, class_labels=vector)
    emb = emb if labels is None else emb + labels
    h, skips = _down(unet, steps, x, emb)
    h = _middle(unet, steps, h, emb)
    h = _up(unet, steps, h, emb, skips)
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


@dataclass(frozen=True, eq=False)
class _Pass:
    """What stays the same through one pass."""

    context: Tensor
    patches: tuple[Patch, ...]
    sigma: float
    size: tuple[int, int]
    control: Residuals

    def place(self, stage: str, block: int, **more: Any) -> Place:
        return Place(stage, block, self.sigma, self.size, **more)

    def transformer(self, module: Any, h: Tensor, stage: str, block: int) -> Tensor:
        """One Transformer2DModel; written out only where a patch may want to act on attention."""
        if not any(_acts_on_attention(patch) for patch in self.patches):
            return module(h, encoder_hidden_states=self.context, return_dict=False)[0]
        residual, (batch, _, height, width) = h, h.shape
        tokens, inner = module._operate_on_continuous_inputs(h)
        for depth, layer in enumerate(module.transformer_blocks):
            normed = layer.norm1(tokens)
            place = self.place(stage, block, depth=depth, tokens=tokens)
            tokens = tokens + self.attention(layer.attn1, normed, normed, place)
            place = self.place(stage, block, depth=depth, crosswise=True)
            tokens = tokens + self.attention(layer.attn2, layer.norm2(tokens), self.context, place)
            tokens = tokens + layer.ff(layer.norm3(tokens))
        return module._get_output_for_continuous_inputs(
            hidden_states=tokens, residual=residual, batch_size=batch, height=height, width=width, inner_dim=inner
        )

    def attention(self, module: Any, q: Tensor, context: Tensor, place: Place) -> Tensor:
        """One attention layer, the patches around it from the first (innermost input) to the last."""

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = module.to_q(q), module.to_k(k), module.to_v(v)
            for patch in self.patches:
                replaced = patch.weighted(q, k, v, module.heads, place)
                if replaced is not None:
                    return module.to_out[0](replaced)
            return module.to_out[0](weighted_sum(q, k, v, module.heads))

        around: Attend = attend
        for patch in reversed(self.patches):
            around = _around(patch, around, place)
        return around(q, context, context)


def _around(patch: Patch, inner: Attend, place: Place) -> Attend:
    return lambda q, k, v: patch.attention(inner, q, k, v, place)


def _acts_on_attention(patch: Patch) -> bool:
    kind = type(patch)
    return kind.attention is not Patch.attention or kind.weighted is not Patch.weighted


def weighted_sum(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q k / sqrt(d)) v by heads; (batch, tokens, channels). Keys are cut to the queries' batch, in order."""
    batch = q.shape[0]
    q, k, v = (t.reshape(batch, -1, heads, t.shape[-1] // heads).transpose(1, 2) for t in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _down(unet: Any, steps: _Pass, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
    skips: list[Tensor] = []

    def stored(h: Tensor) -> Tensor:
        place = steps.place("input", len(skips))
        if place.block in steps.control.inputs:
            h = h + steps.control.inputs[place.block]
        for patch in steps.patches:
            h = patch.after_input(h, place)
        skips.append(h)
        for patch in steps.patches:
            h = patch.after_skip(h, place)
        return h

    h = stored(unet.conv_in(x))
    for level in unet.down_blocks:
        for index, resnet in enumerate(level.resnets):
            h = resnet(h, emb)
            for transformer in _attentions(level, index):
                h = steps.transformer(transformer, h, "input", len(skips))
            h = stored(h)
        for downsampler in level.downsamplers or ():
            h = stored(downsampler(h))
    return h, skips


def _middle(unet: Any, steps: _Pass, h: Tensor, emb: Tensor) -> Tensor:
    middle = unet.mid_block
    h = middle.resnets[0](h, emb)
    for transformer, resnet in zip(middle.attentions, middle.resnets[1:], strict=True):
        if transformer is not None:
            h = steps.transformer(transformer, h, "middle", 0)
        h = resnet(h, emb)
    return h if steps.control.middle is None else h + steps.control.middle


def _up(unet: Any, steps: _Pass, h: Tensor, emb: Tensor, skips: list[Tensor]) -> Tensor:
    block = 0
    for level in unet.up_blocks:
        for index, resnet in enumerate(level.resnets):
            skip = skips.pop()
            if len(skips) in steps.control.skips:
                skip = skip + steps.control.skips[len(skips)]
            for patch in steps.patches:
                h, skip = patch.before_output(h, skip, steps.place("output", block))
            h = resnet(torch.cat([h, skip], dim=1), emb)
            for transformer in _attentions(level, index):
                h = steps.transformer(transformer, h, "output", block)
            block += 1
        for upsampler in level.upsamplers or ():
            h = upsampler(h, skips[-1].shape[2:])
    return h


def _attentions(level: nn.Module, index: int) -> Sequence[Any]:
    attentions = getattr(level, "attentions", None)
    return () if attentions is None else attentions[index : index + 1]
