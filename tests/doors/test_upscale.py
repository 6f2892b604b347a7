"""`hires upscale` and Engine.upscale: files in, larger files out, with all that belongs to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from tests.models.face_networks import gfpgan, spot_detector, spotted, thin_parser
from typer.testing import CliRunner

from hires.api import Engine
from hires.cli import app
from hires.errors import ModelFileError, OutputError, SettingError
from hires.imaging.pictures import open_picture
from hires.imaging.png import write_png
from hires.imaging.rasters import open_raster
from hires.metadata.files import picture_texts
from hires.settings import Settings

INFOTEXT = "1girl, smile\nNegative prompt: blurry\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 24x20"
NETWORK = "hires-pocket-x4"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    folders = {"models_dir": tmp_path / "models", "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    return Engine(Settings(**folders, device="cpu"))


def smooth(height: int, width: int, channels: int, dtype: type = np.uint8) -> np.ndarray:
    most = np.iinfo(dtype).max
    y, x = np.mgrid[0:height, 0:width]
    planes = [(np.sin(x / (5 + k)) + np.cos(y / (4 + k)) + 2) / 4 for k in range(channels)]
    return np.rint(np.stack(planes, axis=-1) * most).astype(dtype)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.png"
    write_png(path, smooth(20, 24, 3), {"parameters": INFOTEXT, "prompt": '{"1": {}}'})
    return path


def test_the_texts_go_along_and_what_was_done_is_added(engine: Engine, drawn: Path) -> None:
    done = engine.upscale(drawn, upscaler=NETWORK, scale=2)
    assert done.path == engine.settings.output_dir / "drawn_00001_.png"
    assert done.picture.size == (48, 40)
    texts = picture_texts(done.picture)
    assert texts["parameters"] == INFOTEXT and texts["prompt"] == '{"1": {}}'
    assert texts["extras"] == texts["postprocessing"]
    assert texts["extras"] == f"Postprocess upscale by: 2, Postprocess upscaler: {NETWORK}"
    again = engine.upscale(done.path, upscaler="Lanczos", width=64, height=64)
    assert picture_texts(again.picture)["extras"].split("\n")[1].startswith("Postprocess upscale to: 64x64")


def test_a_jpeg_holds_the_infotext_with_what_was_done_at_its_end(engine: Engine, drawn: Path, tmp_path: Path) -> None:
    done = engine.upscale(drawn, upscaler="Lanczos", scale=2, out=tmp_path / "larger.jpeg")
    assert done.path == tmp_path / "larger.jpeg"
    text = picture_texts(open_picture(done.path))["parameters"]
    assert text == f"{INFOTEXT}, Postprocess upscale by: 2, Postprocess upscaler: Lanczos"


def test_tiles_do_not_change_the_file(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    write_png(path, smooth(90, 70, 3))
    one = engine.upscale(path, upscaler=NETWORK, scale=4)
    many = engine.upscale(path, upscaler=NETWORK, scale=4, tile=24)
    assert any("in one piece" in note for note in one.notes)
    assert any("tiles" in note for note in many.notes)
    difference = np.asarray(one.picture).astype(int) - np.asarray(many.picture).astype(int)
    assert np.abs(difference).max() <= 1


def test_sixteen_bits_grey_alpha_and_profile_stay(engine: Engine, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for channels in (1, 2, 3, 4):
        path = tmp_path / f"deep{channels}.png"
        source = smooth(24, 20, channels, np.uint16)
        write_png(path, source, icc_profile=profile)
        done = engine.upscale(path, upscaler="Lanczos", scale=2)
        raster, picture = open_raster(done.path)
        assert raster.dtype == np.uint16 and raster.shape == (48, 40, channels)
        assert picture.info["icc_profile"] == profile
        assert len(np.unique(raster[..., 0])) > 256, "finer than 8 bits"
    assert engine.upscale(path, upscaler="Lanczos", scale=2, bits=8).picture.mode == "RGBA"


@pytest.mark.parametrize("upscaler", ["Lanczos", NETWORK])
def test_a_clear_disc_has_no_dark_fringe(engine: Engine, tmp_path: Path, upscaler: str) -> None:
    """A disc of one colour, black where it is clear: wherever the result is seen, it has the disc's colour."""
    y, x = np.mgrid[0:40, 0:40]
    clear = np.clip(12.5 - np.hypot(x - 19.5, y - 19.5), 0, 1)
    colour = np.array([200, 120, 60])
    disc = np.concatenate([np.where(clear[..., None] > 0, colour, 0), np.rint(clear * 255)[..., None]], axis=-1)
    path = tmp_path / "disc.png"
    write_png(path, disc.astype(np.uint8))
    done = engine.upscale(path, upscaler=upscaler, scale=4)
    raster, _ = open_raster(done.path)
    assert raster.shape == (160, 160, 4)
    flat = np.broadcast_to(colour, (40, 40, 3)).astype(np.uint8)
    plain = tmp_path / "flat.png"
    write_png(plain, flat)
    expected, _ = open_raster(engine.upscale(plain, upscaler=upscaler, scale=4).path)
    seen = raster[..., 3] > 0
    assert np.abs(raster[..., :3].astype(int) - expected.astype(int))[seen].max() <= 1
    assert raster[80, 80, 3] >= 250 and raster[2, 2, 3] <= 5


