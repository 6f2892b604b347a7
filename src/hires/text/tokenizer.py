"""CLIP's byte-pair tokenizer (Radford et al. 2021), from the vocabulary file in `data/`; nothing is fetched.

The pair merges are the same everywhere; what differs between the two dialects is how text is cleaned first:
ComfyUI goes by transformers' CLIPTokenizer (NFC, lower case), the A1111 web UI also runs ftfy (quotes uncurled,
full-width letters narrowed, ligatures opened) and, for OpenCLIP's towers, unescapes HTML.
"""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

START: Final = 49406
END: Final = 49407
COMMA: Final = 267  # the token ",</w>"
CHUNK: Final = 77  # start + 75 tokens + end
ROOM: Final = 75

Cleaning = Literal["comfy", "webui", "webui_html"]

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_COMFY_CLEANING = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
_MERGES = 49152 - 256 - 2  # the file goes on; CLIP uses this many

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")  # no encoding has them


def tokenize(text: str, cleaning: Cleaning = "comfy") -> list[int]:
    """Token ids of `text` without start and end. A typed `<|endoftext|>` becomes the token itself, as in CLIP."""
    return list(_tokenizer().encode(clean(text, cleaning), add_special_tokens=False).ids)


def clean(text: str, cleaning: Cleaning) -> str:
    """Lower-cased text, as the dialect's tokenizer sees it (how blanks are written makes no difference there)."""
    text = _LONE_SURROGATES.sub("", text)
    if cleaning == "comfy":
        return str(_COMFY_CLEANING.normalize_str(text))
    text = _fix_text(text)
    if cleaning == "webui_html":
        text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()


# What ftfy's default settings change in text that was decoded rightly.
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")
_SINGLE_QUOTES = re.compile("[\u02bc\u2018-\u201b]")
_DOUBLE_QUOTES = re.compile("[\u201c-\u201f]")
_COMPATIBLE = re.compile("[\uff01-\uffef\u3000\ufb00-\ufb06\u0132\u0133\u01c4-\u01cc\u01f1-\u01f3]")


def _fix_text(text: str) -> str:
    if "<" not in text:
        text = html.unescape(text)
    text = _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = _DOUBLE_QUOTES.sub('"', _SINGLE_QUOTES.sub("'", text))
    text = re.sub("\r\n|[\r\u0085\u2028\u2029]", "\n", text)
    return unicodedata.normalize("NFC", _CONTROL.sub("", text))


@cache
def _tokenizer() -> Tokenizer:
    packed = files("hires.text").joinpath("data/bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    symbols = _byte_symbols()
    words = symbols + [symbol + "</w>" for symbol in symbols] + [left + right for left, right in merges]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in ("<|startoftext|>", "<|endoftext|>")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _byte_symbols() -> list[str]:
    """The 256 symbols in the vocabulary's order: printable bytes as themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(others)]
