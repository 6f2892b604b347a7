"""`hires merge` and Engine.merge: checkpoints in, a new one out that loads and draws."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from hires.api import Engine
from hires.cli import app
from hires.errors import Interrupted, ModelFileError, OutputError, SettingError
from hires.merging import Merge, file_name, merge
from hires.settings import Settings


@pytest.fixture(scope="module")
def models(thin_models: Path, tmp_path_factory: pytest.TempPathFactory, write_checkpoint: Callable[..., Path]) -> Path:
    """Two SD 1.x checkpoints, one for inpainting, one SDXL."""
    root = tmp_path_factory.mktemp("merge") / "models"
    (root / "checkpoints").mkdir(parents=True)
    names = {"thin_sd15": "a", "thin_sd15_inpainting": "inpaint", "thin_sdxl_base": "xl"}
    for layout, name in names.items():
        source = thin_models / "checkpoints" / f"{layout}.safetensors"
        shutil.copyfile(source, root / "checkpoints" / f"{name}.safetensors")
    write_checkpoint("thin_sd15_inpainting", root / "checkpoints" / "b.safetensors")
    # another seed's weights in the first layout
    from safetensors.torch import save_file

    first = load_file(root / "checkpoints" / "a.safetensors")
    with safe_open(root / "checkpoints" / "a.safetensors", framework="pt") as file:
        metadata = file.metadata()
    other = {key: value.flip(0) if value.is_floating_point() else value for key, value in first.items()}
    (root / "checkpoints" / "b.safetensors").unlink()
    save_file(
        {key: value.contiguous() for key, value in other.items()}, root / "checkpoints" / "b.safetensors", metadata
    )
    return root


@pytest.fixture
def engine(models: Path, tmp_path: Path) -> Engine:
    own = tmp_path / "models"
    shutil.copytree(models, own, copy_function=shutil.os.link)  # type: ignore[attr-defined]
    return Engine(Settings(models_dir=own, output_dir=tmp_path / "out", cache_dir=tmp_path / "cache", device="cpu"))


def draw(engine: Engine, checkpoint: str) -> np.ndarray:
    drawn = engine.txt2img(prompt="a cat", checkpoint=checkpoint, width=64, height=64, steps=1, seed=1)
    return np.asarray(drawn.pictures[0])


def test_a_merge_loads_draws_and_says_what_it_is_made_of(engine: Engine) -> None:
    nothing = engine.merge(Merge("a", "b", multiplier=0.0))
    assert nothing.path == engine.settings.models_dir / "checkpoints" / "1.0(a) + 0.0(b).safetensors"
    assert np.array_equal(draw(engine, nothing.path.name), draw(engine, "a"))
    some = engine.merge(Merge("a", "b", multiplier=0.5))
    assert not np.array_equal(draw(engine, some.path.name), draw(engine, "a"))
    with safe_open(some.path, framework="pt") as file:
        metadata = file.metadata()
    recipe, used = json.loads(metadata["sd_merge_recipe"]), json.loads(metadata["sd_merge_models"])
    sha256 = engine.store.hashes.sha256(engine.store.find("checkpoints", "a"))
    assert (recipe["interp_method"], recipe["multiplier"], recipe["type"]) == ("Weighted sum", 0.5, "webui")
    assert recipe["primary_model_hash"] == sha256 and recipe["tertiary_model_hash"] is None
    assert {entry["name"] for entry in used.values()} == {"a", "b"}
    assert "hires.config" in metadata
    again = engine.merge(Merge(some.path.stem, "a", multiplier=0.1))
    with safe_open(again.path, framework="pt") as file:
        family = json.loads(file.metadata()["sd_merge_models"])
    assert len(family) == 3 and {entry["name"] for entry in family.values()} >= {"a", "b"}


def test_an_inpainting_merge_carries_it_in_its_name_and_draws(engine: Engine) -> None:
    made = engine.merge(Merge("inpaint", "b", "a", method="add difference", multiplier=1.0))
    assert made.path.name == "inpaint + 1.0(b - a).inpainting.safetensors"
    assert draw(engine, made.path.name).shape == (64, 64, 3)


def test_a_vae_is_baked_in_and_only_half_is_written(engine: Engine) -> None:
    made = engine.merge(Merge("a", method="no interpolation", vae="b", half=True), engine.settings.output_dir / "n.sft")
    tensors, own, other = (
        load_file(path)
        for path in (made.path, engine.store.find("checkpoints", "a"), engine.store.find("checkpoints", "b"))
    )
    assert tensors.keys() == own.keys()
    for key, value in tensors.items():
        expected = (other if key.startswith("first_stage_model.") else own)[key]
        assert value.equal(expected.half() if expected.is_floating_point() else expected), key


def test_names_are_the_web_uis() -> None:
    paths = [Path("a.safetensors"), Path("x/b.v2.ckpt"), Path("c.pt")]
    assert file_name(Merge("a", "b"), paths[:2]) == "0.7(a) + 0.3(b.v2).safetensors"
    assert file_name(Merge("a", "b", "c", "add difference"), paths) == "a + 0.3(b.v2 - c).safetensors"
    assert file_name(Merge("a", method="no interpolation"), paths[:1]) == "a.safetensors"


def test_what_is_refused(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = engine.settings.models_dir / "checkpoints"
    before = sorted(checkpoints.iterdir())
    with pytest.raises(OutputError, match="is there already"):
        engine.merge(Merge("a", method="no interpolation"))
    with pytest.raises(ModelFileError, match=r"models of several families.*a\.safetensors is sd1.*xl\.safetensors is"):
        engine.merge(Merge("a", "xl"))
    with pytest.raises(ModelFileError, match=r"is an inpainting model .* Choose inpaint"):
        engine.merge(Merge("a", "inpaint"))
    with pytest.raises(SettingError, match="weighted sum takes 2 models, not 1"):
        engine.merge(Merge("a"))
    with pytest.raises(SettingError, match="multiplier must be from 0 to 1"):
        engine.merge(Merge("a", "b", multiplier=1.5))
    with pytest.raises(SettingError, match=r"written as \.safetensors, not \.ckpt"):
        engine.merge(Merge("a", "b"), tmp_path / "x.ckpt")
    engine.stop.set()
    with pytest.raises(Interrupted):
        engine.merge(Merge("a", "b"))
    stop = threading.Event()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(OutputError, match=r"no space left to write .* 0 MB are free"):
        merge(engine.store, Merge("a", "b"), stop=stop)
    assert sorted(checkpoints.iterdir()) == before, "nothing half-written stays"


def test_a_disk_that_fills_while_it_is_written_says_so(engine: Engine, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    from hires.metadata.files import write_new

    def write(path: Path) -> None:
        full.write_bytes(bytes(1 << 20))

    with pytest.raises(OutputError, match="no space left"):
        write_new(tmp_path / "x.safetensors", write)


def test_the_command(engine: Engine, tmp_path: Path) -> None:
    models_dir = str(engine.settings.models_dir)
    out = tmp_path / "new" / "m.safetensors"
    done = CliRunner().invoke(
        app, ["merge", "a", "b", "-M", "0.25", "--half", "--out", str(out), "--models-dir", models_dir]
    )
    assert done.exit_code == 0, done.output
    assert str(out) in done.output and out.is_file()
    again = CliRunner().invoke(app, ["merge", "a", "b", "--out", str(out), "--models-dir", models_dir])
    assert again.exit_code == 2 and "is there already" in again.output
    many = CliRunner().invoke(app, ["merge", "a", "b", "a", "b", "--models-dir", models_dir])
    assert many.exit_code == 2 and "4 models were named" in many.output
