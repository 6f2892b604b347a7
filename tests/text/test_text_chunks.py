from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import PromptError
from hires.text.chunks import (
    MAX_CHUNKS,
    Chunk,
    Segment,
    Token,
    chunk_segments,
    chunk_with_commas,
    drop_misfits,
    empty_chunk,
)
from hires.text.tokenizer import COMMA, END, START, tokenize

PAD = 0
segments = st.lists(
    st.builds(Segment, st.lists(st.integers(1, 300), max_size=90), st.sampled_from([0.5, 1.0, 1.3])), max_size=8
)


def inner(chunk: Chunk) -> list[Token]:
    """The tokens between start and end."""
    return list(chunk.tokens[1 : chunk.ids.index(END)])


def check_shape(chunks: list[Chunk]) -> None:
    for chunk in chunks:
        assert len(chunk.tokens) == len(chunk.weights) == len(chunk.segments) == 77
        end = chunk.tokens.index(END)
        assert chunk.tokens[0] == START
        assert all(token == PAD for token in chunk.tokens[end + 1 :])
        assert chunk.weights[0] == 1.0
        assert all(weight == 1.0 for weight in chunk.weights[end:])
        assert all(number == 0 for number in chunk.segments[end:])


@given(segments)
def test_comfy_keeps_every_token_in_order(given_segments: list[Segment]) -> None:
    chunks = chunk_segments(given_segments, PAD)
    check_shape(chunks)
    assert [t for chunk in chunks for t in inner(chunk)] == [t for segment in given_segments for t in segment.tokens]
    weights = [w for chunk in chunks for w, number in zip(chunk.weights, chunk.segments, strict=True) if number]
    assert weights == [segment.weight for segment in given_segments for _ in segment.tokens]


@given(st.lists(segments, min_size=1, max_size=3), st.integers(0, 30))
def test_webui_keeps_every_token_in_order(parts: list[list[Segment]], backtrack: int) -> None:
    chunks, count = chunk_with_commas(parts, PAD, backtrack)
    check_shape(chunks)
    expected = [token for part in parts for segment in part for token in segment.tokens]
    assert [token for chunk in chunks for token in inner(chunk)] == expected
    assert 75 * (len(chunks) - 1) <= count <= 75 * len(chunks)


def test_comfy_cuts_only_segments_of_eight_tokens_and_more() -> None:
    short = chunk_segments([Segment([5] * 70), Segment([6] * 7)], PAD)
    assert [inner(chunk) for chunk in short] == [[5] * 70, [6] * 7]
    long = chunk_segments([Segment([5] * 70), Segment([6] * 8)], PAD)
    assert [inner(chunk) for chunk in long] == [[5] * 70 + [6] * 5, [6] * 3]


def test_an_empty_text_is_one_chunk() -> None:
    assert chunk_segments([], 0) == [empty_chunk(0)]
    assert chunk_with_commas([[]], END) == ([empty_chunk(END)], 0)
    assert empty_chunk(0).tokens == (START, END, *[0] * 75)


def test_webui_moves_what_follows_the_last_comma() -> None:
    tokens = [5] * 60 + [COMMA] + [6] * 20
    chunks, count = chunk_with_commas([[Segment(tokens)]], PAD, 20)
    assert [inner(chunk) for chunk in chunks] == [[5] * 60 + [COMMA], [6] * 20]
    assert count == 75 + 20
    chunks, _ = chunk_with_commas([[Segment(tokens)]], PAD, 14)
    assert [len(inner(chunk)) for chunk in chunks] == [75, 6]
    chunks, _ = chunk_with_commas([[Segment(tokens)]], PAD, 0)
    assert [len(inner(chunk)) for chunk in chunks] == [75, 6]


def test_webui_does_not_move_before_a_comma() -> None:
    chunks, _ = chunk_with_commas([[Segment([5] * 60 + [COMMA] + [6] * 14 + [COMMA, 7])]], PAD, 20)
    assert [len(inner(chunk)) for chunk in chunks] == [75, 2]


def test_webui_moves_weights_with_their_tokens() -> None:
    chunks, _ = chunk_with_commas([[Segment([5] * 70 + [COMMA]), Segment([6] * 8, 1.5)]], PAD, 20)
    assert chunks[1].weights[1:9] == (1.5,) * 8
    assert not chunks[0].weighted


def test_webui_break_closes_the_chunk() -> None:
    chunks, count = chunk_with_commas([[Segment([5])], [], [Segment([6])], []], PAD)
    assert [inner(chunk) for chunk in chunks] == [[5], [], [6]]
    assert count == 225


def test_webui_never_cuts_an_embedding() -> None:
    vectors = list(torch.zeros(10, 4))
    chunks, _ = chunk_with_commas([[Segment([5] * 70), Segment(vectors, 1.2)]], PAD)
    assert [len(inner(chunk)) for chunk in chunks] == [70, 10]
    huge = list(torch.zeros(80, 4))
    assert [len(inner(c)) for c in chunk_with_commas([[Segment([5]), Segment(huge)]], PAD)[0]] == [1, 75, 5]


def test_vectors_that_do_not_fit_make_room_for_padding() -> None:
    (chunk,) = chunk_segments([Segment([5]), Segment(list(torch.zeros(2, 3)), 1.2), Segment([6], 1.4)], PAD)
    fitting, dropped = drop_misfits(chunk, 4, PAD)
    assert dropped == 2
    assert fitting.tokens == (START, 5, 6, END, *[PAD] * 73)
    assert fitting.weights == (1.0, 1.0, 1.4, *[1.0] * 74)
    assert drop_misfits(chunk, 3, PAD) == (chunk, 0)


def test_too_long_a_prompt_is_refused() -> None:
    assert len(chunk_segments([Segment([5] * 75 * MAX_CHUNKS)], PAD)) == MAX_CHUNKS
    with pytest.raises(PromptError, match="too long"):
        chunk_segments([Segment([5] * (75 * MAX_CHUNKS + 1))], PAD)
    with pytest.raises(PromptError, match="too long"):
        chunk_with_commas([[Segment([5] * (75 * MAX_CHUNKS + 1))]], PAD)
    with pytest.raises(PromptError, match="too long"):
        chunk_with_commas([[]] * (MAX_CHUNKS + 2), PAD)


def test_the_guides_negative_counts_49() -> None:
    text = (
        "NSFW, NG_DeepNegative_V1_75T, child, lowres, worst quality, low quality, blurry, fake, 3d, anime, bad anatomy,"
        " disabled body, disgusting, ugly, text, watermark,"
    )
    assert len(tokenize(text, "webui")) == 49
