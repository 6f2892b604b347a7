from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from torch import Tensor

from hires.errors import ModelFileError
from hires.models.clip import TextStack
from hires.text.embeddings import (
    Embedding,
    find_by_name,
    load_embedding,
    match_triggers,
    short_hash,
    triggers,
)
from hires.text.tokenizer import tokenize

VECTORS = torch.arange(12.0).reshape(3, 4)


def layouts() -> dict[str, object]:
    return {
        "webui": {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "x", "step": 5},
        "original": {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(VECTORS)})},
        "concept": {"<thing>": VECTORS},
        "half": {"emb_params": VECTORS.half()},
        "list": [{"<a>": VECTORS[:1]}, {"<b>": VECTORS[1:]}],
        "bare": VECTORS,
    }


@pytest.mark.parametrize("layout", ["webui", "original", "concept", "half", "list", "bare"])
@pytest.mark.parametrize("suffix", [".pt", ".bin"])
def test_pickled_layouts(tmp_path: Path, layout: str, suffix: str) -> None:
    path = tmp_path / ("x" + suffix)
    torch.save(layouts()[layout], path)
    embedding = load_embedding(path)
    assert embedding.name == "x"
    assert embedding.for_tower("l").equal(VECTORS)
    assert embedding.for_tower("g").dtype == torch.float32


def test_safetensors_layouts(tmp_path: Path) -> None:
    save_file({"emb_params": VECTORS}, tmp_path / "a.safetensors")
    assert load_embedding(tmp_path / "a.safetensors").for_tower("h").equal(VECTORS)
    save_file({"clip_l": VECTORS, "clip_g": VECTORS.repeat(1, 2)}, tmp_path / "b.safetensors")
    both = load_embedding(tmp_path / "b.safetensors")
    assert both.for_tower("l").shape == (3, 4)
    assert both.for_tower("g").shape == (3, 8)
    save_file({"one": torch.ones(4)}, tmp_path / "c.safetensors")
    assert load_embedding(tmp_path / "c.safetensors").for_tower("l").shape == (1, 4)


def save_picture(path: Path, data: dict[str, object]) -> None:
    info = PngInfo()
    info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(data).encode()).decode())
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)


def test_pictures_with_embedded_vectors(tmp_path: Path) -> None:
    data = {"name": "shy", "string_to_param": {"*": {"TORCHTENSOR": VECTORS.tolist()}}}
    save_picture(tmp_path / "p.png", data)
    Image.new("RGB", (4, 4)).save(tmp_path / "preview.png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG")
    assert load_embedding(tmp_path / "p.png").for_tower("l").equal(VECTORS)
    assert [entry.name for entries in triggers([tmp_path]).values() for entry in entries] == ["shy"]


def test_short_hash_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"*": VECTORS}, path)
    assert short_hash(path) == load_embedding(path).short_hash == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("owned"),)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04.", b"PK\x03\x04", b"\xff" * 64, b"(((((("])
def test_broken_files_are_named_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / ("x" + suffix)
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"Embedding x\.") as caught:
        load_embedding(path)
    assert "\n" not in str(caught.value)


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"string_to_param": Evil()}))
    with pytest.raises(ModelFileError):
        load_embedding(tmp_path / "x.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("data", [{}, {"a": 1}, {"string_to_param": {}}, torch.zeros(0, 4), torch.zeros(2, 2, 2), 5])
def test_files_without_vectors_are_refused(tmp_path: Path, data: object) -> None:
    torch.save(data, tmp_path / "x.pt")
    with pytest.raises(ModelFileError, match="holds no token vectors"):
        load_embedding(tmp_path / "x.pt")


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    torch.save({"*": VECTORS / 0}, tmp_path / "x.pt")
    with pytest.raises(ModelFileError, match="not numbers"):
        load_embedding(tmp_path / "x.pt")


def save_vectors(path: Path, tensor: Tensor = VECTORS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": tensor.contiguous()}, path)


def test_names_are_looked_up_inside_the_folders_only(tmp_path: Path) -> None:
    folder = tmp_path / "embeddings"
    save_vectors(folder / "deep" / "er" / "x.safetensors")
    save_vectors(tmp_path / "outside.safetensors")
    save_vectors(tmp_path / "embeddings2" / "y.safetensors")
    expected = folder / "deep" / "er" / "x.safetensors"
    for name in ("x", "x.safetensors", "er/x", "deep/er/x", "deep/../deep/er/x"):
        assert find_by_name(name, [folder]) == expected
    outside = str(tmp_path / "outside")
    for name in ("../outside", outside, "deep/../../outside", "../embeddings2/y", "X", "", ".", "x\0", "a" * 5000):
        assert find_by_name(name, [folder]) is None
    assert find_by_name("x", [tmp_path / "missing"]) is None


def test_the_longest_trigger_wins_whatever_the_case(tmp_path: Path, make_stack: Callable[..., TextStack]) -> None:
    stack = make_stack(folder=tmp_path)
    width = stack.clips[0].width
    for name in ("bad", "bad hands", "wide"):
        save_vectors(tmp_path / f"{name}.safetensors", torch.ones(2, width + (name == "wide")))
    table = triggers([tmp_path])
    parts = match_triggers(tokenize("very BAD Hands, bad, wide"), table, stack)
    names = [part.name if isinstance(part, Embedding) else part for part in parts]
    assert names == [tokenize("very"), "bad hands", tokenize(","), "bad", tokenize(", wide")]
    assert match_triggers([], table, stack) == []


def test_sdxl_wants_both_towers(tmp_path: Path, make_stack: Callable[..., TextStack]) -> None:
    sdxl, sd1 = make_stack("sdxl", folder=tmp_path), make_stack(folder=tmp_path)
    widths = [clip.width for clip in sdxl.clips]
    save_file({"clip_l": torch.ones(1, widths[0]), "clip_g": torch.ones(1, widths[1])}, tmp_path / "xl.safetensors")
    save_vectors(tmp_path / "one.safetensors", torch.ones(1, widths[0]))
    table = triggers([tmp_path])

    def used(stack: TextStack) -> list[str]:
        return [part.name for part in match_triggers(tokenize("xl one"), table, stack) if isinstance(part, Embedding)]

    assert used(sdxl) == ["xl"]
    assert used(sd1) == ["one"]
