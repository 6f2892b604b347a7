"""The models folders: names, hashes, listings, and which loaded models are kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from hires.errors import ModelFileError
from hires.models.hashes import CACHE_NAME, HashCache, legacy_hash, lora_hash
from hires.models.inspection import inspect
from hires.models.names import split_title
from hires.models.store import ModelStore


def empty_file(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Folders of both dialects."""
    root = tmp_path / "models"
    for name in (
        "checkpoints/anime/Dream v1.2.safetensors",
        "checkpoints/photo/Dream v1.2.safetensors",
        "checkpoints/Plain.ckpt",
        "checkpoints/notes.txt",
        "checkpoints/.hidden.safetensors",
        "Stable-diffusion/sub/Other.safetensors",
        "ESRGAN/4x_Sharp.pth",
        "RealESRGAN/RealESRGAN_x4plus.pth",
        "unet/net.safetensors",
    ):
        empty_file(root / name, name.encode() * 3)
    empty_file(tmp_path / "embeddings/bad hands.pt")
    folder = root / "checkpoints/pipeline"
    empty_file(folder / "model_index.json", b"{}")
    empty_file(folder / "unet/diffusion_pytorch_model.safetensors")
    return ModelStore([root], cache_dir=tmp_path / "cache")


def test_names_are_relative_sorted_and_from_both_dialects(store: ModelStore) -> None:
    assert store.names("checkpoints") == [
        "Plain.ckpt",
        os.path.join("anime", "Dream v1.2.safetensors"),
        os.path.join("photo", "Dream v1.2.safetensors"),
        "pipeline",
        os.path.join("sub", "Other.safetensors"),
    ]
    assert store.names("upscale_models") == ["4x_Sharp.pth", "RealESRGAN_x4plus.pth"]
    assert store.names("embeddings") == ["bad hands.pt"]
    assert store.names("unet") == store.names("diffusion_models") == ["net.safetensors"]
    assert store.names("vae") == []


def test_a_name_comes_before_those_that_go_on_after_it(tmp_path: Path) -> None:
    for name in ("sd-inpainting.safetensors", "sd.safetensors", "sd-2.ckpt", "sd.ckpt"):
        empty_file(tmp_path / "checkpoints" / name)
    names = ModelStore([tmp_path], cache_dir=tmp_path / "cache").names("checkpoints")
    assert names == ["sd.ckpt", "sd.safetensors", "sd-2.ckpt", "sd-inpainting.safetensors"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("anime/Dream v1.2.safetensors", "anime/Dream v1.2.safetensors"),
        ("anime\\Dream v1.2.safetensors", "anime/Dream v1.2.safetensors"),
        ("ANIME/dream V1.2.SAFETENSORS", "anime/Dream v1.2.safetensors"),
        ("photo/Dream_v1.2", "photo/Dream v1.2.safetensors"),
        ("Other.safetensors", "sub/Other.safetensors"),
        ("other", "sub/Other.safetensors"),
        ("plain [0123456789]", "Plain.ckpt"),
        ("pipeline", "pipeline"),
    ],
)
def test_find(store: ModelStore, name: str, found: str) -> None:
    path = store.find("checkpoints", name)
    assert path.as_posix().endswith(f"/{found}")


def test_find_by_hash(store: ModelStore, tmp_path: Path) -> None:
    path = store.find("checkpoints", "Plain.ckpt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in (digest, digest[:10], digest[:10].upper(), f"renamed.safetensors [{digest[:10]}]"):
        assert store.find("checkpoints", name) == path
    large = empty_file(path.parent / "large.ckpt", os.urandom(0x110000))
    assert store.find("checkpoints", f"gone [{legacy_hash(large)}]") == large
    assert store.hash("checkpoints", "Plain") == digest[:10]
    assert store.hash("checkpoints", "pipeline") == ""


@pytest.mark.parametrize("kind", ["checkpoints", "vae", "loras", "upscale_models"])
def test_a_hash_goes_before_a_name(kind: str, tmp_path: Path) -> None:
    """Of two files the one with the hash; of none with it the one of the name."""
    folder = tmp_path / "models" / kind
    folder.mkdir(parents=True)
    save_file({"a": torch.ones(2)}, folder / "mine.safetensors")
    save_file({"a": torch.zeros(2)}, folder / "moved.safetensors")
    store = ModelStore([tmp_path / "models"])
    own, other = store.hash(kind, "mine"), store.hash(kind, "moved")
    assert store.find(kind, f"mine [{own}]") == folder / "mine.safetensors"
    assert store.find(kind, f"mine [{other}]") == folder / "moved.safetensors"
    assert store.find(kind, f"gone [{other.upper()}]") == folder / "moved.safetensors"
    assert store.find(kind, "mine [0123456789]") == folder / "mine.safetensors"
    assert store.has_hash(kind, folder / "moved.safetensors", other)
    assert not store.has_hash(kind, folder / "moved.safetensors", own)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "..", "", "checkpoints/../../outside", "notes.txt"]
)
def test_names_never_leave_the_folders(store: ModelStore, tmp_path: Path, name: str) -> None:
    empty_file(tmp_path / "outside.safetensors")
    with pytest.raises(ModelFileError, match=r"no file .* among the 5 checkpoints in "):
        store.find("checkpoints", name)


