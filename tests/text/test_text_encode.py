from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hires.errors import ModelFileError, PromptError, SettingError
from hires.models.clip import ClipModel, TextStack
from hires.models.precision import hold
from hires.text.chunks import Segment, chunk_segments, empty_chunk
from hires.text.encode import (
    comfy_chunks,
    count_chunks,
    count_tokens,
    embeddings_in,
    encode_comfy,
    encode_webui,
)
from hires.text.encoder import run_tower
from hires.text.tokenizer import END, START, tokenize

MakeStack = Callable[..., TextStack]
close = torch.testing.assert_close


def row(text: str, pad: int) -> list[int]:
    ids = tokenize(text)
    return [START, *ids, END, *[pad] * (75 - len(ids))]


@torch.no_grad()
def by_transformers(clip: ClipModel, text: str, layer: int, norm: bool) -> tuple[Tensor, Tensor]:
    """(hidden, pooled) from the model's own forward."""
    ids = torch.tensor([row(text, END if clip.kind == "l" else 0)])
    out = clip.module(input_ids=ids, output_hidden_states=True)
    hidden = out.hidden_states[layer]
    if norm:
        hidden = clip.module.final_layer_norm(hidden)
    return hidden, out.pooler_output if clip.projection is None else out.pooler_output @ clip.projection


@pytest.mark.parametrize("kind", ["l", "g", "h"])
@pytest.mark.parametrize("layer", [-1, -2, -3])
@pytest.mark.parametrize("norm", [True, False])
def test_a_tower_is_transformers_own(towers: dict[str, ClipModel], kind: str, layer: int, norm: bool) -> None:
    clip = towers[kind]
    chunks = comfy_chunks(TextStack("any", (clip,)), clip, "a cat, on snow")
    hidden, pooled = run_tower(clip, chunks, layer, norm)
    expected, expected_pooled = by_transformers(clip, "a cat, on snow", layer, norm)
    close(hidden, expected)
    close(pooled, expected_pooled)
    assert not hidden.is_inference()


def test_weights_held_in_half_precision_compute_in_float32(towers: dict[str, ClipModel]) -> None:
    chunks = chunk_segments([Segment(tokenize("a cat, on snow"))], 0)
    rounded, held = copy.deepcopy(towers["g"].module).half().float(), copy.deepcopy(towers["g"].module).half()
    hold(held, torch.float32)
    expected = run_tower(replace(towers["g"], module=rounded), chunks)
    for ours, theirs in zip(run_tower(replace(towers["g"], module=held), chunks), expected, strict=True):
        assert ours.dtype == torch.float32
        close(ours, theirs)


def test_families_choose_their_layer(towers: dict[str, ClipModel], make_stack: MakeStack) -> None:
    text = "a red fox"
    for family, parts in {
        "sd1": [("l", -1, True)],
        "sd2": [("h", -2, True)],
        "sdxl": [("l", -2, False), ("g", -2, False)],
        "sdxl_refiner": [("g", -2, False)],
    }.items():
        outputs = [by_transformers(towers[kind], text, layer, norm) for kind, layer, norm in parts]
        expected = torch.cat([hidden for hidden, _ in outputs], dim=-1)
        for cond, pooled in (encode_comfy(make_stack(family), text), encode_webui(make_stack(family), text)):
            close(cond, expected)
            close(pooled, outputs[-1][1])


def test_comfy_clip_skip(towers: dict[str, ClipModel], make_stack: MakeStack) -> None:
    for layer in (-1, -2, -3):
        close(encode_comfy(make_stack("sd1", layer), "a cat")[0], by_transformers(towers["l"], "a cat", layer, True)[0])
        expected = [by_transformers(towers[kind], "a cat", layer, False)[0] for kind in "lg"]
        close(encode_comfy(make_stack("sdxl", layer), "a cat")[0], torch.cat(expected, dim=-1))
    beyond = encode_comfy(make_stack("sdxl", -4), "a cat")[0]
    close(beyond, torch.cat([by_transformers(towers[kind], "a cat", -1, True)[0] for kind in "lg"], dim=-1))


