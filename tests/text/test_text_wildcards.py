from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import PromptError
from hires.text.wildcards import has_choices, resolve, wildcard_names

FIXED = ["dbcdecfb", "chcehadh", "fbhdgcdc"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "wildcards"
    (root / "animals").mkdir(parents=True)
    (root / "colour.txt").write_text("# all of them\nred\n\n  blue  # a note\n", encoding="utf-8-sig")
    (root / "animals" / "cat.txt").write_text("__colour__ cat\n")
    (root / "animals" / "dog.txt").write_text("{big|small} dog\n")
    (root / "loop.txt").write_text("x __loop__\n")
    (root / "mostly.txt").write_text("9::often\nrarely\n0::never\n")
    (root / "empty.txt").write_text("# nothing\n")
    return root


def outcomes(text: str, *folders: Path, seeds: int = 60) -> Counter[str]:
    return Counter(resolve(text, seed, folders).text for seed in range(seeds))


def test_lines_of_files(folder: Path) -> None:
    assert set(outcomes("a __colour__ hat", folder)) == {"a red hat", "a blue hat"}
    assert set(outcomes("__animals/cat__", folder)) == {"red cat", "blue cat"}
    assert set(outcomes("__animals/*__", folder)) == {"red cat", "blue cat", "big dog", "small dog"}
    assert set(outcomes("__empty__!", folder)) == {"!"}
    assert wildcard_names([folder]) == ["animals/cat", "animals/dog", "colour", "empty", "loop", "mostly"]


def test_weights(folder: Path) -> None:
    counts = outcomes("__mostly__", folder, seeds=400)
    assert set(counts) == {"often", "rarely"}
    assert counts["often"] == pytest.approx(360, abs=30)
    assert outcomes("{3::a|1::b}", seeds=400)["a"] == pytest.approx(300, abs=40)


def test_options() -> None:
    assert set(outcomes("{a|b|}x")) == {"ax", "bx", "x"}
    assert set(outcomes("{a|{b|c} d}")) == {"a", "b d", "c d"}
    assert set(outcomes("{[x|y]|(z:1.1)}")) == {"[x|y]", "(z:1.1)"}
    assert set(outcomes("{2$$a|b}")) == {"a, b", "b, a"}
    assert set(outcomes("{2$$ and $$a|b}")) == {"a and b", "b and a"}
    assert set(outcomes("{1-2$$-$$a|b}")) == {"a", "b", "a-b", "b-a"}
    assert set(outcomes("{0$$a|b}")) == {""}
    assert set(outcomes("{-1$$a|b}")) == {"", "a", "b"}


def test_a_number_of_lines_of_one_file(folder: Path) -> None:
    assert set(outcomes("{2$$__colour__}", folder)) == {"red, blue", "blue, red"}


@pytest.mark.parametrize("text", ["{masterpiece}", "{a", "a|b}", r"\{a|b\}", "__init", "a__b", "plain, (x:1.2) [a|b]"])
def test_what_is_no_choice_stays(text: str) -> None:
    assert not has_choices(text)
    assert resolve(text, 1).text == text


def test_an_unknown_wildcard_stays_and_is_told(folder: Path) -> None:
    made = resolve("a {{b}} __nope__ {x __colour__ __gone__|x __colour__ __gone__}", 3, [folder])
    assert made.text.startswith("a {{b}} __nope__ x ")
    assert [name for _, name in made.unknown] == ["nope", "gone"]
    assert made.unknown[0][0] == 8


@pytest.mark.parametrize("name", ["../secret", "animals/../../secret", "/etc/passwd", "..\\secret", "~/x"])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    with pytest.raises(PromptError, match="leads out") as caught:
        resolve(f"ab __{name}__", 0, [folder])
    assert caught.value.position == 3


def test_no_link_leads_out_of_the_folder(folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    os.symlink(folder.parent / "secret.txt", folder / "link.txt")
    os.symlink(folder.parent, folder / "up")
    assert resolve("__link__ __up/secret__ __up/*__", 0, [folder]).text == "__link__ __up/secret__ __up/*__"


def test_endless_and_impossible_choices_are_refused(folder: Path) -> None:
    with pytest.raises(PromptError, match="without end"):
        resolve("__loop__", 0, [folder])
    with pytest.raises(PromptError, match="asks for 3 of 2 options") as caught:
        resolve("x {3$$a|b}", 0)
    assert caught.value.position == 2
    with pytest.raises(PromptError):
        resolve("{" * 200 + "a|b" + "}" * 200, 0)


@given(st.text(alphabet="{}|$1-: ab_[]\\", max_size=40), st.integers(0, 2**64))
def test_the_same_seed_makes_the_same_choice(text: str, seed: int) -> None:
    try:
        made = resolve(text, seed)
    except PromptError:
        return
    assert resolve(text, seed) == made
    if not has_choices(text):
        assert made.text == text


def test_the_choices_of_a_seed_are_fixed_for_all_times() -> None:
    text = "{a|b|c|d|e|f|g|h}" * 8
    assert [resolve(text, seed).text for seed in (0, 1, 2**63)] == FIXED
    assert resolve(text, 1, role="negative").text != FIXED[1]


def test_long_texts_take_no_longer_than_they_must() -> None:
    assert not has_choices("{" * 50_000)
    assert resolve("{" * 50_000 + "__ " * 20_000, 0).text.startswith("{{")
