"""How often the text encoders run: once for each distinct text, within a prompt and from run to run."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
import torch

from hires.models.clip import TextStack
from hires.nodes import texts as texts_module
from hires.nodes.conditioning import text_encode
from hires.nodes.context import RunContext
from hires.nodes.texts import EncodedTexts, Encoding
from hires.text.encode import encode_webui


@pytest.fixture
def encoded() -> Iterator[list[str]]:
    """The texts that went through the encoders, in order."""
    seen: list[str] = []

    def counting(stack: TextStack, text: str, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(text)
        return encode_webui(stack, text, **options)  # type: ignore[arg-type]

    with mock.patch.object(texts_module, "encode_webui", counting):
        yield seen


@pytest.fixture
def clip(context: RunContext) -> TextStack:
    clip = context.store.checkpoint("thin_sd15.safetensors").clip
    assert clip is not None
    return clip


def encode(context: RunContext, clip: TextStack, text: str, calls: int = 20, **more: object) -> list[tuple[int, int]]:
    entries = text_encode(text=text, clip=clip, dialect="webui", schedule_calls=calls, context=context, **more)  # type: ignore[arg-type]
    return [options["calls"] for _, options in entries]


def test_alternation_encodes_each_option_once(context: RunContext, clip: TextStack, encoded: list[str]) -> None:
    calls = encode(context, clip, "a [cat|dog|cat]")
    assert len(calls) == 20
    assert encoded == ["a cat", "a dog"]
    assert context.texts.encoded == 2


def test_and_parts_of_the_same_text_are_encoded_once(context: RunContext, clip: TextStack, encoded: list[str]) -> None:
    encode(context, clip, "a cat AND  a dog :0.5 AND  a dog :2")
    assert encoded == ["a cat ", "  a dog"]


def test_and_parts_are_as_long_as_the_longest(context: RunContext, clip: TextStack) -> None:
    entries = text_encode(text="cat AND dog BREAK fox", clip=clip, dialect="webui", context=context)
    (short, _), (long, _) = entries
    alone, _ = encode_webui(clip, "cat ")
    assert short.shape[1] == long.shape[1] == 154
    assert torch.equal(short[:, :77], alone)
    assert torch.equal(short[:, 77:], alone[:, -1:].expand(-1, 77, -1))


def test_prompts_that_switch_at_other_steps_share_their_texts(
    context: RunContext, clip: TextStack, encoded: list[str]
) -> None:
    for step in (4, 8, 12):
        assert encode(context, clip, f"[cat:dog:{step}]")[0] == (0, step)
    encode(context, clip, "dog", negative=True)
    assert encoded == ["cat", "dog"]


def test_what_changes_the_numbers_is_encoded_anew(context: RunContext, clip: TextStack, encoded: list[str]) -> None:
    for more in ({}, {"emphasis": "No norm"}, {"comma_backtrack": 0}):
        encode(context, clip, "(cat:1.3)", **more)
    assert len(encoded) == 3


def test_what_is_kept_is_bounded_and_equal(clip: TextStack) -> None:
    how = Encoding()
    small = EncodedTexts(limit_bytes=1)
    first = small.encode(clip, "cat", how)
    small.encode(clip, "dog", how)
    again = small.encode(clip, "cat", how)
    assert small.encoded == 3
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_comments_and_the_old_timeline_are_options(context: RunContext, clip: TextStack, encoded: list[str]) -> None:
    encode(context, clip, "cat # dog")
    encode(context, clip, "cat # dog", comments=False)
    assert encoded == ["cat ", "cat # dog"]
    second = {"schedule_calls_before": 20, "calls": 10}
    assert len(encode(context, clip, "[a:b:0.5]", **second)) == 1
    assert encode(context, clip, "[a:b:0.5]", old_scheduling=True, **second)[0] == (0, 5)
