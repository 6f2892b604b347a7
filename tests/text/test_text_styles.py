from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.text.styles import Style, applied, apply_styles, chosen_styles, infer_styles, load_styles, save_style

CSV = (
    '\ufeffname,prompt,negative_prompt\n# old,x,y\nOil,"oil painting, {prompt}, canvas",photo\n'
    ',nameless,\nFine,"4k, sharp",\n'
)
WORD = st.text(alphabet="ab ,{}()", min_size=1, max_size=8).map(str.strip).filter(bool)


def test_a_style_surrounds_or_follows() -> None:
    assert applied("cat", "oil, {prompt}, {prompt}") == "oil, cat, cat"
    assert applied("cat ", " 4k ") == "cat, 4k"
    assert applied("", "4k") == "4k"
    assert applied("cat", "") == "cat"
    styles = [Style("a", "x {prompt}", "bad"), Style("b", "y", "{prompt}, worse")]
    assert apply_styles("cat", "", styles) == ("x cat, y", "bad, worse")


def test_files_of_both_formats(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text(CSV, encoding="utf-8")
    (tmp_path / "styles_old.csv").write_text('name,text\nOld,"a\nb"\nFine,later\n', encoding="utf-8")
    found = load_styles([str(tmp_path / "styles*.csv")])
    assert found == {
        "Oil": Style("Oil", "oil painting, {prompt}, canvas", "photo"),
        "Fine": Style("Fine", "later"),
        "Old": Style("Old", "a\nb"),
    }
    assert load_styles([str(tmp_path / "none*.csv")]) == {}
    with pytest.raises(SettingError, match="no file of styles"):
        load_styles([tmp_path / "absent.csv"])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SettingError, match="names no column"):
        load_styles([tmp_path / "other.csv"])


def test_names_are_found_whatever_their_case() -> None:
    styles = {"Oil": Style("Oil", "x"), "ink": Style("ink", "y"), "INK": Style("INK", "z")}
    assert chosen_styles(["oil", "ink"], styles) == [Style("Oil", "x"), Style("ink", "y")]
    for wrong in ("Ink", "pen"):
        with pytest.raises(SettingError, match=f"no style '{wrong}'"):
            chosen_styles([wrong], styles)


def test_what_was_applied_is_recognised() -> None:
    styles = [Style("Oil", "oil of {prompt}, {prompt}", "photo"), Style("Fine", "4k, sharp"), Style("None")]
    prompt, negative = apply_styles("a cat", "blurry", styles)
    assert infer_styles(prompt, negative, styles) == (["Oil", "Fine"], "a cat", "blurry")
    assert infer_styles("a cat, 4k", "", styles) == ([], "a cat, 4k", "")
    assert infer_styles("not4k, sharp", "", styles) == ([], "not4k, sharp", "")


@given(WORD, WORD, st.lists(WORD, min_size=2, max_size=4), st.booleans())
def test_one_style_comes_off_again(prompt: str, negative: str, parts: list[str], around: bool) -> None:
    style = Style("s", "{prompt}".join(parts) if around else parts[0].replace("{prompt}", ""), parts[-1])
    made = apply_styles(prompt, negative, [style])
    assert infer_styles(*made, [style]) == (["s"], prompt, negative)


def test_saving_keeps_all_that_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text('name,text,note\n#c,comment,\nOld,"a, ""b""\r\nc",mine\n', encoding="utf-8", newline="")
    save_style(path, Style("New, one", "x\ny", "z"))
    assert load_styles([path]) == {"Old": Style("Old", 'a, "b"\r\nc'), "New, one": Style("New, one", "x\ny", "z")}
    text = path.read_text(encoding="utf-8-sig")
    assert "#c,comment" in text
    assert "mine" in text
    with pytest.raises(SettingError, match="already"):
        save_style(path, Style("Old", "other"))
    save_style(path, Style("Old", "other"), replace=True)
    assert load_styles([path])["Old"] == Style("Old", "other")
    assert [entry.name for entry in tmp_path.iterdir()] == ["styles.csv"]


def test_saving_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "styles.csv"
    names = [f"style {number}" for number in range(8)]
    threads = [threading.Thread(target=save_style, args=(path, Style(name, name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(load_styles([path])) == names


@given(st.lists(st.tuples(st.text(min_size=1), st.text(), st.text()), max_size=4))
def test_any_text_survives_the_file(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path_factory.mktemp("styles") / "s.csv"
    wanted = {}
    for name, prompt, negative in rows:
        if (
            name.strip()
            and not name.startswith("#")
            and not any("\ud800" <= c <= "\udfff" or c == "\0" for c in name + prompt + negative)
        ):
            save_style(path, Style(name, prompt, negative), replace=True)
            wanted[name] = Style(name, prompt, negative)
    assert (load_styles([path]) if path.exists() else {}) == wanted
