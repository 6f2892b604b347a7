"""The VAE mode of a request: in the workflow, in the infotext and back, from flags, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hires.errors import SettingError
from hires.options import request_from_options
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import infotext, request_from
from hires.recipes.request import HiresFix, Txt2Img, check_request
from hires.recipes.txt2img import txt2img

REQUEST = Txt2Img(
    prompt="a castle", checkpoint="a.safetensors", width=64, height=64, seed=1, variation_seed=1,
    hires=HiresFix("Lanczos", 2.0),
)  # fmt: skip
FACTS = {"a.safetensors": ModelFacts("a.safetensors", "0123456789", "sd1", 512)}


def nodes(request: Txt2Img, kind: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in txt2img(request, FACTS).values() if node["class_type"] == kind]


def test_every_decoding_and_encoding_has_the_mode() -> None:
    request = replace(REQUEST, vae_mode="exact-disk", vae_tile=256)
    found = nodes(request, "HiresVAEDecode") + nodes(request, "HiresVAEEncode")
    assert [(inputs["mode"], inputs["tile_size"]) for inputs in found] == [("exact-disk", 256)] * 3
    assert not nodes(request, "VAEDecode") and not nodes(request, "VAEEncode")


def test_as_usual_are_the_nodes_that_every_editor_knows() -> None:
    assert len(nodes(REQUEST, "VAEDecode")) == 2 and len(nodes(REQUEST, "VAEEncode")) == 1
    assert not nodes(REQUEST, "HiresVAEDecode")


@pytest.mark.parametrize(("mode", "tile"), [("auto", 512), ("fast", 512), ("auto", 128), ("blend", 768)])
def test_infotext_carries_it(mode: str, tile: int) -> None:
    text = infotext(replace(REQUEST, vae_mode=mode, vae_tile=tile), FACTS)
    again = request_from(text)
    assert (again.vae_mode, again.vae_tile) == (mode, tile)
    assert ("VAE mode" in text) == (mode != "auto") and ("VAE tile" in text) == (tile != 512)


def test_flags() -> None:
    request = request_from_options({"prompt": "a castle", "vae_mode": "exact", "vae_tile": 256})
    assert (request.vae_mode, request.vae_tile) == ("exact", 256)


@pytest.mark.parametrize(("changes", "said"), [({"vae_mode": "quick"}, "exact-lowram"), ({"vae_tile": 8}, "128")])
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        check_request(replace(REQUEST, **changes), 100)
