"""ComfyUI's files: looking at pictures, sending some, an editor's own; and names that would lead elsewhere."""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.server.conftest import shades

HOSTILE = [
    "../secret.txt", "..", "a/../../secret.txt", "/etc/passwd", "\\\\host\\share", "..\\secret.txt", "C:\\x.png",
    "c:x.png", "a\x00.png", "a\nb.png", "x" * 300, "con.png", "a:b.png",
]  # fmt: skip
"""Names that are refused wherever one is taken."""


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, format=kind, **options)
    return out.getvalue()


def sent(client: TestClient, data: bytes, name: str = "one.png", route: str = "/upload/image", **fields: str) -> Any:
    return client.post(route, files={"image": (name, data)}, data=fields)


@pytest.fixture
def secret(home: Path) -> Path:
    path = home / "secret.txt"
    path.write_text("nobody may read this")
    return path


def test_what_is_sent_can_be_seen_and_loaded(client: TestClient, home: Path) -> None:
    data = encoded(shades(16))
    told = sent(client, data, "seen.png", subfolder="deep/down").json()
    assert told == {"name": "seen.png", "subfolder": "deep/down", "type": "input"}
    assert (home / "input" / "deep" / "down" / "seen.png").read_bytes() == data
    assert client.get("/view?filename=seen.png&subfolder=deep/down&type=input").content == data
    assert client.get("/view?filename=seen.png [input]&subfolder=deep/down").content == data
    listed = client.get("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"]
    assert "deep/down/seen.png" in listed[0] and listed[1]["image_upload"] is True


def test_names_are_made_unique_unless_they_may_be_overwritten(client: TestClient, home: Path) -> None:
    first, second, third = (encoded(Image.new("RGB", (4, 4), (n, 0, 0))) for n in range(3))
    assert sent(client, first, "twice.png").json()["name"] == "twice.png"
    assert sent(client, first, "twice.png").json()["name"] == "twice.png"
    assert sent(client, second, "twice.png").json()["name"] == "twice (1).png"
    assert sent(client, second, "twice.png").json()["name"] == "twice (1).png"
    assert sent(client, third, "twice.png").json()["name"] == "twice (2).png"
    assert sent(client, third, "twice.png", overwrite="true").json()["name"] == "twice.png"
    assert (home / "input" / "twice.png").read_bytes() == third
    assert (home / "input" / "twice (1).png").read_bytes() == second
    assert not list((home / "input").glob(".*"))


def test_the_ending_is_the_contents(client: TestClient, home: Path) -> None:
    told = sent(client, encoded(shades(8), "JPEG"), "page.html").json()
    assert told["name"] == "page.jpg" and (home / "input" / "page.jpg").is_file()
    assert sent(client, encoded(shades(8), "WEBP"), "v1.5").json()["name"] == "v1.5.webp"


@pytest.mark.parametrize("data", [b"", b"<html><script>alert(1)</script>", encoded(shades(32))[:60], b"GIF89a"])
def test_what_is_no_picture_is_not_kept(client: TestClient, home: Path, data: bytes) -> None:
    before = sorted((home / "input").rglob("*"))
    answer = sent(client, data, "bad.png")
    assert answer.status_code == 400 and str(home) not in answer.text
    assert sorted((home / "input").rglob("*")) == before


def test_a_bomb_is_not_opened(client: TestClient) -> None:
    bomb = bytearray(encoded(Image.new("1", (8, 8))))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    answer = sent(client, bytes(bomb), "bomb.png")
    assert answer.status_code == 400


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_inside_their_folders(client: TestClient, home: Path, secret: Path, name: str) -> None:
    data = encoded(shades(8))
    before = set(home.rglob("*"))
    for query in ({"filename": name}, {"filename": f"{name} [input]"}, {"filename": "a.png", "subfolder": name}):
        for kind in ("input", "output", "temp"):
            answer = client.get("/view", params=query | {"type": kind})
            assert answer.status_code in (400, 403, 404) and "nobody" not in answer.text
    assert sent(client, data, "fine.png", subfolder=name).status_code in (400, 403)
    if not {"\x00", "\n", "\\"} & set(name):  # a form cannot name a file so
        assert sent(client, data, name).status_code in (400, 403)
    for answer in (
        client.get("/userdata", params={"dir": name}),
        client.get(f"/userdata/{_quoted(name)}"),
        client.post(f"/userdata/{_quoted(name)}", content=b"{}"),
        client.delete(f"/userdata/{_quoted(name)}"),
        client.post(f"/userdata/a.json/move/{_quoted(name)}"),
        client.get(f"/view_metadata/checkpoints?filename={_quoted(name)}.safetensors"),
    ):
        assert answer.status_code in (400, 403, 404, 405), answer.text
    assert set(home.rglob("*")) == before
    assert secret.read_text() == "nobody may read this"


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="").replace("..", "%2E%2E")


