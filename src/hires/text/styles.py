"""Styles: named pieces of prompts in CSV files (`name,prompt,negative_prompt`), as the A1111 web UI keeps them."""

from __future__ import annotations

import csv
import glob
import io
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hires.errors import OutputError, SettingError

PLACE: Final = "{prompt}"
COLUMNS: Final = ("name", "prompt", "negative_prompt")
MOST_BYTES: Final = 64_000_000
LOCK_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Style:
    """Text to be laid around or behind a prompt and a negative prompt."""

    name: str
    prompt: str = ""
    negative: str = ""


# --- applying and recognising --------------------------------------------------------------------------------------


def applied(text: str, style_text: str) -> str:
    """`text` put at every `{prompt}` of the style, or followed by the style."""
    if PLACE in style_text:
        return style_text.replace(PLACE, text)
    return ", ".join(part for part in (text.strip(), style_text.strip()) if part)


def apply_styles(prompt: str, negative: str, styles: Sequence[Style]) -> tuple[str, str]:
    """Both prompts with the styles, one after the other."""
    for style in styles:
        prompt, negative = applied(prompt, style.prompt), applied(negative, style.negative)
    return prompt, negative


def infer_styles(prompt: str, negative: str, styles: Sequence[Style]) -> tuple[list[str], str, str]:
    """(names, prompt, negative): the styles that may have made these prompts, in the order in which they apply, and
    what is left without them. A style counts where both of its texts are found."""
    names: list[str] = []
    rest = list(styles)
    while True:
        for style in rest:
            found = _without_style(prompt, negative, style)
            if found is not None:
                break
        else:
            return names[::-1], prompt, negative
        prompt, negative = found
        names.append(style.name)
        rest.remove(style)


def _without_style(prompt: str, negative: str, style: Style) -> tuple[str, str] | None:
    if not style.prompt.strip() and not style.negative.strip():
        return None
    left, left_negative = _without(prompt, style.prompt), _without(negative, style.negative)
    return None if left is None or left_negative is None else (left, left_negative)


def _without(text: str, style_text: str) -> str | None:
    """The text that `applied` may have made `text` of; None if it cannot have."""
    text, style_text = text.strip(), style_text.strip()
    if PLACE not in style_text:
        if not text.endswith(style_text):
            return None
        rest = text.removesuffix(style_text) if style_text else text
        if not style_text or not rest:
            return rest
        return rest.removesuffix(", ") if rest.endswith(", ") else None
    parts = style_text.split(PLACE)
    room = len(text) - sum(map(len, parts))
    if room < 0 or room % (len(parts) - 1):
        return None
    start = len(parts[0])
    inner = text[start : start + room // (len(parts) - 1)]
    return inner if inner.join(parts) == text else None


# --- files ---------------------------------------------------------------------------------------------------------


def load_styles(files: Sequence[str | Path]) -> dict[str, Style]:
    """The styles of files, or of all that a wildcard pattern names (absent patterns' files are none); a later style
    takes the place of an earlier one of its name. Rows whose name starts with # are comments."""
    found: dict[str, Style] = {}
    for entry in files:
        for path in _matching(entry):
            found |= {style.name: style for style in _read(path)}
    return found


def chosen_styles(names: Sequence[str], styles: Mapping[str, Style]) -> list[Style]:
    """The styles of these names, letter case aside where that is clear. SettingError for a name that is not there."""
    folded: dict[str, list[Style]] = {}
    for style in styles.values():
        folded.setdefault(style.name.casefold(), []).append(style)
    chosen = []
    for name in names:
        near = folded.get(name.strip().casefold(), [])
        if name not in styles and len(near) != 1:
            listed = ", ".join(list(styles)[:20]) + (" ..." if len(styles) > 20 else "")
            raise SettingError(
                f"there is no style {name!r}", f"There are: {listed}." if styles else "Name a file of styles: --styles."
            )
        chosen.append(styles.get(name) or near[0])
    return chosen


def save_style(path: Path, style: Style, *, replace: bool = False) -> None:
    """Write a style to a file, behind what stands there. Nothing of it is lost: comments, other columns, the old
    format's texts; the file is exchanged as a whole, and others who save at the same time wait.

    SettingError for a name that is taken, unless `replace`; OutputError where the file cannot be written.
    """
    if not style.name.strip() or style.name.startswith("#"):
        raise SettingError(f"a style cannot be called {style.name!r}", "Give it a name that does not start with #.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            columns, rows = _table(path) if path.is_file() else (list(COLUMNS), [])
            row = {"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative}
            taken = [index for index, old in enumerate(rows) if old.get("name") == style.name]
            if taken and not replace:
                raise SettingError(f"{path.name} has a style {style.name!r} already", "Choose another name.")
            if taken:
                rows[taken[-1]] = rows[taken[-1]] | row
            else:
                rows.append(row)
            _write(path, columns, rows)
    except OSError as error:
        raise OutputError(f"the styles {path} cannot be written: {error.strerror or error}") from error


def _matching(entry: str | Path) -> list[Path]:
    pattern = os.path.expanduser(entry)
    if any(mark in pattern for mark in "*?["):
        return [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(name)]
    if not os.path.isfile(pattern):
        raise SettingError(f"there is no file of styles {entry}")
    return [Path(pattern)]


def _read(path: Path) -> Iterator[Style]:
    for row in _table(path)[1]:
        name = row.get("name") or ""
        if name.strip() and not name.startswith("#"):
            yield Style(name, row.get("prompt") or "", row.get("negative_prompt") or "")


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a file; the old format's `text` is taken for `prompt`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SettingError(f"{path} is too large for a file of styles")
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
        columns = list(reader.fieldnames or COLUMNS)
        rows = [{key: _joined(value) for key, value in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"the styles {path} cannot be read: {error}", "They are CSV in UTF-8.") from error
    if "name" not in columns:
        raise SettingError(f"{path} is no file of styles: its first line names no column `name`")
    if "prompt" not in columns and "text" in columns:
        columns[columns.index("text")] = "prompt"
        for row in rows:
            row["prompt"] = row.pop("text", "")
    columns += [column for column in COLUMNS if column not in columns]
    return columns, rows


def _joined(value: str | list[str] | None) -> str:
    """What stands behind the last column goes on in one piece: commas that were not quoted."""
    return ",".join(value) if isinstance(value, list) else value or ""


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    surplus = [""] if any("" in row for row in rows) and "" not in columns else []
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, [*columns, *surplus], restval="")
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with a file of styles: who holds the lock has made a file beside it that others could not make."""
    lock = path.with_name(f".{path.name}.lock")
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            if time.monotonic() > end:
                raise OutputError(
                    f"the styles {path} are being written by another program", f"If none is running, remove {lock}."
                ) from None
            time.sleep(0.02)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