def test_pooled_does_not_depend_on_the_layer_nor_on_later_chunks(make_stack: MakeStack) -> None:
    long = "word " * 100
    for family in ("sd1", "sdxl"):
        pooled = encode_comfy(make_stack(family), long)[1]
        close(encode_comfy(make_stack(family, -3), long)[1], pooled)
        close(encode_comfy(make_stack(family), "word " * 75)[1], pooled)
        close(encode_comfy(make_stack(family), f"({long}:0.3)")[1], pooled)


def test_webui_clip_skip(towers: dict[str, ClipModel], make_stack: MakeStack) -> None:
    for skip in (1, 2, 3):
        cond, _ = encode_webui(make_stack("sd1"), "a cat", clip_skip=skip)
        close(cond, by_transformers(towers["l"], "a cat", -skip, True)[0])
        close(encode_webui(make_stack("sd2"), "x", clip_skip=skip)[0], encode_webui(make_stack("sd2"), "x")[0])
        close(encode_webui(make_stack("sdxl"), "x", clip_skip=skip)[0], encode_webui(make_stack("sdxl"), "x")[0])
        cond, _ = encode_webui(make_stack("sdxl"), "a cat", clip_skip=skip, sdxl_clip_l_skip=True)
        left = by_transformers(towers["l"], "a cat", -skip, False)[0]
        close(cond, torch.cat([left, by_transformers(towers["g"], "a cat", -2, False)[0]], dim=-1))
    with pytest.raises(SettingError, match="3 layers"):
        encode_webui(make_stack("sd1"), "a cat", clip_skip=4)
    with pytest.raises(SettingError, match="Clip skip is 0"):
        encode_webui(make_stack("sd1"), "a cat", clip_skip=0)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl_refiner"])
def test_weight_one_is_no_weight(make_stack: MakeStack, family: str) -> None:
    stack = make_stack(family)
    assert encode_comfy(stack, "(a red fox:1.0)")[0].equal(encode_comfy(stack, "a red fox")[0])
    plain = encode_webui(stack, "a red fox")[0]
    for emphasis in ("Original", "No norm", "Ignore", "ComfyUI"):
        assert encode_webui(stack, "(a red fox:1.0)", emphasis=emphasis)[0].equal(plain)  # type: ignore[arg-type]


def test_comfy_moves_away_from_the_empty_chunk(make_stack: MakeStack) -> None:
    stack = make_stack("sdxl")
    plain, empty = encode_comfy(stack, "a fox")[0], encode_comfy(stack, "")[0]
    weights = torch.tensor([1.0, 1.0, 1.4, *[1.0] * 74])[None, :, None]
    close(encode_comfy(stack, "a (fox:1.4)")[0], empty + (plain - empty) * weights)
    close(encode_webui(stack, "a (fox:1.4)", emphasis="ComfyUI")[0], empty + (plain - empty) * weights)


def test_webui_emphasis(make_stack: MakeStack) -> None:
    stack = make_stack("sd1")
    plain = encode_webui(stack, "a fox")[0]
    weights = torch.tensor([1.0, 1.0, 1.4, *[1.0] * 74])[None, :, None]
    close(encode_webui(stack, "a (fox:1.4)", emphasis="No norm")[0], plain * weights)
    original = encode_webui(stack, "a (fox:1.4)")[0]
    close(original, plain * weights * (plain.mean() / (plain * weights).mean()))
    close(original.mean(), plain.mean())
    assert encode_webui(stack, "a (fox:1.4)", emphasis="Ignore")[0].equal(plain)
    literal = encode_webui(stack, "a (fox:1.4) BREAK b", emphasis="None")[0]
    close(literal, encode_comfy(stack, "a \\(fox:1.4\\) BREAK b")[0])
    with pytest.raises(SettingError, match="emphasis"):
        encode_webui(stack, "a", emphasis="Loud")  # type: ignore[arg-type]


