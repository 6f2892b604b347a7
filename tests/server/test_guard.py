"""Who is let in: hosts, pages of other sites, passwords, sizes, and what errors tell."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.server.faults import without_paths
from hires.server.guard import Guard, Rules, check_exposure, is_loopback

PROGRESS = "/sdapi/v1/progress"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "localhost:7860", "[::1]:80", "192.168.1.5:7860", "LOCALHOST"]
)
def test_addresses_and_localhost_are_this_machine(host: str, guarded: Callable[..., TestClient]) -> None:
    assert guarded().get(PROGRESS, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "localhost.evil.example"]
)
def test_a_name_that_was_pointed_here_is_refused(host: str, guarded: Callable[..., TestClient]) -> None:
    answer = guarded().get(PROGRESS, headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["error"] == "HTTPException" and "name" in answer.json()["detail"]


def test_a_name_that_is_given_counts(guarded: Callable[..., TestClient]) -> None:
    assert guarded(names=("studio.lan",)).get(PROGRESS, headers={"Host": "studio.lan:7860"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "file://", "http://"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_forms_of_other_pages_are_refused(origin: str, kind: str, guarded: Callable[..., TestClient]) -> None:
    headers = {"Origin": origin, "Content-Type": kind}
    answer = guarded().post("/sdapi/v1/interrupt", content="{}", headers=headers)
    assert answer.status_code == 403 and "--cors-origin" in answer.json()["detail"]


def test_pages_of_the_server_itself_and_allowed_ones_may_call(guarded: Callable[..., TestClient]) -> None:
    here = guarded(origins=("https://friend.example",))
    assert here.post("/sdapi/v1/interrupt", headers={"Origin": "http://127.0.0.1"}).status_code == 200
    friend = here.post("/sdapi/v1/interrupt", headers={"Origin": "https://friend.example"})
    assert friend.status_code == 200
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    asked = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
    assert here.options("/sdapi/v1/txt2img", headers=asked).status_code == 200
    asked["Origin"] = "https://evil.example"
    assert "access-control-allow-origin" not in here.options("/sdapi/v1/txt2img", headers=asked).headers


@pytest.mark.parametrize(
    "route", ["/", PROGRESS, "/sdapi/v1/options", "/docs", "/openapi.json", "/nowhere", "/internal/ping"]
)
def test_every_route_wants_the_password(route: str, guarded: Callable[..., TestClient]) -> None:
    here = guarded(passwords=("anna:geheim", "bob:s3:cret"))
    refused = here.get(route)
    assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic")
    assert refused.json()["detail"] == "Incorrect username or password"
    for user, password in (("anna", "geheim"), ("bob", "s3:cret")):
        assert here.get(route, auth=(user, password)).status_code == (404 if route == "/nowhere" else 200)
    for user, password in (("anna", "s3:cret"), ("anna", ""), ("", ""), ("anna", "geheim ")):
        assert here.get(route, auth=(user, password)).status_code == 401


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Bearer abc", "Basic " + base64.b64encode(b"anna").decode(), "é"]
)
def test_what_is_no_password_is_refused(header: str, guarded: Callable[..., TestClient]) -> None:
    here = guarded(passwords=("anna:geheim",))
    assert here.get(PROGRESS, headers={"Authorization": header.encode("latin-1")}).status_code == 401


def test_pictures_and_scripts_in_pages_of_other_sites_are_refused(guarded: Callable[..., TestClient]) -> None:
    here, elsewhere = guarded(), {"Sec-Fetch-Site": "cross-site"}
    assert here.get(PROGRESS, headers=elsewhere | {"Sec-Fetch-Mode": "no-cors"}).status_code == 403
    assert here.get(PROGRESS, headers=elsewhere).status_code == 403
    assert here.get("/docs", headers=elsewhere | {"Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert here.get(PROGRESS, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_request_that_is_too_large_is_refused(guarded: Callable[..., TestClient]) -> None:
    here = guarded(most_body_bytes=2_000_000)
    large = b'{"prompt": "' + b"a" * 2_000_000 + b'"}'
    assert here.post("/sdapi/v1/png-info", content=large).status_code == 413
    parts = (large[start : start + 100_000] for start in range(0, len(large), 100_000))  # its length is not told
    answer = here.post("/sdapi/v1/png-info", content=parts)
    assert answer.status_code == 413 and "2 MB" in answer.json()["detail"]
    assert here.post("/sdapi/v1/png-info", content=b"{}", headers={"Content-Length": "9" * 30}).status_code == 413
    assert here.get(PROGRESS).status_code == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.0.2", False),
        ("::", False),
        ("studio", False),
    ],
)
def test_other_addresses_need_a_password_or_the_word(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
    check_exposure(host, ("a:b",), False)
    check_exposure(host, (), True)
    if not loopback:
        with pytest.raises(SettingError, match="--auth"):
            check_exposure(host, (), False)


@pytest.mark.parametrize(
    "rules",
    [
        {"passwords": ("anna",)},
        {"passwords": (":x",)},
        {"passwords": ("x:",)},
        {"origins": ("example.org",)},
        {"origins": ("*",)},
    ],
)
def test_rules_that_protect_nothing_are_refused(rules: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(SettingError):
        Rules(**rules)


@given(st.text(max_size=40))
def test_no_host_header_breaks_the_guard(host: str) -> None:
    assert Guard(None, Rules())._known_host(host) in (True, False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no file in /home/anna/models/checkpoints", "no file in models/checkpoints"),
        ("cannot write /var/lib/secret/a.png: full", "cannot write a.png: full"),
        (r"cannot read C:\Users\anna\a.png", "cannot read a.png"),
        ("sizes 3/4 and/or a/b/c stay", "sizes 3/4 and/or a/b/c stay"),
        ("http://127.0.0.1/docs/x stays", "http://127.0.0.1/docs/x stays"),
        ("('/etc/ssl/key.pem')", "('key.pem')"),
    ],
)
def test_errors_tell_no_paths(text: str, expected: str) -> None:
    assert without_paths(text, [Path("/home/anna/models")]) == expected
