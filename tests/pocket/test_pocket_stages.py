"""Every stage on eight tiny drawings: it runs, resumes to the same bits, and what it exports loads and draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

from hires.commands.training import app
from hires.errors import SettingError
from hires.models.checkpoint import load_checkpoint
from hires.models.native import native_size
from hires.pocket import shards
from hires.pocket.drawing import random_scene
from hires.pocket.export import export_model
from hires.pocket.latents import encode_shards
from hires.pocket.networks import Sizes, build_vae, orthogonal, start_default, start_vae
from hires.pocket.shards import Plan, Shards, shard_sizes, views, windows, write_shard, write_shards
from hires.pocket.train_model import (
    OFTEN,
    ModelRecipe,
    ModelStage,
    alphas_cumprod,
    choose_views,
    counts,
    dropped,
    snr_weight,
    stratified_timesteps,
)
from hires.pocket.train_vae import VaeRecipe, VaeStage, as_signed, from_signed, trained_vae
from hires.pocket.training import Limits, Stage, train
from hires.pocket.upscaler import UpscalerRecipe, UpscalerStage
from hires.pocket.words import VOCABULARY, Words, clip_ids
from hires.text.encode import encode_comfy

CPU = torch.device("cpu")
TINY = Sizes(vae=(8, 8, 8, 8), unet=(32, 32), unet_heads=2, text_width=32, text_layers=1, text_heads=2)
PLAN = Plan(scenes=8, size=64, captions=2)
LIMITS = Limits(2, log_every=1, sheet_every=2)


def quiet(line: str) -> None:
    assert line


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("drawings")
    write_shards(folder, PLAN, 1)
    return Shards(folder)


@pytest.fixture(scope="module")
def vae_folder(drawings: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    train(vae_stage(drawings), folder, LIMITS, say=quiet)
    return folder


def vae_stage(drawings: Shards) -> VaeStage:
    return VaeStage(drawings, VaeRecipe(batch=2, crop=32, adversary_from=0.3, decoder_from=0.6, sizes=TINY), CPU)


def upscaler_stage(drawings: Shards) -> UpscalerStage:
    return UpscalerStage(drawings, UpscalerRecipe(features=8, convolutions=1, batch=2, crop=32), CPU)


def model_stage(
    drawings: Shards, vae_folder: Path, folder: Path, threads: int = 1, *, muon: bool = True, short: bool = False
) -> ModelStage:
    vae = trained_vae(vae_folder)
    latents = encode_shards(drawings, vae, folder, CPU)
    recipe = ModelRecipe(batch=4, sizes=TINY, threads=threads, short=short)
    if not muon:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, muon_rate=None))
    return ModelStage(latents, Words.of_captions(latents.captions), vae, recipe, CPU)


def weights(stage: Stage) -> list[torch.Tensor]:
    states = [learner.state() for learner in stage.learners.values()]
    return [value for state in states for part in ("network", "average") for value in state[part].values()]


@pytest.mark.parametrize("kind", ["vae", "upscaler", "model"])
def test_a_stage_resumes_to_the_same_bits(kind: str, drawings: Shards, vae_folder: Path, tmp_path: Path) -> None:
    def stage() -> Stage:
        if kind == "model":
            return model_stage(drawings, vae_folder, tmp_path / "latents")
        return vae_stage(drawings) if kind == "vae" else upscaler_stage(drawings)

    limits = Limits(4, log_every=2, sheet_every=4)
    whole, resumed = stage(), stage()
    before = [value.clone() for value in weights(whole)]
    train(whole, tmp_path / "whole", limits, say=quiet)
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(whole), strict=True))
    for _ in range(4):
        train(stage(), tmp_path / "parts", Limits(4, minutes=0.0, log_every=2, sheet_every=4), say=quiet)
    assert train(resumed, tmp_path / "parts", limits, say=quiet) == 4
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert (tmp_path / "whole" / "sheet_000004.png").exists()


def test_parts_of_a_batch_at_once_learn_what_the_whole_learns(
    drawings: Shards, vae_folder: Path, tmp_path: Path
) -> None:
    alone, beside = (
        # Muon rounds to bfloat16, and a last bit of a gradient moves its steps by percents
        model_stage(drawings, vae_folder, tmp_path / str(threads), threads, muon=False)
        for threads in (1, 3)
    )
    before = [one.clone() for one in alone.learner.network.parameters()]
    for index in range(3):
        first, second = (stage.step(index, 0.0, 1.0) for stage in (alone, beside))
        for name in first:
            assert second[name].item() == pytest.approx(first[name].item(), rel=1e-4)
    pairs = zip(before, alone.learner.network.parameters(), beside.learner.network.parameters(), strict=True)
    moved = [(torch.dist(one, start).item(), torch.dist(one, other).item()) for start, one, other in pairs]
    assert sum(apart for _, apart in moved) < 1e-2 * sum(way for way, _ in moved)


def test_faces_count_more_where_they_are(drawings: Shards) -> None:
    size, weight = PLAN.size, 4.0
    recipe = VaeRecipe(batch=6, crop=size, faces=0.0, face_weight=weight, sizes=TINY)
    pixels, weights = VaeStage(drawings, recipe, CPU).batch(0)
    pictures = {(s, v): as_signed(drawings.picture(s, v)[None], CPU)[0] for s in range(8) for v in range(3)}
    down, across = np.mgrid[:size, :size]
    mirrored = 0
    for crop, count in zip(pixels, weights / weights.min(), strict=True):
        found = [(key, flip) for key, each in pictures.items() for flip in (False, True)
                 if torch.equal(crop, each.flip(-1) if flip else each)]  # fmt: skip
        (scene, view), flip = found[0]
        x, y, radius = drawings.face(scene, view)
        face = np.maximum(abs(across - x), abs(down - y)) <= 1.1 * radius
        wanted = np.where(face[:, ::-1] if flip else face, weight, 1.0)
        if face.any() and not face.all():
            assert np.allclose(count[0].numpy(), wanted, rtol=1e-5)
        mirrored += flip
    assert 0 < mirrored < 6
    assert float(weights.mean()) == pytest.approx(1.0)


def test_faces_lie_in_windows_where_they_were_drawn(drawings: Shards) -> None:
    for scene in range(8):
        drawn, size = random_scene(PLAN.seed + scene), PLAN.size
        x, y, radius = drawings.face(scene, 0)
        assert (x, y, radius) == pytest.approx((size * (drawn.x + 0.5), size * drawn.y, size * drawn.size))
        boxes = windows(drawn, size, np.random.default_rng([PLAN.seed + scene, 1]))
        for view, scale in ((1, 2), (2, 3)):
            left, top, *_ = boxes[view]
            moved = drawings.face(scene, view)
            assert moved == pytest.approx((scale * (x - left * size), scale * (y - top * size), scale * radius))


def test_short_products_train_nearly_alike(drawings: Shards, vae_folder: Path, tmp_path: Path) -> None:
    plain, short = (model_stage(drawings, vae_folder, tmp_path, short=short) for short in (False, True))
    for index in range(2):
        first, second = (stage.step(index, 0.0, 1.0)["loss"].item() for stage in (plain, short))
        assert second == pytest.approx(first, rel=2e-2)
    assert plain.learner.state()["network"].keys() == short.learner.state()["network"].keys()


def test_the_encoder_is_frozen_at_the_end(drawings: Shards) -> None:
    stage = vae_stage(drawings)
    vae = stage.learner.network
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    stage.step(0, 0.9, 1.0)
    moved = {name.split(".")[0] for name, value in vae.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"decoder", "post_quant_conv"}


def test_the_discriminator_learns_only_from_its_share_on(drawings: Shards) -> None:
    stage = vae_stage(drawings)
    judge = stage.adversary.network.state_dict()
    before = {name: value.clone() for name, value in judge.items()}
    stage.step(0, 0.2, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in judge.items())
    stage.step(1, 0.4, 1.0)
    assert any(not torch.equal(value, before[name]) for name, value in judge.items())


def test_the_exported_checkpoint_loads_and_draws(drawings: Shards, vae_folder: Path, tmp_path: Path) -> None:
    stage = model_stage(drawings, vae_folder, tmp_path / "latents")
    train(stage, tmp_path / "model", LIMITS, say=quiet)
    path = tmp_path / "checkpoints" / "pocket.safetensors"
    export_model(tmp_path / "model", vae_folder, PLAN.size, path)
    loaded = load_checkpoint(path)
    assert loaded.model is not None and loaded.vae is not None and loaded.clip is not None
    assert (loaded.family, loaded.prediction, native_size(path, "sd1")) == ("sd1", "eps", 64)

    caption = stage.latents.captions[0][0]
    context, _ = encode_comfy(loaded.clip, caption)
    average = stage.learner.average
    tokens = torch.from_numpy(stage.words.tokens([caption]))
    with torch.inference_mode():
        expected = average.text(input_ids=tokens)[0]  # type: ignore[operator, union-attr]
    assert torch.allclose(context, expected, atol=2e-2)

    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([500.0])
    with torch.inference_mode():
        raw = average.unet(noise, times, encoder_hidden_states=expected).sample  # type: ignore[operator, union-attr]
    assert torch.allclose(loaded.model.predict(noise, times, context), raw, atol=2e-2)

    pictures = np.stack([drawings.picture(0, 0)])
    latent = loaded.vae.encode(torch.from_numpy(pictures).float() / 255)
    scaled = latent * loaded.vae.latent_scale
    own = torch.from_numpy(stage.latents.read(np.array([0]), np.array([0]))).float() / stage.latents.std
    assert torch.allclose(scaled, own, atol=3e-2), "SD 1.x's factor brings latents to those of the training"
    assert loaded.vae.decode(latent).shape == (1, 64, 64, 3)


def test_latents_are_encoded_once_for_one_vae(drawings: Shards, vae_folder: Path, tmp_path: Path) -> None:
    counted: list[int] = []

    def encode(vae: torch.nn.Module) -> None:
        encode_shards(drawings, vae, tmp_path, CPU, say=lambda done, total: counted.append(done))

    vae = trained_vae(vae_folder)
    encode(vae)
    encode(vae)
    once = list(counted)
    assert once[-1] == 8
    with torch.no_grad():
        vae.decoder.conv_in.weight.add_(1)
    encode(vae)
    assert counted == once, "a decoder that was trained further changes no latent"
    with torch.no_grad():
        vae.encoder.conv_in.weight.add_(1)
    encode(vae)
    assert counted == once + once
    stds = encode_shards(drawings, vae, tmp_path, CPU)
    assert float(np.load(tmp_path / "latents.npy").astype(np.float64).std()) == pytest.approx(stds.std, rel=1e-2)


@given(seed=st.integers(0, 10**6), batch=st.integers(1, 64))
def test_timesteps_are_one_of_each_part(seed: int, batch: int) -> None:
    timesteps = np.sort(stratified_timesteps(batch, np.random.default_rng(seed)))
    edges = np.arange(batch + 1) * 1000 / batch
    assert np.all((timesteps >= np.floor(edges[:-1])) & (timesteps < edges[1:]))


def test_cells_of_the_subject_count_more() -> None:
    recipe = ModelRecipe(face_weight=4.0, subject_weight=2.5)
    faces = np.array([[1, 1, 3, 2], [-9, -9, -5, -5]], np.float32)
    subjects = np.array([[0, 1, 4, 9], [-9, -9, -5, -5]], np.float32)
    inner = [[1, 1, 1, 1], [2.5, 4, 4, 2.5], [2.5] * 4, [2.5] * 4]
    found = counts(faces, subjects, 4, recipe)
    assert found.shape == (2, 1, 4, 4)
    assert found[0, 0] == pytest.approx(np.array(inner) / np.mean(inner))
    assert np.all(found[1] == 1)


def test_what_is_drawn_small_is_learned_more_often(
    drawings: Shards, vae_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = model_stage(drawings, vae_folder, tmp_path)
    framings = stage.latents.framings()
    assert framings == [random_scene(PLAN.seed + scene).framing for scene in range(len(stage.latents))]
    often = np.array([OFTEN[framing] for framing in framings])
    assert stage.chances == pytest.approx(often / often.sum()) and len(set(often)) > 1
    read, taken = stage.latents.read, []
    monkeypatch.setattr(stage.latents, "read", lambda scenes, views: (taken.extend(scenes), read(scenes, views))[1])
    for index in range(500):
        stage.batch(index)
    assert np.bincount(taken, minlength=8) / len(taken) == pytest.approx(stage.chances, abs=0.04)


def test_boxes_are_where_the_face_is(drawings: Shards, vae_folder: Path, tmp_path: Path) -> None:
    latents = model_stage(drawings, vae_folder, tmp_path).latents
    scenes, views = np.arange(8).repeat(3), np.tile(np.arange(3), 8)
    faces, subjects = (latents.boxes(name, scenes, views) for name in ("face", "subject"))
    for scene, view, face, subject in zip(scenes, views, faces, subjects, strict=True):
        x, y, radius = (each / 8 for each in drawings.face(int(scene), int(view)))
        assert face[0] < x < face[2] and face[1] < y + 0.5 * radius < face[3]
        assert 1.8 * radius < face[2] - face[0] < 2 * radius
        assert subject[0] < face[0] and subject[1] < face[1] and face[2] < subject[2] and face[3] < subject[3]


def test_the_loss_counts_faces_and_the_curve_does_not(drawings: Shards, vae_folder: Path, tmp_path: Path) -> None:
    stage = model_stage(drawings, vae_folder, tmp_path)
    batch = stage.batch(0)
    ones, shared = torch.ones_like(batch.counts), (batch.latents, batch.latents, batch.timesteps, batch.tokens)
    plain, without = stage.part(*shared, ones)
    errors, gradients = stage.part(*shared, batch.counts)
    double, doubled = stage.part(*shared, 2 * ones)
    assert torch.equal(errors, plain) and torch.equal(errors, double)
    known = [pair for pair in zip(without, doubled, gradients, strict=True) if pair[0] is not None]
    assert all(torch.allclose(2 * one, two, rtol=1e-4, atol=1e-9) for one, two, _ in known if two is not None)
    assert any(not torch.allclose(one, three) for one, _, three in known if three is not None)


@given(seed=st.integers(0, 10**6))
def test_enlarged_windows_only_at_low_noise(seed: int) -> None:
    timesteps = np.arange(1000)
    chosen = choose_views(timesteps, 3, ModelRecipe(), np.random.default_rng(seed))
    assert np.all(chosen[650:] == 0)
    assert abs(np.mean(chosen[:650] > 0) - ModelRecipe().enlarged) < 0.1
    assert set(chosen.tolist()) == {0, 1, 2}


def test_the_share_of_dropped_captions() -> None:
    lost = dropped(20000, 0.1, np.random.default_rng(0))
    assert np.mean(lost) == pytest.approx(0.1, abs=0.01)
    assert not dropped(100, 0.0, np.random.default_rng(0)).any() and dropped(100, 1.0, np.random.default_rng(0)).all()


def test_a_dropped_caption_is_the_empty_one(drawings: Shards, vae_folder: Path, tmp_path: Path) -> None:
    stage = model_stage(drawings, vae_folder, tmp_path)
    kept = stage.batch(0).tokens
    stage.recipe = ModelRecipe(batch=4, dropout=1.0, sizes=TINY)
    tokens = stage.batch(0).tokens
    assert np.array_equal(tokens.numpy(), np.tile(stage.words.empty, (4, 1)))
    assert not torch.equal(kept, tokens)


def test_the_weight_is_min_snr_over_snr() -> None:
    alphas = torch.tensor([0.5, 0.9])  # SNR 1 and 9
    assert snr_weight(alphas).tolist() == pytest.approx([1, 5 / 9])
    # Stable Diffusion's own schedule ends at this sigma
    last = alphas_cumprod()[-1]
    assert float(((1 - last) / last).sqrt()) == pytest.approx(14.6146, abs=1e-3)


def test_words_are_clips() -> None:
    words = Words.of_captions([["1girl, blue sky"], ["1boy"]])
    assert [words.used[word] for word in words.tokens(["1girl, blue sky"])[0]] == clip_ids("1girl, blue sky")
    assert words.tokens(["zebra"])[0][1] == len(words) - 1, "what no caption has is taken for the end"
    assert [words.used[word] for word in words.empty] == clip_ids("")
    rows = torch.randn(len(words), 3, generator=torch.Generator().manual_seed(0))
    table = words.whole_table(rows)
    assert table.shape == (VOCABULARY, 3)
    assert torch.equal(table[words.used], rows) and torch.allclose(table[0], rows.mean(0))


def test_signed_pixels_come_back() -> None:
    picture = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)
    assert np.array_equal(from_signed(as_signed(picture, CPU)), picture)


def test_a_start_is_finite_and_reproducible(drawings: Shards) -> None:
    vae = build_vae(Sizes())
    generator = torch.Generator().manual_seed(0)
    start_default(vae, generator)
    first = vae.decoder.conv_in.weight.clone()
    start_vae(vae, generator)
    assert not torch.equal(first, vae.decoder.conv_in.weight)
    pixels = as_signed(np.stack([drawings.picture(0, 0)]), CPU)
    with torch.inference_mode():
        assert torch.isfinite(vae.encoder(pixels)).all()
    again = build_vae(Sizes())
    generator = torch.Generator().manual_seed(0)
    start_default(again, generator)
    start_vae(again, generator)
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), again.parameters(), strict=True))


@given(rows=st.integers(1, 12), columns=st.integers(1, 12))
@settings(max_examples=20)
def test_orthogonal_keeps_lengths_where_it_does_not_widen(rows: int, columns: int) -> None:
    matrix = orthogonal(rows, columns, torch.Generator().manual_seed(0))
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    assert torch.allclose(product, torch.eye(len(product)) * max(1, rows / columns) ** 0.5, atol=1e-5)


def test_views_show_one_scene(drawings: Shards) -> None:
    scene, rng = random_scene(3), np.random.default_rng([3, 1])
    assert np.array_equal(views(scene, 64, rng), np.stack([drawings.picture(3, view) for view in range(3)]))
    assert len(drawings) == 8 and [len(texts) for texts in drawings.captions] == [2] * 8
    assert all("girl" in text or "boy" in text for texts in drawings.captions for text in texts)


def test_shards_are_as_many_as_scenes() -> None:
    assert shard_sizes(Plan(250)) == [100, 100, 50]
    assert shard_sizes(Plan(200)) == [100, 100]


def test_several_processes_draw_the_same(drawings: Shards, tmp_path: Path) -> None:
    write_shards(tmp_path, Plan(scenes=3, size=64, captions=2, shard=2), 2)
    several = Shards(tmp_path)
    assert several.captions == drawings.captions[:3]
    assert all(np.array_equal(several.picture(s, v), drawings.picture(s, v)) for s in range(3) for v in range(3))


def test_a_drawn_shard_is_kept(drawings: Shards) -> None:
    path = drawings.folder / "pictures_0000.npy"
    before = path.stat().st_mtime_ns
    assert write_shard((str(drawings.folder), PLAN, 0, 8)) == 8
    assert path.stat().st_mtime_ns == before


def test_drawings_of_another_plan_are_refused(drawings: Shards, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="another plan"):
        write_shards(drawings.folder, Plan(9, 64), 1)
    with pytest.raises(SettingError, match="there are no drawings"):
        Shards(tmp_path)
    (tmp_path / shards.PLAN).write_text('{"scenes": 700}')
    with pytest.raises(SettingError, match="7 of 7 shards"):
        Shards(tmp_path)


def test_the_command_draws_trains_and_exports(tmp_path: Path) -> None:
    out = str(tmp_path)

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, ["train", *words, "--out", out])
        assert result.exit_code == 0, result.output
        return result.output

    call("data", "--scenes", "3", "--size", "96", "--processes", "1")
    words = ("upscaler", "--steps", "2", "--batch", "1", "--device", "cpu", "--no-measure")
    assert "2 of 2 steps are done" in call(*words)
    assert "hires-pocket-x4.safetensors" in call("export")
    assert (tmp_path / "export/upscale_models/hires-pocket-x4.safetensors").stat().st_size < 2.5e6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data", "--size", "100"], "not a multiple of 32"),
        (["vae"], "there are no drawings"),
        (["model"], "there are no drawings"),
        (["export"], "nothing is trained"),
    ],
)
def test_the_command_says_what_is_missing(words: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", *words, "--out", str(tmp_path)])
    assert result.exit_code == 2 and said in result.output