def test_original_keeps_the_mean_of_every_chunk(make_stack: MakeStack) -> None:
    text = "(a fox:1.5) BREAK [[a tree]] (by:0) the lake"
    weighted, plain = (encode_webui(make_stack("sd1"), text, emphasis=mode)[0] for mode in ("Original", "Ignore"))  # type: ignore[arg-type]
    assert weighted.shape == (1, 154, 32)
    close(weighted.reshape(2, -1).mean(dim=1), plain.reshape(2, -1).mean(dim=1))


def test_chunks_are_laid_end_to_end(make_stack: MakeStack) -> None:
    stack = make_stack("sd1")
    both = encode_webui(stack, "a fox BREAK a tree")[0]
    close(both, torch.cat([encode_webui(stack, text)[0] for text in ("a fox", "a tree")], dim=1))
    assert encode_comfy(stack, "word " * 200)[0].shape == (1, 231, 32)


def test_text_l_is_filled_up_with_empty_chunks(towers: dict[str, ClipModel], make_stack: MakeStack) -> None:
    stack = make_stack("sdxl")
    cond, _ = encode_comfy(stack, "word " * 100, "a fox")
    assert cond.shape == (1, 154, 32 + 48)
    left = [by_transformers(towers["l"], text, -2, False)[0] for text in ("a fox", "")]
    close(cond[..., :32], torch.cat(left, dim=1))
    close(cond[..., 32:], encode_comfy(stack, "word " * 100)[0][..., 32:])
    assert encode_comfy(stack, "a", "b")[1].equal(encode_comfy(stack, "a")[1])
    assert encode_comfy(make_stack("sd1"), "a", "b")[0].equal(encode_comfy(make_stack("sd1"), "a")[0])


def test_an_empty_negative_is_zeroed_for_sdxl_only(make_stack: MakeStack) -> None:
    cond, pooled = encode_webui(make_stack("sdxl"), "", zero_if_empty=True)
    assert cond.shape == (1, 77, 80)
    assert cond.abs().max() == 0
    assert pooled.abs().max() == 0
    assert encode_webui(make_stack("sdxl"), "a", zero_if_empty=True)[0].abs().max() > 0
    assert encode_webui(make_stack("sd1"), "", zero_if_empty=True)[0].abs().max() > 0


def with_tokens(clip: ClipModel, vectors: Tensor, ids: list[int]) -> ClipModel:
    """The tower with rows of its embedding matrix replaced."""
    module = copy.deepcopy(clip.module)
    with torch.no_grad():
        module.embeddings.token_embedding.weight[ids] = vectors
    return replace(clip, module=module)


