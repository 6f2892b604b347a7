"""Input from outside that means harm, or none: answered with 4xx, in words, without insides; the server goes on."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.server.conftest import SMALL, coded, shades

from hires.errors import HiresError
from hires.server.pictures import opened, picture_bytes, stored

API = "/sdapi/v1"
PICTURE_ROUTES = {
    "img2img": lambda text: {**SMALL, "init_images": [text]},
    "extra-single-image": lambda text: {"image": text, "upscaler_1": "Lanczos"},
    "extra-batch-images": lambda text: {"imageList": [{"data": text, "name": "../../x.png"}]},
    "png-info": lambda text: {"image": text},
    "interrogate": lambda text: {"image": text, "model": "clip"},
}


def claims(width: int, height: int) -> str:
    """A PNG of a few bytes that says it is of that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )
    return base64.b64encode(data).decode()


def cut_off() -> str:
    data = base64.b64decode(coded(shades()))
    return base64.b64encode(data[: len(data) // 2]).decode()


BAD: dict[str, str] = {
    "address": "http://169.254.169.254/latest/meta-data",
    "secure address": "HTTPS://example.org/a.png",
    "file address": "file:///etc/passwd",
    "path": "/etc/passwd",
    "no base64": "%%%%",
    "text": base64.b64encode(b"hello").decode(),
    "svg": base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(),
    "postscript": base64.b64encode(b"%!PS-Adobe-3.0\nshowpage").decode(),
    "cut off": cut_off(),
    "bomb": claims(60_000, 60_000),
    "no pixels": claims(0, 10),
    "data url of text": "data:text/html;base64,aGk=",
    "open data url": "data:image/png;base64",
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("route", PICTURE_ROUTES)
def test_a_bad_picture_is_refused(route: str, what: str, client: TestClient) -> None:
    answer = client.post(f"{API}/{route}", json=PICTURE_ROUTES[route](BAD[what]))
    assert answer.status_code == 400, answer.text[:300]
    assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert "Traceback" not in answer.text and "/tmp" not in answer.text and "passwd" not in answer.text


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:image/jpeg;name=a.jpg;base64,", " \n"])
def test_a_picture_is_known_by_its_content(kind: str, prefix: str, tmp_path: Path) -> None:
    data, picture = opened(prefix + coded(shades(), kind), 10_000)
    assert picture.size == (64, 64) and base64.b64decode(coded(shades(), kind)) == data
    path = stored(prefix + coded(shades(), kind), tmp_path, 10_000)
    assert path.parent == tmp_path and path.read_bytes() == data
    with Image.open(path) as found:
        assert found.format == kind


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode())))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        picture_bytes(text)
        opened(text, 10_000)
    except HiresError as error:
        assert "\n" not in str(error)


LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["../../etc/passwd", "<lora:../x:1>", "__../x__", "\x00", "x" * 5000]),
)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
POSTS = ("txt2img", "img2img", "extra-single-image", "extra-batch-images", "png-info", "interrogate", "options")
FIELDS = (
    "prompt",
    "styles",
    "seed",
    "sampler_name",
    "scheduler",
    "batch_size",
    "cfg_scale",
    "override_settings",
    "script_name",
    "script_args",
    "alwayson_scripts",
    "infotext",
    "init_images",
    "image",
    "imageList",
    "model",
    "upscaler_1",
    "upscaling_resize",
    "hr_upscaler",
    "enable_hr",
    "refiner_checkpoint",
    "mask",
    "sd_vae",
    "sd_model_checkpoint",
    "force_task_id",
    "eta",
    "subseed_strength",
    "comments",
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(route=st.sampled_from(POSTS), body=st.dictionaries(st.sampled_from(FIELDS), VALUE, min_size=1, max_size=5))
def test_no_body_is_a_fault_of_ours(route: str, body: dict[str, Any], client: TestClient) -> None:
    never = {"steps": 0} if route in ("txt2img", "img2img") else {"no_such": 1} if route == "options" else {}
    answer = client.post(f"{API}/{route}", json={**body, **never})
    assert answer.status_code < 500, (route, body, answer.text[:500])
    assert "Traceback" not in answer.text and str(Path.cwd()) not in answer.text and "/tmp" not in answer.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"steps": NaN}',
        b'{"cfg_scale": Infinity}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'{"prompt": "\\ud800"}',
        b'{"width": 1e400}',
    ],
)
@pytest.mark.parametrize("route", ["txt2img", "options", "png-info"])
def test_bad_json_is_told(route: str, content: bytes, client: TestClient) -> None:
    if content == b'{"prompt": "\\ud800"}':
        content = b'{"prompt": "\\ud800", "steps": 0}'
    answer = client.post(f"{API}/{route}", content=content, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text[:300]


@pytest.mark.parametrize(
    "field",
    [
        {"prompt": "<lora:../../../etc/passwd:1>"},
        {"prompt": "__../../etc/passwd__"},
        {"refiner_checkpoint": "../../etc/passwd"},
        {"override_settings": {"sd_model_checkpoint": "/etc/passwd"}},
        {"override_settings": {"sd_vae": "../../../etc/passwd"}},
        {"enable_hr": True, "hr_upscaler": "../../etc/passwd"},
        {"enable_hr": True, "hr_checkpoint_name": "/etc/passwd"},
    ],
    ids=str,
)  # a name that is nowhere in its folder is refused, or noted and left out
def test_names_stay_in_their_folders(field: dict[str, Any], client: TestClient, home: Path) -> None:
    answer = client.post(f"{API}/txt2img", json={**SMALL, "steps": 1, **field})
    assert answer.status_code in (200, 400), answer.text[:300]
    assert str(home) not in answer.text and "root:" not in answer.text
    if answer.status_code == 200:
        assert "Lora hashes" not in json.loads(answer.json()["info"])["infotexts"][0]


def test_after_all_that_it_draws(client: TestClient) -> None:
    assert client.post(f"{API}/txt2img", json=SMALL).status_code == 200
