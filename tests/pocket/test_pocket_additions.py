"""The style, the character, and small files trained beside a frozen model: they load, and do what they learned."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

from typer.testing import CliRunner

from hires.commands.additions import app
from hires.models.checkpoint import Placement, load_checkpoint
from hires.models.controlnet import load_controlnet
from hires.models.lora import apply_lora, open_lora
from hires.models.native import native_size
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME, INPAINTING_NAME, train_model
from hires.pocket.additions import (
    EMBEDDING_NAME,
    LORA_NAME,
    NAME,
    TILE_NAME,
    ControlBeside,
    EmbeddingBeside,
    LoraBeside,
    WordsWithVectors,
    read_base,
    word_table,
)
from hires.pocket.captions import tags
from hires.pocket.drawing import draw
from hires.pocket.export import FORMAT, write
from hires.pocket.inpainting import InpaintBeside, hole, in_cells, lessons_of_holes
from hires.pocket.lessons import CHARACTER, HERS, as_character, character_caption, coarse
from hires.pocket.scene import random_scene
from hires.pocket.woodcut import INK, MIDDLE, PAPER, woodcut
from hires.pocket.words import Words

CPU = torch.device("cpu")
TRAINING = ["--steps", "2", "--batch", "2", "--scenes", "2", "--sheet-every", "2"]


def test_a_woodcut_has_only_mixtures_of_its_inks() -> None:
    printed = woodcut(draw(random_scene(1), 96, 96)).reshape(-1, 3).astype(float)
    assert len(np.unique(printed, axis=0)) > 20
    for color in printed[::37]:
        between = [np.array(pair, float) for pair in ((INK, MIDDLE), (MIDDLE, PAPER))]
        away = []
        for low, high in between:
            along = np.clip(np.dot(color - low, high - low) / np.dot(high - low, high - low), 0, 1)
            away.append(np.abs(low + along * (high - low) - color).max())
        assert min(away) <= 1
    white = np.full((40, 40, 3), 255, np.uint8)
    assert np.all(woodcut(white) == PAPER) and np.all(woodcut(0 * white) == INK)


def test_the_character_looks_the_same_and_her_captions_leave_it_unsaid() -> None:
    for seed in range(40):
        scene = as_character(random_scene(seed))
        assert {"1girl", "white hair", "twin braids", "glasses", "red flower in hair"} <= tags(scene)
        words = character_caption(scene, np.random.default_rng(seed)).split(", ")
        assert words.count(NAME) == 1 and words.index(NAME) < 2
        assert not any(part in word for word in words if word != NAME for part in HERS)
    assert {getattr(as_character(random_scene(5)), name) for name in CHARACTER} == set(CHARACTER.values())


def test_new_words_stand_where_the_name_is() -> None:
    words = Words.of_captions([["1girl, smile, beach"]])
    more = WordsWithVectors(words, 3)
    new = [len(words), len(words) + 1, len(words) + 2]
    row = more.tokens([f"1girl, {NAME}, beach"])[0].tolist()
    plain = words.tokens(["1girl, , beach"])[0].tolist()
    place = row.index(new[0])
    assert row[place : place + 3] == new and len(row) == 77
    comma = words.tokens([","])[0, 1]
    assert row[place + 3] == comma and row[:place] + row[place + 3 :] == [
        *words.tokens(["1girl,"])[0, :place],
        *row[place + 3 :],
    ]
    assert np.array_equal(more.tokens(["smile, beach"]), words.tokens(["smile, beach"]))
    assert plain[0] == row[0] == words.empty[0]
    full = more.tokens([", ".join([NAME] * 1 + ["beach"] * 80)])[0]
    assert len(full) == 77 and full[-1] == words.empty[-1]


def test_a_lora_beside_the_model_is_the_file_applied_to_it(tmp_path: Path) -> None:
    base = read_base(None, CPU, False)
    beside = LoraBeside(base.model, 4, 0)
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.from_numpy(base.words.tokens(["1girl, beach"]))
    times = torch.tensor([300])
    with torch.no_grad():
        before = base.model(noisy, times, tokens)
        assert torch.equal(beside(noisy, times, tokens), before), "it begins as no change"
        for one in beside.up.values():
            one.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.02)
        told = beside(noisy, times, tokens)
    assert not torch.allclose(told, before, atol=1e-3)
    write(beside.tensors(), tmp_path / "style.safetensors", FORMAT)
    checkpoint = load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME)
    file = open_lora(tmp_path / "style.safetensors", "style")
    applied = apply_lora(checkpoint.model, checkpoint.clip, file)
    assert applied.model is not None and applied.warning is None
    with torch.no_grad():
        context = base.model.text(input_ids=tokens)[0]
        found = applied.model.unet(noisy, times, encoder_hidden_states=context).sample
    assert torch.allclose(found, told, atol=2e-2)


def test_an_embedding_beside_the_model_reads_its_vectors(tmp_path: Path) -> None:
    base = read_base(None, CPU, False)
    table = base.model.get_parameter(word_table(base.model))
    words = WordsWithVectors(base.words, 1)
    beach = int(base.words.tokens(["beach"])[0, 1])
    beside = EmbeddingBeside(base.model, 1, table[beach].detach())
    noisy, times = torch.randn(1, 4, 8, 8), torch.tensor([500])
    with torch.no_grad():
        named = beside(noisy, times, torch.from_numpy(words.tokens([NAME])))
        said = base.model(noisy, times, torch.from_numpy(base.words.tokens(["beach"])))
    assert torch.allclose(named, said, atol=1e-6)


def test_a_controlnet_beside_the_model_is_the_file_loaded(tmp_path: Path) -> None:
    base = read_base(None, CPU, False)
    beside = ControlBeside(base.model, 0)
    generator = torch.Generator().manual_seed(0)
    noisy, hint = torch.randn(2, 4, 8, 8, generator=generator), torch.rand(2, 3, 64, 64, generator=generator)
    tokens, times = torch.from_numpy(base.words.tokens(["1girl, beach", "1boy"])), torch.tensor([300, 300])
    with torch.no_grad():
        before = base.model(noisy, times, tokens)
        assert torch.equal(beside(noisy, times, tokens, hint), before), "it begins as no change"
        for zero in (*beside.control.controlnet_down_blocks, beside.control.controlnet_mid_block):
            zero.weight.normal_(generator=generator).mul_(0.02)
        beside.control.controlnet_cond_embedding.conv_out.weight.normal_(generator=generator).mul_(0.05)
        told, other = (beside(noisy, times, tokens, each) for each in (hint, 1 - hint))
    assert not torch.allclose(told, before, atol=1e-2) and not torch.allclose(told, other, atol=1e-3)
    write(beside.tensors(), tmp_path / "tile.safetensors", FORMAT | beside.facts())
    checkpoint = load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME)
    assert checkpoint.model is not None
    net = load_controlnet(tmp_path / "tile.safetensors", Placement(), "tile")
    with torch.no_grad():
        context = base.model.text(input_ids=tokens)[0]
        more = net.residuals(noisy, times, context, None, hint)
        down = tuple(more.skips[number] for number in range(len(more.skips)))
        found = checkpoint.model.unet(
            noisy,
            times,
            encoder_hidden_states=context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=more.middle,
        ).sample
    assert torch.allclose(found, told, atol=2e-2)


def test_a_model_that_fills_holes_is_the_file_loaded(tmp_path: Path) -> None:
    base = read_base(None, CPU, False)
    beside = InpaintBeside(base)
    generator = torch.Generator().manual_seed(0)
    noisy, known = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 4, 8, 8, generator=generator)
    mask = (torch.rand(2, 1, 8, 8, generator=generator) < 0.5).float()
    tokens, times = torch.from_numpy(base.words.tokens(["1girl, beach", "1boy"])), torch.tensor([300, 300])
    more = torch.cat([mask, known], 1)
    with torch.no_grad():
        assert torch.allclose(beside(noisy, times, tokens, more), base.model(noisy, times, tokens), atol=1e-5)
        beside.unet.conv_in.weight[:, 4:].normal_(generator=generator).mul_(0.1)
        told = beside(noisy, times, tokens, more)
    path = tmp_path / "holes.safetensors"
    write(beside.tensors(), path, FORMAT | beside.facts())
    loaded, known_size = load_checkpoint(path), native_size(path, "sd1")
    assert loaded.model is not None and loaded.model.in_channels == 9 and known_size == base.size
    with torch.no_grad():
        context = base.model.text(input_ids=tokens)[0]
        found = loaded.model.predict(torch.cat([noisy, more], 1), times, context)
    assert torch.allclose(found, told, atol=2e-2)
    before = load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME)
    assert loaded.vae is not None and before.vae is not None
    assert all(torch.equal(a, b) for a, b in zip(loaded.vae.vae.parameters(), before.vae.vae.parameters(), strict=True))


def test_lessons_of_holes_show_the_picture_without_what_is_to_be_drawn() -> None:
    base = read_base(None, CPU, False)
    lessons = lessons_of_holes(base, 3, 0, CPU)
    which, views = np.arange(3).repeat(3), np.tile(np.arange(3), 3)
    (beside,) = lessons.shown(which, views, np.random.default_rng(0))
    true = lessons.latents.read(which, views).astype(np.float32)
    mask, known = beside[:, :1], beside[:, 1:]
    assert beside.shape == (9, 5, base.size // 8, base.size // 8) and set(np.unique(mask)) == {0.0, 1.0}
    for each, hidden, seen in zip(mask[:, 0], true, known, strict=True):
        away = np.abs(hidden - seen).mean(0)
        far = ~widened(each)
        if each.all():
            assert np.ptp(seen, axis=(1, 2)).max() < np.ptp(hidden, axis=(1, 2)).max()
        elif far.any():
            assert away[far].mean() < 0.5 * away[each == 1].mean(), "what is outside of the hole is there"


def widened(mask: np.ndarray) -> np.ndarray:
    """The cells that the mask has within two of them."""
    return np.asarray(torch.nn.functional.max_pool2d(torch.from_numpy(mask)[None], 5, 1, 2)[0]) > 0


@given(seed=st.integers(0, 10**6))
def test_masks_in_cells_are_their_pixels_majority(seed: int) -> None:
    made = hole(64, np.random.default_rng(seed))
    cells = in_cells(made[None])[0]
    for row, column in np.ndindex(8, 8):
        share = made[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].mean()
        assert cells[row, column] == (share >= 0.5)


@given(seed=st.integers(0, 10**6))
def test_a_hint_is_a_coarse_copy(seed: int) -> None:
    picture = draw(random_scene(seed % 50), 64, 64)
    hint = coarse(picture, np.random.default_rng(seed))
    assert hint.shape == (3, 64, 64) and hint.dtype == np.float32 and hint.min() >= 0 and hint.max() <= 1
    true = picture.transpose(2, 0, 1) / 255
    blocks = [each.reshape(3, 4, 16, 4, 16).mean((2, 4)) for each in (hint, true)]
    assert np.abs(blocks[0] - blocks[1]).max() < 0.15, "the same picture"
    steps = [np.abs(np.diff(each, axis=2)).mean() for each in (hint, true)]
    assert steps[0] < steps[1], "but with less in it"


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("lora", f"loras/{LORA_NAME}"),
        ("embedding", f"embeddings/{EMBEDDING_NAME}"),
        ("control", f"controlnet/{TILE_NAME}"),
        ("inpainting", f"checkpoints/{INPAINTING_NAME}"),
    ],
)
def test_commands_train_write_and_go_on(
    command: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_model, "ddim", partial(train_model.ddim, steps=1))  # of contact sheets
    out = CliRunner().invoke(app, ["train", command, "--out", str(tmp_path), *TRAINING])
    assert out.exit_code == 0, out.output
    assert (tmp_path / "export" / file).exists()
    assert (tmp_path / command / "sheet_000002.png").exists()
    again = CliRunner().invoke(app, ["train", command, "--out", str(tmp_path), *TRAINING])
    assert again.exit_code == 0 and "resumed after 2 steps" in again.output
