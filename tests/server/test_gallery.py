"""The gallery's routes: pictures small and whole, two compared, grids' pages, workflows for the editor."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.gallery.pictures import drawn
from tests.recipes.drawn_grid import written_grid
from tests.server.conftest import HERE, settings_in

from hires.recipes.grids.page import policy, write_page
from hires.server.app import create_app
from hires.server.gallery import Gallery, token

HOSTILE = [
    "../secret.png",
    "..%2fsecret.png",
    "/etc/passwd",
    "link.png",
    ".trash/x/y.png",
    "a/../../secret.png",
    "\x00",
    "",
]
DRAWS = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
         "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("gallery")
    root = home / "output"
    drawn(root, "one.png", "one lighthouse", size=(640, 480))
    drawn(root, "sub/등대 #2.png", "two")
    drawn(root, "flow.png", texts={"prompt": json.dumps(DRAWS)})
    drawn(root, "ui.png", texts={"workflow": json.dumps({"nodes": [], "links": [], "version": 0.4})})
    (root / "link.png").symlink_to(drawn(home, "secret.png"))
    (root / "note.txt").write_text("no picture")
    (root / "grids/grid_00001").mkdir(parents=True)
    record = written_grid(root / "grids/grid_00001")
    (root / "grids/grid_00001/grid.json").write_text(json.dumps(record))
    write_page(root / "grids/grid_00001", record)
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings_in(home)), base_url=HERE, raise_server_exceptions=False) as found:
        yield found


def test_thumbnails_and_pictures_are_given_by_name(client: TestClient, home: Path) -> None:
    small = client.get("/gallery/thumbnail", params={"name": "one.png", "stamp": "1"})
    with Image.open(BytesIO(small.content)) as picture:
        assert picture.format == "WEBP" and picture.size == (320, 240)
    assert "max-age" in small.headers["cache-control"]
    whole = client.get("/gallery/picture", params={"name": "sub/등대 #2.png"})
    assert whole.content == (home / "output/sub/등대 #2.png").read_bytes()
    assert "sandbox" in whole.headers["content-security-policy"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_get_nothing(client: TestClient, name: str) -> None:
    for place in ("thumbnail", "picture", "workflow"):
        assert client.get(f"/gallery/{place}", params={"name": name}).status_code in (400, 422)
    assert client.get("/gallery/compare", params={"a": name, "b": "one.png"}).status_code == 400
    assert client.get("/gallery/thumbnail", params={"name": name, "trash": ".."}).status_code == 400
    assert client.get(f"/editor/workflow_templates/gallery/{token(name)}.json").status_code in (400, 404)
    assert client.get(f"/gallery/grids/{quote(name)}").status_code in (400, 403, 404)


def test_two_pictures_are_compared_on_the_page_of_grids(client: TestClient) -> None:
    answer = client.get("/gallery/compare", params={"a": "one.png", "b": "sub/등대 #2.png"})
    assert answer.status_code == 200 and answer.headers["content-security-policy"].startswith(policy())
    data = json.loads(answer.text.partition('id="data">')[2].partition("</script>")[0])
    assert data["pictures"]["one.png"] == {
        "source": "picture?name=one.png", "width": 640, "height": 480, "digest": "one.png"
    }  # fmt: skip
    assert data["grid"]["cells"][1]["settings"]["Prompt"] == "two"
    for picture in data["pictures"].values():
        assert client.get(f"/gallery/{picture['source']}").headers["content-type"] == "image/png"


def test_a_grids_page_runs_no_script_but_its_own(client: TestClient, home: Path) -> None:
    folder = home / "output/grids/grid_00001"
    answer = client.get("/gallery/grids/grids/grid_00001", follow_redirects=True)
    assert answer.status_code == 200 and str(answer.url).endswith("/grid_00001/")
    assert answer.headers["content-security-policy"].startswith(policy())
    assert client.get("/gallery/grids/grids/grid_00001/cells/00-00-00.png").status_code in (200, 404)
    (folder / "index.html").write_text("<script>alert(1)</script>")
    again = client.get("/gallery/grids/grids/grid_00001/")
    assert again.text == answer.text and "alert(1)" not in again.text
    assert client.get("/gallery/grids/grids/grid_00001/grid.json").status_code == 404
    assert client.get("/gallery/grids/note.txt").status_code == 404
    assert client.get("/gallery/grids/sub/").status_code == 404


def test_a_pictures_workflow_is_told_to_the_editor(client: TestClient) -> None:
    for name in ("flow.png", "ui.png"):
        answer = client.get(f"/editor/api/workflow_templates/gallery/{token(name)}.json")
        assert answer.status_code == 200, answer.text
        assert isinstance(answer.json()["nodes"], list)
        file = client.get("/gallery/workflow", params={"name": name})
        assert file.json() == answer.json() and "attachment" in file.headers["content-disposition"]
    types = [node["type"] for node in client.get("/gallery/workflow", params={"name": "flow.png"}).json()["nodes"]]
    assert sorted(types) == ["EmptyImage", "SaveImage"]


def test_the_trash_is_told_of_gives_back_one_and_is_emptied(client: TestClient, home: Path) -> None:
    gallery = client.app.state.server.gallery  # type: ignore[attr-defined]
    sizes = {}
    for name in ("t1.png", "t2.png", "t3.png"):
        sizes[name] = drawn(home / "output", name).stat().st_size
    first, second = gallery.throw(["t1.png", "t2.png"]), gallery.throw(["t3.png"])
    for name in ("t1.png", "t2.png"):
        assert client.get("/gallery/thumbnail", params={"name": name, "trash": first}).status_code == 200
    whole = client.get("/hires/v1/trash").json()
    assert (whole["count"], whole["bytes"]) == (3, sum(sizes.values()))
    part = client.get("/hires/v1/trash", params={"limit": 1, "offset": 1}).json()
    assert part["count"] == 3 and part["pictures"] == whole["pictures"][1:2]
    back = client.post("/hires/v1/trash/restore", json={"deletion": first, "name": "t1.png"})
    assert back.json() == {"name": "t1.png"} and (home / "output/t1.png").is_file()
    assert client.post("/hires/v1/trash/restore", json={"deletion": first, "name": "t1.png"}).status_code == 404
    assert client.delete("/hires/v1/trash", params={"deletion": [first]}).json() == {
        "count": 1, "bytes": sizes["t2.png"]
    }  # fmt: skip
    assert [one["deletion"] for one in client.get("/hires/v1/trash").json()["pictures"]] == [second]
    assert client.delete("/hires/v1/trash").json() == {"count": 1, "bytes": sizes["t3.png"]}
    assert client.get("/hires/v1/trash").json() == {"count": 0, "bytes": 0, "pictures": []}
    assert client.get("/gallery/thumbnail", params={"name": "t2.png", "trash": first}).status_code == 400
    assert (home / "output/t1.png").is_file() and (home / "output/one.png").is_file()


@pytest.mark.parametrize("name", HOSTILE)
def test_the_trash_gives_back_nothing_from_elsewhere(client: TestClient, home: Path, name: str) -> None:
    for deletion in ("20260101-000000-00000000", "..", "", "../output"):
        answer = client.post("/hires/v1/trash/restore", json={"deletion": deletion, "name": name})
        assert answer.status_code == 404, answer.text
    assert client.delete("/hires/v1/trash", params={"deletion": ["..", name]}).json()["count"] == 0
    assert client.delete("/hires/v1/trash", headers={"origin": "https://elsewhere.example"}).status_code == 403
    assert (home / "secret.png").is_file()


def test_the_gallery_sees_grids_and_gives_back_what_was_thrown_away(home: Path) -> None:
    gallery = Gallery(settings_in(home))
    until = time.monotonic() + 60
    while not gallery.look() and time.monotonic() < until:
        pass
    assert [grid.name for grid in gallery.grids()] == ["grids/grid_00001"]
    before = gallery.index.search("").total
    deletion = gallery.throw(["flow.png"])
    assert gallery.index.search("").total == before - 1
    assert gallery.restore(deletion, "flow.png") == "flow.png"
    assert gallery.index.search("").total == before
    gallery.index.close()