def test_links_that_lead_out_are_not_followed(client: TestClient, home: Path, secret: Path) -> None:
    (home / "input").mkdir(exist_ok=True)
    (home / "user" / "default").mkdir(parents=True, exist_ok=True)
    for folder in (home / "input", home / "user" / "default"):
        os.symlink(secret, folder / "link.png")
        os.symlink(home, folder / "all")
    assert client.get("/view?filename=link.png&type=input").status_code == 403
    assert client.get("/view?filename=secret.txt&subfolder=all&type=input").status_code == 403
    assert client.get("/userdata/link.png").status_code == 403
    assert client.get("/userdata/all%2Fsecret.txt").status_code == 403
    assert client.post("/userdata/all%2Fnew.txt", content=b"x").status_code == 403
    assert sent(client, encoded(shades(8)), "x.png", subfolder="all").status_code == 403
    assert client.get("/userdata?dir=all").status_code == 403


def test_only_pictures_are_shown_as_such(client: TestClient, home: Path) -> None:
    (home / "output").mkdir(exist_ok=True)
    (home / "output" / "page.html").write_text("<script>alert(1)</script>")
    (home / "output" / "drawing.svg").write_text("<svg><script>alert(1)</script></svg>")
    for name in ("page.html", "drawing.svg"):
        answer = client.get(f"/view?filename={name}")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
    (home / "output" / ".hidden.png").write_bytes(encoded(shades(8)))
    assert client.get("/view?filename=.hidden.png").status_code == 400
    assert client.get("/view?filename=one.png&type=models").status_code == 400


def test_previews_and_channels(client: TestClient, home: Path) -> None:
    picture = shades(32)
    alpha = Image.new("L", (32, 32), 77)
    picture.putalpha(alpha)
    name = sent(client, encoded(picture), "clear.png").json()["name"]
    asked = f"/view?filename={name}&type=input"

    def got(query: str) -> Image.Image:
        answer = client.get(asked + query)
        assert answer.status_code == 200, answer.text
        shown = Image.open(BytesIO(answer.content))
        assert answer.headers["content-type"] == f"image/{(shown.format or '').lower()}"
        return shown

    assert got("&channel=rgb").mode == "RGB"
    assert np.array_equal(np.asarray(got("&channel=rgb")), np.asarray(picture.convert("RGB")))
    assert got("&channel=a").getextrema() == (77, 77)
    assert got("&preview=webp;90").format == "WEBP" and got("&preview=jpeg;50").size == (32, 32)
    assert got("&preview=webp;x&channel=a").format == "WEBP"
    assert client.get(asked + "&preview=exe").status_code == 400
    assert client.get(asked + "&channel=q").status_code == 400


def test_a_mask_becomes_the_transparency(client: TestClient, home: Path) -> None:
    texts = PngInfo()
    texts.add_text("prompt", "{}")
    name = sent(client, encoded(shades(16), pnginfo=texts), "base.png").json()["name"]
    mask = shades(16)
    mask.putalpha(Image.linear_gradient("L").resize((16, 16)))
    reference = json.dumps({"filename": name, "subfolder": "", "type": "input"})
    told = sent(client, encoded(mask), "masked.png", "/upload/mask", original_ref=reference).json()
    painted = Image.open(home / "input" / told["name"])
    assert painted.info["prompt"] == "{}"
    assert np.array_equal(np.asarray(painted.convert("RGB")), np.asarray(shades(16)))
    assert np.array_equal(np.asarray(painted.getchannel("A")), np.asarray(mask.getchannel("A")))
    for bad in ("", "[]", "{", json.dumps({"filename": "../secret.txt"}), json.dumps({"filename": "none.png"})):
        answer = sent(client, encoded(mask), "masked.png", "/upload/mask", original_ref=bad)
        assert answer.status_code in (400, 404, 422)
    small = encoded(Image.new("RGBA", (3, 3)))
    assert sent(client, small, "m.png", "/upload/mask", original_ref=reference).status_code == 400