def test_two_upscalers_are_blended(engine: Engine, drawn: Path) -> None:
    one, two = (
        np.asarray(engine.upscale(drawn, upscaler=name, scale=3).picture, dtype=float)
        for name in ("Lanczos", "Nearest")
    )
    both = engine.upscale(drawn, upscaler="Lanczos", upscaler_2="nearest", visibility=0.25, scale=3)
    assert np.abs(np.asarray(both.picture) - (0.75 * one + 0.25 * two)).max() <= 1.01


def test_wrapped_opposite_borders_go_on(engine: Engine, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path, turned = tmp_path / "texture.png", tmp_path / "turned.png"
    texture = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    write_png(path, texture)
    write_png(turned, np.roll(texture, (16, 16), axis=(0, 1)))
    first = np.asarray(engine.upscale(path, upscaler=NETWORK, scale=2, edge="wrap").picture, dtype=int)
    second = np.asarray(engine.upscale(turned, upscaler=NETWORK, scale=2, edge="wrap").picture, dtype=int)
    assert np.abs(np.roll(first, (32, 32), axis=(0, 1)) - second).max() <= 1


def test_none_changes_nothing_and_mistakes_are_told(engine: Engine, drawn: Path, tmp_path: Path) -> None:
    same = engine.upscale(drawn, upscaler="None", scale=4)
    assert same.picture.tobytes() == open_picture(drawn).tobytes()
    out = tmp_path / "there.png"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="is there already"):
        engine.upscale(drawn, out=out)
    assert out.read_bytes() == b"mine"
    with pytest.raises(ModelFileError, match=r"R-ESRGAN 4x\+ needs the file RealESRGAN_x4plus\.pth"):
        engine.upscale(drawn, upscaler="r-esrgan 4x+")
    with pytest.raises(SettingError, match="could not find upscaler named 'nothing'"):
        engine.upscale(drawn, upscaler="nothing")
    with pytest.raises(SettingError, match="the enlarged picture"):
        engine.upscale(drawn, upscaler="Lanczos", width=16000, height=16000)


