from __future__ import annotations

import csv
import io
import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.recipes.grids.values import MOST_VALUES, decimal_numbers, join_values, split_values, whole_numbers

SMALL = st.integers(-200, 200)
TENTHS = st.integers(-500, 500).map(lambda tenths: Fraction(tenths, 10))


def written(value: Fraction | int) -> str:
    """A number as a person writes it: no exponent, no needless zeros."""
    value = Fraction(value)
    text = f"{abs(value.numerator) * 10 // value.denominator:02}"
    text = f"{text[:-1]}.{text[-1]}".removesuffix(".0")
    return f"-{text}" if value < 0 else text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1-5", [1, 2, 3, 4, 5]),
        ("1-5 (+2)", [1, 3, 5]),
        ("20-50 (+10)", [20, 30, 40, 50]),
        ("1-10 [5]", [1, 3, 5, 7, 10]),
        ("20-50[4]", [20, 30, 40, 50]),
        ("1--3 (-1)", [1, 0, -1, -2, -3]),
        ("10-6 (-2)", [10, 8, 6]),
        ("10-5 (-3)", [10, 7]),
        ("5-1", [5, 4, 3, 2, 1]),
        ("-1", [-1]),
        ("-5 - -3", [-5, -4, -3]),
        ("7 - 7", [7]),
        ("3-9[1]", [3]),
        (' 1 ,2,, "3" ,4-5', [1, 2, 3, 4, 5]),
        ("+3", [3]),
    ],
)
def test_whole_numbers(text: str, values: list[int]) -> None:
    assert whole_numbers(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1-3 (+0.5)", [1, 1.5, 2, 2.5, 3]),
        ("0-1 (+0.1)", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("7-9 (+0.7)", [7, 7.7, 8.4]),
        ("10-5 (-3)", [10, 7]),
        (".5, 1., 0.25-0.75 [3]", [0.5, 1, 0.25, 0.5, 0.75]),
        ("0.5-2.5", [0.5, 1.5, 2.5]),
    ],
)
def test_decimal_numbers(text: str, values: list[float]) -> None:
    assert decimal_numbers(text) == values


@pytest.mark.parametrize(
    "text",
    [
        *("1.5", "a", "1-", "1-5 (2)", "1-5 (+0)", "1-5 (-1)", "5-1 (+1)", "1-5 [0]", "1-5 [-2]", "1-999999999"),
        *("1-5 [99999]", "1-5 (+1) [3]", "1e3", "0x10", "nan"),
    ],
)
def test_what_is_no_range_of_whole_numbers_is_refused(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        whole_numbers(text)
    assert "\n" not in str(caught.value)


def test_decimals_must_be_finite_numbers() -> None:
    for text in ("nan", "inf", "1e400", "1.2.3"):
        with pytest.raises(SettingError):
            decimal_numbers(text)


def test_an_axis_has_a_bounded_number_of_values() -> None:
    assert len(whole_numbers(f"1-{MOST_VALUES}")) == MOST_VALUES
    with pytest.raises(SettingError, match="1001 values"):
        whole_numbers(f"1-{MOST_VALUES + 1}")
    with pytest.raises(SettingError, match="values"):
        split_values(",".join(["a"] * (MOST_VALUES + 1)))


@given(SMALL, SMALL)
def test_a_range_of_two_numbers_has_every_whole_number_between(low: int, high: int) -> None:
    values = whole_numbers(f"{low}-{high}")
    assert values == list(range(low, high + 1)) or values == list(range(low, high - 1, -1))
    assert values[0] == low and values[-1] == high


@given(TENTHS, TENTHS, st.integers(1, 60).map(lambda tenths: Fraction(tenths, 10)))
def test_a_range_with_a_step_never_passes_its_end(low: Fraction, high: Fraction, step: Fraction) -> None:
    step = step if high >= low else -step
    if abs((high - low) / step) >= MOST_VALUES:
        return
    sign = "+" if step > 0 else "-"
    values = decimal_numbers(f"{written(low)}-{written(high)} ({sign}{written(abs(step))})")
    assert values == [float(low + index * step) for index in range(len(values))]
    last = low + (len(values) - 1) * step
    assert abs(high - last) < abs(step) and (high - last) * step >= 0


@given(TENTHS, TENTHS, st.integers(2, 40))
def test_a_range_with_a_count_has_both_ends(low: Fraction, high: Fraction, count: int) -> None:
    values = decimal_numbers(f"{written(low)} - {written(high)} [{count}]")
    assert len(values) == count and (values[0], values[-1]) == (float(low), float(high))
    steps = [second - first for first, second in itertools.pairwise(values)]
    assert max(steps) - min(steps) < 1e-9


@given(SMALL, SMALL, st.integers(1, 40))
def test_whole_numbers_of_a_count_are_truncated(low: int, high: int, count: int) -> None:
    wanted = [int(low + Fraction(high - low) * index / max(count - 1, 1)) for index in range(count)]
    assert whole_numbers(f"{low}-{high}[{count}]") == wanted


ITEM = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(ITEM, min_size=1, max_size=8))
def test_items_survive_writing_and_reading(items: list[str]) -> None:
    assert split_values(join_values(items)) == items


@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40))
def test_items_are_those_of_csv_trimmed(text: str) -> None:
    try:
        rows = list(csv.reader(io.StringIO(text), skipinitialspace=True))
    except csv.Error:
        with pytest.raises(SettingError):
            split_values(text)
        return
    assert split_values(text) == [item.strip() for row in rows for item in row if item.strip()]


@given(st.text('0123456789-+ .()[],x"', max_size=24))
def test_any_text_gives_numbers_or_one_line(text: str) -> None:
    for read in (whole_numbers, decimal_numbers):
        try:
            assert all(isinstance(value, int | float) for value in read(text))
        except SettingError as error:
            assert "\n" not in str(error)
