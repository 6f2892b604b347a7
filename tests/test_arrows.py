"""The arrows between the rooms point one way: a room never imports one above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import hires

SOURCE = Path(hires.__file__).parent

RANKS = [
    ("errors",),
    ("settings", "imaging", "steady"),
    ("metadata", "sampling", "tiling", "graph", "models"),
    ("text",),
    ("nodes",),
    ("recipes", "pocket"),
    ("drawn", "fetching", "gallery", "ground", "jobs", "merging", "preparing", "workers"),
    ("runner",),
    ("gridding",),
    ("from_pictures",),
    ("over_plans",),
    ("api",),
    ("converting", "demo", "evaluating", "loopback", "options", "progress", "told", "verifying"),
    ("server",),
    ("ui",),
    ("commands",),
    ("cli",),
]
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}


def rooms_imported(path: Path) -> Iterator[str]:
    """The rooms of hires that a file imports, anywhere in it, also inside functions."""
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom) and statement.module and statement.level == 0:
            names = [f"{statement.module}.{alias.name}" for alias in statement.names]
        elif isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "hires" and len(parts) > 1 and parts[1] in RANK:
                yield parts[1]


def arrows() -> list[tuple[str, str, Path]]:
    found = []
    for path in SOURCE.rglob("*.py"):
        relative = path.relative_to(SOURCE)
        room = relative.parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        found += [(room, other, relative) for other in rooms_imported(path) if other != room]
    return found


def test_every_room_has_its_place() -> None:
    rooms = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms = {room for room in rooms if not room.startswith("__") and room != "py.typed"}
    assert rooms <= set(RANK), f"give {sorted(rooms - set(RANK))} a place in RANKS"


def test_no_arrow_points_upwards() -> None:
    wrong = [f"{path} imports {other}" for room, other, path in arrows() if RANK[other] >= RANK[room]]
    assert not wrong, "\n".join(wrong)


def test_the_walk_sees_imports() -> None:
    """Guards the test itself: known arrows are among those found."""
    pairs = {(room, other) for room, other, _ in arrows()}
    assert {("nodes", "sampling"), ("recipes", "errors"), ("text", "models")} <= pairs


def test_the_graph_and_the_imaging_know_nothing_of_models() -> None:
    for path in [*(SOURCE / "graph").rglob("*.py"), *(SOURCE / "imaging").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert "diffusers" not in text and "transformers" not in text, path