def test_errors_name_close_files_and_folders(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"Did you mean 'Plain\.ckpt'"):
        store.find("checkpoints", "Plan.safetensors")
    with pytest.raises(ModelFileError, match=r"Did you mean .*Dream v1\.2.* or .*Dream"):
        store.find("checkpoints", "Dream v1.2")  # two files have that name
    with pytest.raises(ModelFileError, match=r"there is no folder for vae.*models.vae") as caught:
        store.find("vae", "x.safetensors")
    assert "pocket" not in str(caught.value), "the package's own folder is nobody's to fill"
    with pytest.raises(ModelFileError, match="no kind of model 'cookies'"):
        store.names("cookies")


@given(st.text(max_size=60))
def test_any_text_is_a_file_of_the_folder_or_an_error(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.getbasetemp() / "one"
    path = empty_file(root / "checkpoints" / "a.safetensors")
    try:
        assert ModelStore([root]).find("checkpoints", name) == path
    except ModelFileError as problem:
        assert "\n" not in str(problem)


def test_split_title() -> None:
    assert split_title("a b.ckpt [0a1b2c3d4e]") == ("a b.ckpt", "0a1b2c3d4e")
    assert split_title("deadbeef") == ("deadbeef", "deadbeef")
    assert split_title("model [x]") == ("model [x]", None)


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "m.ckpt", b"one")
    cache = tmp_path / "cache"
    assert HashCache(cache).sha256(path) == hashlib.sha256(b"one").hexdigest()
    stored = cache / CACHE_NAME
    stored.write_text(stored.read_text().replace(hashlib.sha256(b"one").hexdigest(), "f" * 64))
    assert HashCache(cache).short(path) == "f" * 10  # from the file
    path.write_bytes(b"two two")
    assert HashCache(cache).short(path) == hashlib.sha256(b"two two").hexdigest()[:10]
    stored.write_text("broken")
    assert HashCache(cache).short(path) == hashlib.sha256(b"two two").hexdigest()[:10]
    assert [file.name for file in cache.iterdir()] == [CACHE_NAME]


def test_lora_hash_is_the_stated_one_or_that_of_the_tensors(tmp_path: Path) -> None:
    tensors = {"lora_unet_x.lora_down.weight": torch.ones(2, 3)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"note": "one"})
    save_file(tensors, tmp_path / "b.safetensors", metadata={"note": "another, longer"})
    expected = hashlib.sha256(torch.ones(2, 3).numpy().tobytes()).hexdigest()[:12]
    assert lora_hash(tmp_path / "a.safetensors") == lora_hash(tmp_path / "b.safetensors") == expected
    save_file(tensors, tmp_path / "c.safetensors", metadata={"sshs_model_hash": "AB" * 32})
    assert lora_hash(tmp_path / "c.safetensors") == "ab" * 6
    plain = empty_file(tmp_path / "d.pt", b"not safetensors")
    assert lora_hash(plain) == hashlib.sha256(b"not safetensors").hexdigest()[:12]


