"""Prompts of tiles: the network's attention is noted as it is, and each tile is told what it is looked for in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hires.errors import SettingError
from hires.metadata.infotext import read_infotext, write_infotext
from hires.models.patches import patched
from hires.models.walk import Place
from hires.models.word_maps import WordMaps
from hires.nodes.conditioning import text_encode
from hires.nodes.context import RunContext
from hires.nodes.redraw import hires_sd_upscale, hires_ultimate_upscale
from hires.nodes.tile_words import TilePrompt, hires_infotext_field, hires_tile_prompts, tiles_told
from hires.tiling.redraw import sd_upscale_plan
from hires.tiling.words import PartMaps

TEXT = "a cat, a dog, oil painting"


def left_and_right(context: RunContext, text: str = TEXT) -> TilePrompt:
    """As if the network looked for cats on the left only, and for dogs on the right."""
    maps = torch.ones(3, 4, 8)
    maps[0, :, 4:] = maps[1, :, :4] = 0
    clip = context.store.checkpoint("thin_sd15").clip
    return TilePrompt(text, PartMaps(tuple(text.split(", ")), maps), {"clip": clip})


def handles(context: RunContext) -> dict[str, Any]:
    loaded = context.store.checkpoint("thin_sd15")
    assert loaded.clip is not None
    return {
        "image": torch.rand(1, 64, 128, 3, generator=torch.Generator().manual_seed(2)),
        "model": loaded.model, "vae": loaded.vae, "context": context,
        "positive": text_encode(text=TEXT, clip=loaded.clip), "negative": text_encode(text="", clip=loaded.clip),
        "sampler_name": "euler", "scheduler": "normal", "steps": 1, "cfg": 1.0, "denoise": 0.5, "tile_width": 64,
        "tile_height": 64, "lock": 0.0,
    }  # fmt: skip


def test_tiles_are_told_their_side(context: RunContext) -> None:
    prompt, plan = left_and_right(context), sd_upscale_plan(64, 200, (64, 72), 8)
    assert tiles_told(prompt, plan) == ["tile 1 is told: a cat, oil painting", "tile 3 is told: a dog, oil painting"]
    four = tiles_told(prompt, sd_upscale_plan(128, 256, (64, 64), 0))
    assert four == ["tiles 1-2, 5-6 are told: a cat, oil painting", "tiles 3-4, 7-8 are told: a dog, oil painting"]


def test_each_tile_is_drawn_with_what_it_is_told(context: RunContext) -> None:
    given = handles(context) | {"overlap": 0}
    made, told = hires_sd_upscale(**given, tile_prompts="attention", tile_prompt=left_and_right(context))
    assert told == "tile 1 is told: a cat, oil painting; tile 2 is told: a dog, oil painting"
    clip = context.store.checkpoint("thin_sd15").clip
    for text, side in (("a cat, oil painting", slice(0, 64)), ("a dog, oil painting", slice(64, 128))):
        alone, nothing = hires_sd_upscale(**given | {"positive": text_encode(text=text, clip=clip)})
        assert torch.equal(made[:, :, side], alone[:, :, side]) and nothing == ""
    plain, _ = hires_sd_upscale(**given)
    assert not torch.equal(made, plain)


def test_regions_and_hints_keep_their_places(context: RunContext) -> None:
    prompt, plan = left_and_right(context), sd_upscale_plan(64, 128, (64, 64), 0)
    base = handles(context)["positive"]
    placed = (torch.ones_like(base[0][0]), {"area": ("percentage", 1.0, 0.5, 0.0, 0.0)})
    entries = [(base[0][0], {**base[0][1], "strength": 0.7}), placed]
    found = prompt.conditioning(entries, plan.rounds[0].jobs[0].crop, plan.canvas)
    assert found[1] is placed and found[0][1]["strength"] == 0.7
    assert not torch.equal(found[0][0], base[0][0])
    whole = plan.rounds[0].jobs[0].crop.grown(0, 64, 0, 64).within(64, 128)
    assert prompt.conditioning(entries, whole, plan.canvas) is entries


def test_noting_attention_changes_nothing(context: RunContext) -> None:
    model = context.store.checkpoint("thin_sd15").model
    assert model is not None
    record = WordMaps()
    x, context_ = torch.randn(1, 4, 16, 24), torch.randn(1, 77, int(model.unet.config.cross_attention_dim))
    plain = model.predict(x, torch.tensor([500.0]), context_)
    torch.testing.assert_close(patched(model, record).predict(x, torch.tensor([500.0]), context_), plain)
    seen = record.mean()
    assert seen is not None and seen.shape == (77, 8, 12)
    torch.testing.assert_close(seen.sum(dim=0), torch.ones(8, 12))  # each place's looks are shared among all words


def test_a_place_that_is_like_a_word_looks_for_it() -> None:
    """Queries that equal one key on the left half and another on the right."""
    keys = 6 * torch.eye(3, 8)[None]
    queries = torch.zeros(1, 4, 4, 8)
    queries[:, :, :2], queries[:, :, 2:] = keys[:, 1], keys[:, 2]
    record, place = WordMaps(), Place("input", 1, 1.0, (8, 8), crosswise=True)
    assert record.weighted(queries.reshape(1, 16, 8), keys, keys, 1, place) is None
    seen = record.mean()
    assert seen is not None and float(seen[1, :, :2].min()) > 0.99 and float(seen[1, :, 2:].max()) < 0.01
    assert WordMaps().mean() is None
    own = Place("input", 1, 1.0, (8, 8))
    record.weighted(queries.reshape(1, 16, 8), keys, keys, 1, own)
    assert len(record.noted) == 1  # self-attention has no words


@pytest.mark.parametrize("dialect", ["comfyui", "webui"])
def test_the_prompts_places_are_found_once_and_for_all(context: RunContext, dialect: str) -> None:
    given = {name: value for name, value in handles(context).items() if name in ("image", "model", "vae", "context")}
    clip = context.store.checkpoint("thin_sd15").clip
    texts = {"clip": clip, "dialect": dialect, "native_size": 64}
    found = [hires_tile_prompts(**given, **texts, text=f"(a cat:1.2), {TEXT}") for _ in range(2)]
    assert found[0].places.parts == ("(a cat:1.2)", "a cat", "a dog", "oil painting")
    assert found[0].places.maps.shape == (4, 2, 6)  # 64x128 pixels as 32x96
    assert torch.equal(found[0].places.maps, found[1].places.maps) and float(found[0].places.maps.min()) > 0
    assert context.counts.denoiser_calls == 4
    single = hires_tile_prompts(**given, **texts, text="one thing only")
    assert single.places.parts == ("one thing only",) and context.counts.denoiser_calls == 4
    assert any("whole prompt" in note for note in context.notes)


def test_mistakes_are_said(context: RunContext) -> None:
    given = handles(context)
    with pytest.raises(SettingError, match="Tile Prompts"):
        hires_ultimate_upscale(**given, tile_prompts="attention")
    with pytest.raises(SettingError, match="preset"):
        hires_ultimate_upscale(**given, tile_prompts="attention", tile_prompt=left_and_right(context), preset="comfyui")
    two: Tensor = torch.cat([given["image"]] * 2)
    with pytest.raises(SettingError, match="one by one"):
        hires_sd_upscale(
            **given | {"image": two}, overlap=0, tile_prompts="attention", tile_prompt=left_and_right(context)
        )


def test_an_infotext_takes_one_more_field() -> None:
    text = write_infotext("a cat", "blurry", {"Steps": 4, "Seed": 1, "Size": "8x8", "Version": "hires 1"})
    told = read_infotext(hires_infotext_field(parameters=text, name="Tile prompts told", value="tile 1 is told: a, b"))
    assert told.fields["Tile prompts told"] == "tile 1 is told: a, b" and list(told.fields)[-1] == "Version"
    assert (told.prompt, told.negative, told.fields["Seed"]) == ("a cat", "blurry", "1")
    assert hires_infotext_field(parameters=text, name="x", value="") == text
