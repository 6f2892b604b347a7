"""Requests to enlarge: the sizes they lead to, the workflow, what is noted, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.imaging.targets import by_factor, to_size
from hires.recipes.extras import Extras, check_extras, extras, fields, target_of


def test_the_web_ui_floors_to_eight_and_hires_does_not() -> None:
    assert by_factor(513, 770, 1.5, rule="webui").size == (768, 1152)
    assert by_factor(100, 100, 3, rule="webui").size == (296, 296)
    assert by_factor(513, 770, 1.5).size == (770, 1155)
    assert by_factor(100, 100, 3).size == (300, 300)


@given(
    width=st.integers(16, 900),
    height=st.integers(16, 900),
    to=st.tuples(st.integers(64, 2000), st.integers(64, 2000)),
)
def test_to_a_size_covers_it_and_is_cut_to_it(width: int, height: int, to: tuple[int, int]) -> None:
    cut = to_size(width, height, to)
    assert cut.delivered == to
    assert cut.size[0] >= to[0] and cut.size[1] >= to[1]
    assert abs(cut.size[0] - to[0]) <= 1 or abs(cut.size[1] - to[1]) <= 1
    whole = to_size(width, height, to, crop=False)
    assert whole.crop is None
    assert abs(whole.size[0] / width - whole.size[1] / height) <= 1 / min(width, height)


def test_a_longest_side_bounds_the_factor() -> None:
    assert by_factor(400, 300, 4, max_side=800).size == (800, 600)
    assert by_factor(400, 300, 2, max_side=800).size == (800, 600)
    assert by_factor(400, 300, 1.5, max_side=800).size == (600, 450)


def test_what_was_done_is_noted_under_the_web_uis_names() -> None:
    assert fields(Extras(upscaler="R-ESRGAN 4x+", scale=2)) == {
        "Postprocess upscale by": "2",
        "Postprocess upscaler": "R-ESRGAN 4x+",
    }
    both = Extras(upscaler="A", upscaler_2="B", visibility=0.25, width=800, height=600, rule="webui")
    assert list(fields(both).items()) == [
        ("Postprocess upscale to", "800x600"),
        ("Postprocess crop to", "800x600"),
        ("Postprocess upscaler", "A"),
        ("Postprocess upscaler 2", "B"),
        ("Postprocess upscaler 2 visibility", "0.25"),
        ("Postprocess rule", "webui"),
    ]
    assert fields(Extras(upscaler="None")) == {}


def test_the_workflow_is_three_nodes() -> None:
    flow = extras(Extras(upscaler="Lanczos", scale=1.5, max_side=900), "a.png", "a")
    assert [entry["class_type"] for entry in flow.values()] == ["HiresLoadPicture", "HiresUpscale", "HiresSavePicture"]
    done = flow["3"]["inputs"]["done"]
    assert done == "Postprocess upscale by: 1.5, Max side length: 900, Postprocess upscaler: Lanczos"
    assert target_of(Extras(scale=1.5, max_side=900), 1000, 500).size == (900, 450)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": 0}, "the factor must be from"),
        ({"visibility": 1.5}, "visibility of upscaler 2 must be from 0 to 1"),
        ({"width": 100}, "a width and a height"),
        ({"alpha": "drop"}, "unknown alpha mode 'drop'"),
        ({"bits": 16, "format": "jpg"}, "16 bits cannot be written as jpg"),
        ({"format": "gif"}, "unknown format"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        check_extras(Extras(**change))


def test_faces_are_restored_after_enlarging_gfpgan_first() -> None:
    request = Extras(scale=2, gfpgan_visibility=0.7499, codeformer_visibility=0.5, codeformer_weight=0.25)
    flow = extras(request, "a.png", "a")
    assert [entry["class_type"] for entry in flow.values()] == [
        "HiresLoadPicture",
        "HiresUpscale",
        "HiresRestoreFaces",
        "HiresRestoreFaces",
        "HiresSavePicture",
    ]
    first, second = flow["3"]["inputs"], flow["4"]["inputs"]
    assert (first["image"], first["restorer"], first["visibility"]) == (["2", 0], "GFPGAN", 0.7499)
    assert (second["image"], second["restorer"], second["weight"]) == (["3", 0], "CodeFormer", 0.25)
    assert flow["5"]["inputs"]["images"] == ["4", 0]
    assert flow["5"]["inputs"]["done"] == (
        "Postprocess upscale by: 2, Postprocess upscaler: Lanczos, GFPGAN visibility: 0.75, "
        "CodeFormer visibility: 0.5, CodeFormer weight: 0.25"
    )
    assert fields(Extras(upscaler="None", gfpgan_visibility=1)) == {"GFPGAN visibility": "1"}
    with pytest.raises(SettingError, match="visibility of GFPGAN must be from 0 to 1"):
        check_extras(Extras(gfpgan_visibility=2))