def test_folders_are_walked_and_a_broken_file_does_not_stop_the_others(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HIRES_DEVICE", "cpu")
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    drawn.rename(folder / "a.png")
    Image.new("RGB", (20, 20), "red").save(folder / "inner" / "b.jpg")
    (folder / "broken.png").write_bytes(b"no picture")
    flags = ["--by", "2", "--upscaler", "lanczos", "--output-dir", str(tmp_path / "o")]
    result = CliRunner().invoke(app, ["upscale", str(folder), "--recursive", *flags])
    assert result.exit_code == 2
    assert "broken.png" in result.output and "[3/3]" in result.output
    made = sorted(path.relative_to(tmp_path / "o").as_posix() for path in (tmp_path / "o").rglob("*.png"))
    assert made == ["a_00001_.png", "inner/b_00001_.png"]
    planned = CliRunner().invoke(app, ["upscale", str(folder / "a.png"), "--by", "3", "--upscaler", NETWORK, "--plan"])
    assert planned.exit_code == 0 and "24x20 to 72x60" in planned.output and "in one piece" in planned.output


def test_a_rotated_photograph_comes_out_upright(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    Image.fromarray(smooth(20, 32, 3)).save(path, exif=exif)
    done = engine.upscale(path, upscaler="Lanczos", scale=2)
    assert done.picture.size == (40, 64)
    assert done.picture.getexif().get(0x010F) == "Maker" and 0x0112 not in done.picture.getexif()


def test_the_web_uis_tiles_are_eight_bits_and_said(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, smooth(90, 70, 3))
    fields = {"upscaler": "hires-pocket-x4", "scale": 2, "rule": "webui"}
    exact, webui = engine.upscale(path, **fields), engine.upscale(path, **fields, tiling="a1111", tile=64)
    assert webui.picture.size == exact.picture.size == (136, 176)
    assert webui.notes[0].startswith("enlarging as A1111: 70x90 in 4 tiles (2x2)")
    assert "Postprocess tiling: a1111" in webui.picture.info["extras"]
    difference = np.abs(np.asarray(exact.picture, dtype=int) - np.asarray(webui.picture))
    assert 0 < difference.max() < 40 and np.median(difference) <= 1


def test_a_face_restorer_that_is_missing_is_told_before_anything_is_done(drawn: Path, tmp_path: Path) -> None:
    words = ["upscale", str(drawn), "--codeformer-visibility", "1", "--models-dir", str(tmp_path / "models")]
    result = CliRunner().invoke(app, [*words, "--output-dir", str(tmp_path / "out"), "--device", "cpu"])
    assert result.exit_code == 2
    assert "the face restorer CodeFormer needs the file codeformer-v0.1.0.pth, which is not there" in result.output
    assert f"Put it into {tmp_path / 'models' / 'Codeformer'}" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_faces_of_an_enlarged_picture_are_restored(engine: Engine, tmp_path: Path) -> None:
    """GFPGAN's own size, with random weights: the file is loaded, the face found, and only it changes."""
    folder = engine.settings.models_dir / "GFPGAN"
    folder.mkdir(parents=True)
    torch.save({"params_ema": gfpgan(1).state_dict()}, folder / "GFPGANv1.4.pth")
    torch.save(spot_detector().state_dict(), folder / "detection_Resnet50_Final.pth")
    torch.save(thin_parser(1).state_dict(), folder / "parsing_parsenet.pth")
    source = tmp_path / "face.png"
    Image.fromarray((spotted(640, 800, (320, 320)) * 255).byte().numpy()).save(source)
    plain = engine.upscale(source, upscaler="Nearest", scale=2)
    done = engine.upscale(source, upscaler="Nearest", scale=2, gfpgan_visibility=0.5)
    assert done.picture.size == (1600, 1280) and "GFPGAN: 1 face" in done.notes
    assert picture_texts(done.picture)["extras"].endswith("Postprocess upscaler: Nearest, GFPGAN visibility: 0.5")
    before, after = (np.asarray(each.picture).astype(int) for each in (plain, done))
    changed = np.abs(before - after).max(axis=2) > 0
    rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
    # the face: 512 upright pixels of half a pixel each, around (336, 336), twice enlarged
    assert rows[0] >= 2 * (336 - 130) and rows[-1] <= 2 * (336 + 130)
    assert columns[0] >= 2 * (336 - 130) and columns[-1] <= 2 * (336 + 130)
    alone = engine.upscale(source, upscaler="None", gfpgan_visibility=1.0)
    assert alone.picture.size == (800, 640) and picture_texts(alone.picture)["extras"] == "GFPGAN visibility: 1"
    (folder / "GFPGANv1.4.pth").unlink()
