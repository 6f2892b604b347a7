"""Weight files: what opens, what is refused and how, and that reading converts without keeping two copies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from hires.errors import ModelFileError
from hires.models.weights import join_weights, main_dtype, open_weights

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.tensor([1.5, -2.0], dtype=torch.float16)}


@pytest.mark.parametrize("ending", ["safetensors", "sft", "ckpt", "pt"])
def test_every_format_gives_names_shapes_and_values(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"file.{ending}"
    if ending in ("safetensors", "sft"):
        save_file(STATE, path, metadata={"made": "here"})
    else:
        torch.save({"state_dict": STATE, "epoch": 3}, path)
    weights = open_weights(path)
    assert {key: (info.shape, info.dtype) for key, info in weights.tensors.items()} == {
        "a.weight": ((3, 4), torch.float32),
        "b": ((2,), torch.float16),
    }
    assert torch.equal(weights.read("a.weight"), STATE["a.weight"])
    assert torch.equal(weights.read_as("b", torch.float32), STATE["b"].float())
    assert torch.equal(weights.read_as("a.weight", torch.bfloat16), STATE["a.weight"].bfloat16())
    assert main_dtype(weights.tensors) == torch.float32


def test_format_is_told_by_content_not_by_ending(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "really_safetensors.ckpt")
    assert set(open_weights(tmp_path / "really_safetensors.ckpt").tensors) == set(STATE)


def test_torch_files_of_before_1_6_open(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    weights = open_weights(tmp_path / "old.ckpt")
    assert torch.equal(weights.read("a.weight"), STATE["a.weight"])


def test_training_records_of_first_checkpoints_are_passed_over(tmp_path: Path) -> None:
    class ModelCheckpoint:
        def __init__(self) -> None:
            self.monitor = "val/loss"

    ModelCheckpoint.__module__ = "pytorch_lightning.callbacks.model_checkpoint"
    ModelCheckpoint.__qualname__ = "ModelCheckpoint"
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint")
    modules = {name: ModuleType(name) for name in names}
    modules[names[-1]].ModelCheckpoint = ModelCheckpoint  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, modules):
        torch.save({"state_dict": STATE, "callbacks": {"best": ModelCheckpoint()}}, tmp_path / "v1.ckpt")
    assert set(open_weights(tmp_path / "v1.ckpt").tensors) == set(STATE)


class Bomb:
    """A pickle that would make a folder if it were ever read freely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "ran"
    torch.save({"state_dict": STATE, "x": Bomb(mark)}, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ModelFileError, match=r"^m\.ckpt is a pickle that wants to run code \(posix\.mkdir\), so it was not"
    ):
        open_weights(tmp_path / "m.ckpt")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100), "it is a JPEG picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it is a PNG picture"),
        (b"<!doctype html><title>404</title>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (bytes(200), "of no known kind"),
        (b"GGUF" + bytes(60), "GGUF"),
        ((10**6).to_bytes(8, "little") + b'{"a"', "header is cut off"),
        ((4).to_bytes(8, "little") + b"{abc" + bytes(9), "not JSON"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "not a list of tensors"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged"),
        (b"\x80\x02}q\x00(", "truncated or damaged"),
    ],
)
def test_broken_and_foreign_files_say_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        open_weights(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_files_say_so(tmp_path: Path) -> None:
    whole = tmp_path / "m.safetensors"
    save_file(STATE, whole)
    whole.write_bytes(whole.read_bytes()[:-3])
    with pytest.raises(ModelFileError, match=r"m\.safetensors is truncated: \d+ bytes of \d+"):
        open_weights(whole)
    torch.save({"w": torch.zeros(5000)}, tmp_path / "m.ckpt")
    (tmp_path / "m.ckpt").write_bytes((tmp_path / "m.ckpt").read_bytes()[:9000])
    with pytest.raises(ModelFileError, match=r"m\.ckpt is truncated or damaged"):
        open_weights(tmp_path / "m.ckpt")


def test_missing_files_folders_and_other_pickles(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no weights file"):
        open_weights(tmp_path / "none.ckpt")
    with pytest.raises(ModelFileError, match="is a folder"):
        open_weights(tmp_path)
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(ModelFileError, match="holds a Tensor, not named tensors"):
        open_weights(tmp_path / "tensor.pt")


def test_shards_are_one(tmp_path: Path) -> None:
    for number, (key, value) in enumerate(STATE.items()):
        save_file({key: value}, tmp_path / f"{number}.safetensors")
    weights = join_weights(tmp_path, [open_weights(tmp_path / f"{number}.safetensors") for number in (0, 1)])
    assert torch.equal(weights.read_as("a.weight", torch.float16), STATE["a.weight"].half())
    assert torch.equal(weights.read("b"), STATE["b"])
