from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recipes.test_grid_axes import BASE, HIRES, KNOWN

from hires.errors import SettingError
from hires.recipes.grids.axes import base_of
from hires.recipes.grids.matrix import Matrix, matrix_axes, matrix_prompts, split_matrix
from hires.recipes.grids.request import (
    AxisValues,
    Expanded,
    GridOptions,
    GridRequest,
    expand,
    places,
    swapped,
    with_fixed_seeds,
    with_labels,
)
from hires.recipes.request import HiresFix, Txt2Img

STEPS, CFG, SEEDS = AxisValues("Steps", "1-3"), AxisValues("CFG Scale", "2, 4"), AxisValues("Seed", "7, 8")


def cells(*axes: AxisValues, base: Txt2Img = BASE, **options: object) -> Expanded:
    return expand(GridRequest(base, axes, replace(GridOptions(), **options)), KNOWN)  # type: ignore[arg-type]


def test_cells_are_all_combinations_x_fastest() -> None:
    made = cells(STEPS, CFG, SEEDS)
    assert made.shape == (3, 2, 2)
    assert [cell.index for cell in made.cells][:4] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0)]
    asked = [(one.steps, one.cfg, one.seed) for one in (base_of(cell.request) for cell in made.cells)]
    assert asked == [(steps, cfg, seed) for seed, cfg, steps in product((7, 8), (2.0, 4.0), (1, 2, 3))]
    assert made.cells[4].labels == ("Steps: 2", "CFG Scale: 4", "Seed: 7")
    assert len({cell.key for cell in made.cells}) == 12


def test_labels_are_as_the_web_ui_writes_them() -> None:
    made = cells(AxisValues("Sampler", "Euler"), AxisValues("Checkpoint name", "dream_v2"), AxisValues("Size", "64x96"))
    assert made.cells[0].labels == ("Euler", "dream_v2", "Size: 64x96")
    assert cells().cells[0].labels == () and cells().shape == (1, 1, 1)
    thirds = cells(AxisValues("CFG Scale", "1-2 [4]"))
    assert thirds.lines[0].values == ("1", "1.33333333", "1.66666667", "2")


def test_a_key_names_what_a_cell_asks_for() -> None:
    few, more = cells(STEPS, CFG), cells(AxisValues("Steps", "1-4"), CFG)
    kept = {cell.key for cell in more.cells} & {cell.key for cell in few.cells}
    assert len(kept) == 6 and len(more.cells) == 8


def test_cells_of_random_seeds_are_never_the_same() -> None:
    twice = AxisValues("Steps", "3, 3")
    assert len({cell.key for cell in cells(twice).cells}) == 1
    random = cells(twice, base=replace(BASE, seed=-1), keep_random=True)
    assert len({cell.key for cell in random.cells}) == 2


@pytest.mark.parametrize(
    ("vary", "seeds"),
    [
        ({"vary_x": True}, [5, 6, 7, 5, 6, 7]),
        ({"vary_y": True}, [5, 5, 5, 6, 6, 6]),
        ({"vary_x": True, "vary_y": True}, [5, 6, 7, 8, 9, 10]),
    ],
)
def test_seeds_vary_along_axes(vary: dict[str, bool], seeds: list[int]) -> None:
    assert [base_of(cell.request).seed for cell in cells(STEPS, CFG, **vary).cells] == seeds


def test_seeds_vary_along_all_axes_by_the_lengths_of_those_before() -> None:
    made = cells(STEPS, CFG, AxisValues("Eta", "0, 1"), vary_x=True, vary_z=True)
    assert [base_of(cell.request).seed for cell in made.cells] == [5, 6, 7, 5, 6, 7, 8, 9, 10, 8, 9, 10]


def test_random_seeds_become_one_number_for_all() -> None:
    numbers = iter(range(100, 200))
    request = GridRequest(replace(BASE, seed=-1, variation_seed=-1), (AxisValues("Seed", "-1, 3, -1"),))
    fixed = with_fixed_seeds(request, choose=lambda count: next(numbers))
    assert (base_of(fixed.base).seed, base_of(fixed.base).variation_seed) == (100, 101)
    assert fixed.axes == (AxisValues("Seed", "-1, 3, -1", "102, 3, 103"),)
    assert [base_of(cell.request).seed for cell in expand(fixed, KNOWN).cells] == [102, 3, 103]
    assert with_fixed_seeds(fixed) == fixed
    random = replace(request, options=GridOptions(keep_random=True, vary_x=True))
    assert with_fixed_seeds(random) == random
    assert [base_of(cell.request).seed for cell in expand(random, KNOWN).cells] == [-1, 4, -1]


def test_a_longer_grid_keeps_its_random_seeds() -> None:
    before = with_fixed_seeds(GridRequest(replace(BASE, seed=-1), (AxisValues("Seed", "-1, -1"),)))
    longer = replace(before, base=replace(BASE, seed=-1), axes=(AxisValues("Seed", "-1, -1, 9, -1"),))
    after = with_fixed_seeds(longer, before, choose=lambda count: 77)
    assert base_of(after.base).seed == base_of(before.base).seed
    assert after.axes[0].fixed == f"{before.axes[0].fixed}, 9, 77"


