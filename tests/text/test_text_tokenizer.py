from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.text.tokenizer import COMMA, END, tokenize

# What transformers' CLIPTokenizer gives with OpenAI's files.
KNOWN = {
    "a cat, on": [320, 2368, 267, 525],
    "A CAT,\n\n on": [320, 2368, 267, 525],
    "café, 猫が好き, naïve—portrait": [
        15304, 267, 163, 234, 104, 4813, 234, 29290, 121, 4813, 491, 267, 1097, 35689, 563, 2005, 5352,
    ],
    "It's 1girl, 8k!! don't (x:1.2) é e\u0301": [
        585, 568, 272, 1611, 267, 279, 330, 748, 847, 713, 263, 343, 281, 272, 269, 273, 264, 4166, 4166,
    ],
    "привет МИР ßẞ İ": [
        26302, 16370, 29503, 110, 22176, 141, 480, 38018, 16701, 141, 478, 127, 253, 127, 509, 328, 16384,
    ],
    "😀👩\u200d👩\u200d👧 ok": [12832, 26304, 26304, 964, 356, 2481],
    "masterpiece_best quality-4k @#$%^&*": [12066, 318, 949, 3027, 268, 275, 330, 31, 2, 3, 4, 61, 5, 265],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("text", KNOWN)
def test_ids_are_clips(text: str) -> None:
    assert tokenize(text) == KNOWN[text]
    assert tokenize(text, "webui") == KNOWN[text]


def test_a_typed_end_token_is_the_token() -> None:
    assert tokenize("a<|endoftext|>cat") == [320, END, 2368]
    assert tokenize(",") == [COMMA]


def test_webui_cleans_like_ftfy() -> None:
    assert tokenize("“don’t” ｆｕｌｌ ﬁsh", "webui") == tokenize('"don\'t" full fish')
    assert tokenize("salt &amp; pepper", "webui") == tokenize("salt & pepper")
    assert tokenize("<b> &amp;amp; x", "webui_html") == tokenize("<b> & x")
    assert tokenize("<b> &amp; x", "webui") == tokenize("<b> &amp; x")


def test_lone_surrogates_are_dropped() -> None:
    assert tokenize("\udc28a\ud800") == tokenize("a")


@given(st.text(max_size=60))
def test_any_text_gives_ids_of_the_vocabulary(text: str) -> None:
    for cleaning in ("comfy", "webui", "webui_html"):
        assert all(0 <= token <= END for token in tokenize(text, cleaning))  # type: ignore[arg-type]


def test_a_word_of_100000_letters_is_no_trouble() -> None:
    assert len(tokenize("(" * 100_000)) == 50_000