def test_listing(thin_models: Path, tmp_path: Path) -> None:
    store = ModelStore([thin_models], cache_dir=tmp_path)
    lines = {line.name: line for line in store.models()}
    facts = {name: (line.kind, line.family, line.precision) for name, line in lines.items()}
    assert facts == {
        "thin_sd15.safetensors": ("checkpoint", "sd1", "float32"),
        "thin_sd15_inpainting.safetensors": ("checkpoint", "sd1", "float32"),
        "thin_sdxl_base.safetensors": ("checkpoint", "sdxl", "float32"),
        "thin_sdxl_refiner.safetensors": ("checkpoint", "sdxl_refiner", "float32"),
        "lora_thin_sd15.safetensors": ("lora", "", "float32"),
        "embedding_thin_sd15.safetensors": ("embedding", "", "float32"),
        "upscaler_compact_x4.safetensors": ("upscaler", "", "float32"),
        "upscaler_esrgan_x4.safetensors": ("upscaler", "", "float32"),
    }
    base = lines["thin_sdxl_base.safetensors"]
    assert base.size == base.path.stat().st_size and len(base.hash) == 10 and base.problem == ""
    assert len(lines["lora_thin_sd15.safetensors"].hash) == 12
    known = {line.name: line.hash for line in ModelStore([thin_models], cache_dir=tmp_path).models(with_hash=False)}
    assert known["thin_sdxl_base.safetensors"] == base.hash


def test_inspect_tells_kinds_apart(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.zeros(2, 768)}, "name": "x"}, tmp_path / "word.pt")
    torch.save({"params_ema": {"conv_first.weight": torch.zeros(4, 3, 3, 3)}}, tmp_path / "up.pth")
    assert inspect(tmp_path / "word.pt").kind == "embedding"
    assert inspect(tmp_path / "up.pth").kind == "upscaler"
    words = {"text_model.embeddings.token_embedding.weight": torch.zeros(9, 768)}
    vision = {"vision_model.encoder.layers.0.layer_norm1.weight": torch.zeros(3)}
    save_file(words | vision, tmp_path / "clip.safetensors")
    save_file(vision, tmp_path / "vision.safetensors")
    clip = inspect(tmp_path / "clip.safetensors")
    assert (clip.kind, clip.family, clip.problem) == ("text_encoder", "CLIP-L", "")
    assert "this is a CLIP vision model" in inspect(tmp_path / "vision.safetensors").problem


def test_inspect_says_what_is_wrong(tmp_path: Path) -> None:
    line = inspect(empty_file(tmp_path / "photo.safetensors", b"\xff\xd8\xff\xe0" + bytes(50)))
    assert line.kind == "unknown" and "it is a JPEG picture" in line.problem
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, tmp_path / "f.safetensors")
    assert "this is Flux" in inspect(tmp_path / "f.safetensors").problem


def test_models_are_kept_within_the_limit_but_always_two(thin_models: Path, tmp_path: Path) -> None:
    names = ("thin_sd15", "thin_sdxl_base", "thin_sdxl_refiner")
    small = ModelStore([thin_models], cache_dir=tmp_path, loaded_bytes=1)
    base, refiner = small.checkpoint("thin_sdxl_base"), small.checkpoint("thin_sdxl_refiner")
    assert small.checkpoint("thin_sdxl_base.safetensors") is base
    assert small.checkpoint("thin_sdxl_refiner") is refiner
    small.checkpoint("thin_sd15")  # drops the base, which was used longest ago
    assert small.checkpoint("thin_sdxl_refiner") is refiner
    assert small.checkpoint("thin_sdxl_base") is not base
    roomy = ModelStore([thin_models], cache_dir=tmp_path)
    kept = [roomy.checkpoint(name) for name in names]
    assert all(roomy.checkpoint(name) is one for name, one in zip(names, kept, strict=True))
    roomy.forget()
    assert roomy.checkpoint("thin_sd15") is not kept[0]


def test_store_loads_parts_and_attaches_embeddings(thin_models: Path, tmp_path: Path) -> None:
    store = ModelStore([thin_models], cache_dir=tmp_path / "cache")
    checkpoint = store.checkpoint("thin_sd15")
    assert checkpoint.clip is not None and checkpoint.clip.embedding_dirs == (thin_models / "embeddings",)
    assert store.checkpoint("thin_sd15", prediction="v").prediction == "v"
    assert store.vae("thin_sd15").identity == getattr(checkpoint.vae, "identity", None)
    with pytest.raises(ModelFileError, match="no file 'nothing'"):
        store.vae("nothing")


def test_a_changed_file_is_loaded_again(thin_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    shutil.copy(thin_models / "checkpoints" / "thin_sd15.safetensors", folder / "m.safetensors")
    store = ModelStore([tmp_path])
    first = store.checkpoint("m")
    shutil.copy(thin_models / "checkpoints" / "thin_sdxl_base.safetensors", folder / "m.safetensors")
    assert store.checkpoint("m").family == "sdxl" and first.family == "sd1"