def test_an_editors_files(client: TestClient, home: Path) -> None:
    assert client.get("/userdata?dir=workflows").json() == []
    assert client.get("/userdata?dir=nothing").status_code == 404
    assert client.post("/userdata/workflows%2Fa.json", content=b'{"a": 1}').json() == "workflows/a.json"
    assert client.post("/userdata/workflows%2Fb%2Fc.json?full_info=true", content=b"{}").json()["size"] == 2
    assert client.post("/userdata/workflows%2F.index.json", content=b"{}").status_code == 200
    assert client.get("/userdata/workflows%2Fa.json").json() == {"a": 1}
    assert client.post("/userdata/workflows%2Fa.json?overwrite=false", content=b"no").status_code == 409
    assert client.get("/userdata?dir=workflows").json() == ["a.json"]
    assert client.get("/userdata?dir=workflows&recurse=true").json() == ["a.json", "b/c.json"]
    assert client.get("/userdata?dir=workflows&recurse=true&split=true").json()[1] == ["b/c.json", "b", "c.json"]
    (info,) = client.get("/editor/api/userdata?dir=workflows&full_info=true").json()
    assert info["path"] == "a.json" and info["size"] == 8 and info["modified"] > 0
    moved = client.post("/userdata/workflows%2Fa.json/move/workflows%2Fd.json?overwrite=false")
    assert moved.json() == "workflows/d.json"
    assert client.post("/userdata/workflows%2Fd.json/move/workflows%2Fb%2Fc.json?overwrite=false").status_code == 409
    assert client.post("/userdata/workflows%2Fd.json%2Fx", content=b"").status_code == 409
    assert client.post("/userdata/workflows", content=b"").status_code == 409
    assert client.delete("/userdata/workflows%2Fd.json").status_code == 204
    assert client.get("/userdata/workflows%2Fd.json").status_code == 404
    assert client.get("/userdata").status_code == 400
    assert (home / "user" / "default" / "workflows" / "b" / "c.json").read_bytes() == b"{}"


def test_an_editors_settings(client: TestClient, home: Path) -> None:
    at_first = {"Comfy.Notification.ShowVersionUpdates": False}
    assert client.get("/api/settings").json() == at_first
    assert client.get("/settings/Comfy.None").json() is None
    assert client.post("/settings", json={"Comfy.A": 1, "Comfy.B": [2]}).status_code == 200
    assert client.post("/settings/Comfy.A", json=True).status_code == 200
    assert client.get("/settings").json() == at_first | {"Comfy.A": True, "Comfy.B": [2]}
    kept = home / "user" / "default" / "comfy.settings.json"
    assert json.loads(kept.read_text()) == {"Comfy.A": True, "Comfy.B": [2]}
    assert client.post("/settings", content=b"[1]").status_code == 400
    assert client.post("/settings/Comfy.A", content=b"{").status_code == 400
    assert client.get("/settings/Comfy.A").json() is True


def test_what_an_editor_reads_before_it_has_written(client: TestClient, home: Path) -> None:
    for place in ("/user.css", "/editor/user.css", "/editor/api/userdata/user.css"):
        found = client.get(place)
        assert found.status_code == 200 and found.text == "" and found.headers["content-type"].startswith("text/css")
    assert client.get("/api/userdata/comfy.templates.json").json() == []
    assert client.get("/userdata?dir=subgraphs&recurse=true&full_info=true").json() == []
    assert client.post("/userdata/user.css", content=b"body { color: red }").json() == "user.css"
    assert client.get("/editor/user.css").text == "body { color: red }"
    assert client.get("/userdata/other.css").status_code == 404
    assert client.get("/userdata/workflows%2Fuser.css").status_code == 404


def test_an_editors_folders(client: TestClient, home: Path, tmp_path: Path) -> None:
    client.post("/userdata/tree%2Fa.json", content=b'{"a": 1}')
    client.post("/userdata/tree%2Fb%2Fc.json", content=b"{}")
    (home / "user" / "default" / "tree" / "out").symlink_to(tmp_path)
    file, folder = client.get("/v2/userdata?path=tree").json()
    assert file.pop("modified") > 0
    assert file == {"name": "a.json", "path": "tree/a.json", "type": "file", "size": 8}
    assert folder == {"name": "b", "path": "tree/b", "type": "directory"}
    assert "tree" in [one["name"] for one in client.get("/editor/api/v2/userdata").json()]
    for wrong, status in (("nothing", 404), ("..", 400), ("/etc", 400), ("tree/out", 403)):
        assert client.get("/v2/userdata", params={"path": wrong}).status_code == status
