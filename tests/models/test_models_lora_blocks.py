from __future__ import annotations

import pytest

from hires.errors import SettingError
from hires.models.lora_blocks import LISTS, PRESETS, block_weights


@pytest.mark.parametrize(("count", "family"), [(12, "sdxl"), (20, "sdxl"), (17, "sd1"), (26, "sd1"), (17, "sd2")])
def test_each_number_goes_to_its_block(count: int, family: str) -> None:
    numbers = [index / 100 for index in range(1, count + 1)]
    made = block_weights(",".join(map(str, numbers)), family)
    named = dict(zip(LISTS[count], numbers, strict=True))
    assert made["text"] == named["BASE"]
    assert made["middle_block"] == named["MID"]
    for half in ("IN", "OUT"):
        for number in range(9 if family == "sdxl" else 12):
            block = f"{'input' if half == 'IN' else 'output'}_blocks.{number}"
            assert made[block] == named.get(f"{half}{number:02}", 0.0)


def test_the_lists_are_as_long_as_they_say() -> None:
    assert {count: len(set(blocks)) for count, blocks in LISTS.items()} == {12: 12, 17: 17, 20: 20, 26: 26}


@pytest.mark.parametrize(
    ("preset", "numbers"),
    [
        ("INS", "1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0"),
        ("IND", "1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0"),
        ("INALL", "1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0"),
        ("MIDD", "1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0"),
        ("OUTD", "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0"),
        ("OUTS", "1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1"),
        ("OUTALL", "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1"),
        ("NONE", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"),
        ("IN04", "0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0"),
        ("mid", "0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0"),
    ],
)
def test_presets_are_their_numbers(preset: str, numbers: str) -> None:
    assert block_weights(preset, "sd1") == block_weights(numbers, "sd1")


def test_all_and_all_but_one() -> None:
    assert set(block_weights("ALL", "sd1").values()) == {1.0}
    assert set(block_weights("ALL0.5", "sdxl").values()) == {0.5}
    but = block_weights("NMID", "sdxl")
    assert [block for block, factor in but.items() if factor == 0.0] == ["middle_block"]
    assert [block for block, factor in block_weights("OUTALL", "sdxl").items() if factor] == [
        "text", *(f"output_blocks.{number}" for number in range(9)),
    ]  # fmt: skip
    assert len(PRESETS) == 7


@pytest.mark.parametrize(
    ("text", "family", "words"),
    [
        ("1,2,3", "sd1", "3 block weights do not fit this model. It takes 17"),
        (",".join("1" * 17), "sdxl", "do not fit an SDXL model. It takes 12"),
        ("MIDD", "sdxl", "drawn up for SD 1.x"),
        ("middling", "sd1", "no block weights 'MIDDLING'"),
        (",".join(["R"] + ["1"] * 16), "sd1", "cannot be drawn again"),
        ("1,x", "sd1", "'x' is not a number"),
        ("ALLx", "sd1", "'X' is not a number"),
        ("", "sd1", "no block weights"),
    ],
)
def test_what_does_not_fit_is_said(text: str, family: str, words: str) -> None:
    with pytest.raises(SettingError, match=words.replace(".", r"\.")):
        block_weights(text, family)
