from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hires.errors import SettingError
from hires.models.clip import TextStack
from hires.text.chunks import Segment, chunk_segments
from hires.text.encode import encode_comfy, encode_weighted
from hires.text.weighting import WeightInterpretation, normalize_weights

MakeStack = Callable[..., TextStack]
close = torch.testing.assert_close
MASK = "+"  # the text whose only token is 266
INTERPRETATIONS: tuple[WeightInterpretation, ...] = ("comfy", "A1111", "compel", "comfy++", "down_weight")


def weights(how: str) -> list[float]:
    chunks = chunk_segments([Segment([5] * 4, 1.5), Segment([6] * 9, 0.4), Segment([7], 1.0)], 0)
    (chunk,) = normalize_weights(chunks, how)
    assert chunk.weights[0] == 1.0
    assert chunk.weights[15:] == (1.0,) * 62
    return [chunk.weights[1], chunk.weights[5], chunk.weights[14]]


def test_normalization_closed_forms() -> None:
    assert weights("none") == [1.5, 0.4, 1.0]
    length = [1 + 0.5 / 2, 1 - 0.6 / 3, 1.0]
    assert weights("length") == pytest.approx(length)
    shift = 1 - (4 * 1.5 + 9 * 0.4 + 1.0) / 14
    assert weights("mean") == pytest.approx([1.5 + shift, 0.4 + shift, 1.0 + shift])
    shift = 1 - (4 * length[0] + 9 * length[1] + 1.0) / 14
    assert weights("length+mean") == pytest.approx([weight + shift for weight in length])
    assert normalize_weights(chunk_segments([], 0), "mean") == chunk_segments([], 0)


@pytest.mark.parametrize("how", INTERPRETATIONS)
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_without_weights_all_agree(make_stack: MakeStack, how: WeightInterpretation, family: str) -> None:
    stack = make_stack(family)
    cond, pooled = encode_weighted(stack, "a red fox", weight_interpretation=how)
    expected, expected_pooled = encode_comfy(stack, "a red fox")
    close(cond, expected)
    close(pooled, expected_pooled)


def test_interpretations_closed_forms(make_stack: MakeStack) -> None:
    stack = make_stack("sd1")

    def encoded(text: str) -> torch.Tensor:
        return encode_comfy(stack, text)[0]

    def weighted(text: str, how: WeightInterpretation) -> torch.Tensor:
        return encode_weighted(stack, text, weight_interpretation=how)[0]

    plain = encoded("a fox tree")
    w = torch.tensor([1.0, 1.0, 1.4, 0.6, *[1.0] * 73])[None, :, None]
    text = "a (fox:1.4) (tree:0.6)"
    close(weighted(text, "A1111"), plain * w * (plain.mean() / (plain * w).mean()))
    without_tree = encoded(f"a fox {MASK}")
    down = 0.6 * plain + 0.4 * without_tree
    up = torch.zeros_like(plain)
    up[:, 2] = (0.4 * (plain - encoded(f"a {MASK} tree")))[:, 2]
    close(weighted(text, "comfy++"), down + up)
    close(weighted(text, "compel"), 0.6 * encoded("a (fox:1.4) tree") + 0.4 * encoded(f"a (fox:1.4) {MASK}"))

    # down_weight: everything over the largest weight; tree 0.5, a 1.0 -> 1/1.6 ...
    scaled = [0.5 / 1.6, 1 / 1.6, 1.0]
    steps = [plain, encoded(f"a fox {MASK}"), encoded(f"{MASK} fox {MASK}")]
    expected = scaled[0] * steps[0] + (scaled[1] - scaled[0]) * steps[1] + (1 - scaled[1]) * steps[2]
    close(weighted("a (fox:1.6) (tree:0.5)", "down_weight"), expected)


def test_unknown_names_are_refused(make_stack: MakeStack) -> None:
    with pytest.raises(SettingError, match="token normalization 'loud'"):
        encode_weighted(make_stack(), "a", token_normalization="loud")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="weight interpretation 'loud'"):
        encode_weighted(make_stack(), "a", weight_interpretation="loud")  # type: ignore[arg-type]