def test_an_injected_embedding_is_a_replaced_row(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack("sdxl", folder=tmp_path)
    vectors = {
        clip.kind: torch.randn(2, clip.width, generator=torch.Generator().manual_seed(7)) for clip in stack.clips
    }
    save_file({f"clip_{kind}": tensor for kind, tensor in vectors.items()}, tmp_path / "mine.safetensors")
    ids = tokenize("zebra quartz")
    replaced = replace(stack, clips=tuple(with_tokens(clip, vectors[clip.kind], ids) for clip in stack.clips))
    expected, pooled = encode_comfy(replaced, "a (zebra quartz:1.3), night")
    for cond, own_pooled in (
        encode_comfy(stack, "a (embedding:mine:1.3), night"),
        encode_webui(stack, "a (MINE:1.3), night", emphasis="ComfyUI"),
    ):
        close(cond, expected)
        close(own_pooled, pooled)
    assert [found.name for found in embeddings_in(stack, "(mine:1.2) and mine")] == ["mine"]


def test_comfy_embedding_syntax(make_stack: MakeStack, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = make_stack("sd1", folder=tmp_path)
    clip = stack.clips[0]
    save_file({"emb_params": torch.ones(2, 32)}, tmp_path / "x.safetensors")
    save_file({"emb_params": torch.ones(2, 99)}, tmp_path / "wide.safetensors")

    def ids(text: str) -> list[int]:
        (chunk,) = comfy_chunks(stack, clip, text)
        return [token for token in chunk.ids if token not in (START, END)]

    assert ids("a embedding:x, night") == [*tokenize("a"), -1, -1, *tokenize(", night")]
    assert not caplog.messages
    assert ids("embedding:nothing, night") == tokenize(", night")
    assert "embedding:nothing was not found" in caplog.text
    assert ids("embedding:wide night") == tokenize("night")
    assert "do not fit CLIP-l" in caplog.text
    assert ids("embedding:../x night") == tokenize("night")


def test_a_broken_embedding_is_named(make_stack: MakeStack, tmp_path: Path) -> None:
    (tmp_path / "torn.pt").write_bytes(b"torn")
    stack = make_stack("sd1", folder=tmp_path)
    for encode, text in ((encode_comfy, "embedding:torn"), (encode_webui, "torn")):
        with pytest.raises(ModelFileError, match=r"torn\.pt"):
            encode(stack, text)  # type: ignore[operator]
    encode_webui(stack, "another text")


def test_a_vector_of_the_wrong_width_never_reaches_the_tower(towers: dict[str, ClipModel]) -> None:
    chunk = replace(empty_chunk(END), tokens=(START, torch.zeros(5), *[END] * 75))
    with pytest.raises(ModelFileError, match="width 5"):
        run_tower(towers["l"], [chunk])


def test_weights_of_runaway_nesting_are_refused(make_stack: MakeStack) -> None:
    text = "(" * 200 + "a" + ")" * 200
    for encode in (encode_comfy, encode_webui):
        with pytest.raises(PromptError, match="weight"):
            encode(make_stack("sd1"), text)  # type: ignore[operator]
        with pytest.raises(PromptError):
            encode(make_stack("sd1"), "(" * 100_000 + "a" + ")" * 100_000)  # type: ignore[operator]


def test_twenty_thousand_characters_work(make_stack: MakeStack) -> None:
    text = "a tall tree, " * 1540
    for encode in (encode_comfy, encode_webui):
        cond, _ = encode(make_stack("sd1"), text)  # type: ignore[operator]
        assert cond.shape[1] % 77 == 0
        assert torch.isfinite(cond).all()


def test_many_chunks_are_encoded_like_few(towers: dict[str, ClipModel]) -> None:
    clip = towers["l"]
    chunks = comfy_chunks(TextStack("sd1", (clip,)), clip, "word " * 75 * 18)
    assert len(chunks) == 18
    close(run_tower(clip, chunks)[0][17:], run_tower(clip, chunks[17:])[0])
    assert chunk_segments([], END) == [empty_chunk(END)]


def test_token_counter(make_stack: MakeStack, tmp_path: Path) -> None:
    guide = (
        "NSFW, NG_DeepNegative_V1_75T, child, lowres, worst quality, low quality, blurry, fake, 3d, anime, bad anatomy,"
        " disabled body, disgusting, ugly, text, watermark,"
    )
    assert count_tokens(guide) == (49, 75)
    assert count_tokens(guide, negative=True) == (49, 75)
    assert count_tokens("") == (0, 75)
    assert count_tokens("a # b c d\n<lora:x:1>") == (1, 75)
    assert count_tokens("a BREAK b") == (76, 150)
    assert count_tokens("a AND b b b") == (3, 75)
    assert count_tokens("a AND b b b", negative=True) == (5, 75)
    assert count_tokens("[a:b b b:0.5]") == (3, 75)
    assert count_tokens("word " * 76) == (76, 150)
    save_file({"emb_params": torch.ones(5, 32)}, tmp_path / "x.safetensors")
    assert count_tokens("x a", make_stack("sd1", folder=tmp_path)) == (6, 75)


def test_the_counter_tells_the_chunks(make_stack: MakeStack, tmp_path: Path) -> None:
    assert count_chunks("") == [0]
    assert count_chunks("a BREAK b b") == [1, 2]
    assert count_chunks("[a:b b b:0.5] AND c") == [3]
    assert count_chunks("word " * 160) == [75, 75, 10]
    assert count_chunks("x " * 70 + ", y" + " y" * 10) == [71, 11], "what follows the last comma moves on"
    save_file({"emb_params": torch.ones(40, 32)}, tmp_path / "x.safetensors")
    assert count_chunks("x x a", make_stack("sd1", folder=tmp_path)) == [40, 41], "an embedding is not cut"
