from __future__ import annotations

import pytest

from hires.errors import SettingError
from hires.recipes.grids.matrix import Matrix
from hires.recipes.grids.request import AxisValues, GridOptions
from hires.recipes.grids.script_args import XYZ_DEFAULTS, grid_from_script_args, matrix_from_script_args
from hires.recipes.img2img_request import Img2Img
from hires.recipes.request import Txt2Img

NONE = AxisValues("Nothing")


def test_the_arguments_of_the_script() -> None:
    args = [
        *(4, "20,30", []),
        *(9, "", ["DDIM", "Euler a"]),
        *(11, "ignored", ["a, b", "c"]),
        *(False, True, True, True, True, False, True, 12, False),
    ]
    made = grid_from_script_args(args, "txt2img")
    assert made.axes == (
        AxisValues("Steps", "20,30"),
        AxisValues("Sampler", "DDIM, Euler a"),
        AxisValues("Checkpoint name", '"a, b",c'),
    )
    assert made.options == GridOptions(
        legend=False, sub_images=True, sub_grids=True, keep_random=True, vary_x=True, vary_z=True, margin=12
    )
    assert made.base == Txt2Img()


def test_numbers_count_the_tabs_own_axes_and_labels_do_as_well() -> None:
    args = [24, "0.5", [], "cfg scale", "7", [], "9", "Euler", []]
    made = grid_from_script_args(args, "img2img")
    assert [axis.label for axis in made.axes] == ["Denoising", "CFG Scale", "Sampler"]
    assert made.base == Img2Img()


def test_text_is_read_where_nothing_was_chosen_or_where_it_is_asked_for() -> None:
    assert grid_from_script_args([9, "Euler", []], "txt2img").axes[0] == AxisValues("Sampler", "Euler")
    args = [9, "Euler", ["DDIM"], *XYZ_DEFAULTS[3:17], True]
    assert grid_from_script_args(args, "txt2img").axes[0] == AxisValues("Sampler", "Euler")
    assert grid_from_script_args([4, "3", ["5"]], "txt2img").axes[0] == AxisValues("Steps", "3")


def test_missing_arguments_have_their_defaults() -> None:
    made = grid_from_script_args([], "txt2img")
    assert made.axes == (NONE, NONE, NONE) and made.options == GridOptions()


@pytest.mark.parametrize(
    "args", [[99], [-1], [None], [True], ["Stepps"], [[1]], [4, "1", [], *[0, "", []] * 2, 1, 0, 0, 0, 0, 0, 0, "x"]]
)
def test_arguments_that_mean_nothing_are_refused(args: list[object]) -> None:
    with pytest.raises(SettingError):
        grid_from_script_args(args, "txt2img")


def test_the_arguments_of_the_matrix() -> None:
    made = matrix_from_script_args([True, True, "negative", "space", 4], "txt2img")
    assert made.matrix == Matrix(True, True, True, True) and made.options.margin == 4
    assert matrix_from_script_args([], "img2img").matrix == Matrix()
    for args in ([False, False, "both"], [False, False, "positive", "semicolon"]):
        with pytest.raises(SettingError):
            matrix_from_script_args(args, "txt2img")