def test_dear_axes_change_least_then_what_comes_first_in_the_work() -> None:
    axes = (AxisValues("Denoising", "0.3, 0.5"), AxisValues("Checkpoint name", "dream, sea"), CFG)
    order = [cell.index for cell in cells(*axes, base=HIRES).in_order()]
    assert order == [(x, y, z) for y, z, x in product((0, 1), (0, 1), (0, 1))]
    order = [cell.index for cell in cells(STEPS, CFG).in_order()]
    assert order == [(x, y, 0) for y, x in product((0, 1), (0, 1, 2))]


def test_axes_swap_by_type_and_values() -> None:
    request = GridRequest(BASE, (STEPS, CFG))
    assert swapped(request, "X", "Y").axes[:2] == (CFG, STEPS)
    assert [axis.label for axis in swapped(request, "x", "z").axes] == ["Nothing", "CFG Scale", "Steps"]


def test_numbers_become_labels() -> None:
    assert [
        axis.label for axis in with_labels(GridRequest(BASE, (AxisValues(4, "1"), AxisValues("cfg scale", "2")))).axes
    ] == [
        "Steps",
        "CFG Scale",
    ]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ((STEPS, STEPS), "two axes are both Steps"),
        ((STEPS, CFG, SEEDS, STEPS), "up to three axes"),
        ((AxisValues("Seed", "1-1000"), AxisValues("Steps", "1-1000")), "1000000 cells"),
    ],
)
def test_grids_that_cannot_be(axes: tuple[AxisValues, ...], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        cells(*axes)


def test_options_out_of_range() -> None:
    for options in ({"margin": 501}, {"margin": -1}, {"megapixels": 0.0}):
        with pytest.raises(SettingError):
            cells(STEPS, **options)


@given(st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_places_are_each_once_x_fastest(shape: list[int]) -> None:
    found = list(places(shape))
    assert len(found) == len(set(found)) == shape[0] * shape[1] * shape[2]
    assert found == sorted(found, key=lambda place: place[::-1])


# --- the prompt matrix ---------------------------------------------------------------------------------------------


def test_a_matrix_of_two_is_none_first_second_both() -> None:
    base = replace(BASE, prompt="castle | at night,| in snow ")
    made = expand(GridRequest(base, matrix=Matrix()), KNOWN)
    assert made.shape == (2, 2, 1)
    prompts = [base_of(cell.request).prompt for cell in made.cells]
    assert prompts == ["castle ", "castle , at night", "castle , in snow", "castle , at night, in snow"]
    assert made.lines[0].marks == ((("at night", False),), (("at night", True),))
    assert made.lines[1].marks == ((("in snow", False),), (("in snow", True),))
    assert made.cells[3].labels == ("at night, in snow",)


def test_a_matrix_has_the_larger_half_of_its_options_in_columns() -> None:
    columns, rows = matrix_axes("a|b|c|d")
    assert (len(columns), len(rows)) == (4, 2)
    assert columns[1] == (("b", True), ("c", False)) and rows[1] == (("d", True),)
    assert [len(part) for part in matrix_axes("a|b")] == [2, 1]


def test_the_options_of_a_matrix() -> None:
    base = replace(BASE, prompt="p", negative="q|r")
    made = expand(GridRequest(base, matrix=Matrix(True, True, True, True)), KNOWN)
    found = [base_of(cell.request) for cell in made.cells]
    assert [(one.prompt, one.negative, one.seed) for one in found] == [("p", "q", 5), ("p", "r q", 6)]
    with pytest.raises(SettingError, match=r"no \|"):
        expand(GridRequest(BASE, matrix=Matrix()), KNOWN)
    with pytest.raises(SettingError, match="2048 combinations"):
        matrix_prompts("a" + "|b" * 11, Matrix())


def test_bars_in_brackets_belong_to_the_prompt() -> None:
    assert split_matrix(r"[a|b] {c|d} | (e|f) | g\|h \(i | [j") == ["[a|b] {c|d} ", " (e|f) ", r" g|h \(i ", " [j"]


@given(st.lists(st.text("ab ,", max_size=4).filter(lambda text: text.strip(" ,")), min_size=1, max_size=5))
def test_each_combination_has_its_options_in_order(options: list[str]) -> None:
    prompts = matrix_prompts("|".join(["x", *options]), Matrix())
    assert len(prompts) == 2 ** len(options)
    for number, prompt in enumerate(prompts):
        chosen = [option.strip(" ,") for place, option in enumerate(options) if number >> place & 1]
        assert prompt == ", ".join(["x", *chosen])


def test_hires_is_left_alone() -> None:
    base = replace(BASE, hires=HiresFix(prompt="x"))
    assert base_of(cells(STEPS, base=base).cells[0].request).hires == HiresFix(prompt="x")
