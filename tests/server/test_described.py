"""Requests made from the server's own description, of every route, sound ones and broken ones: none is a fault of ours,
and none is told what the server looks like inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from httpx2 import InvalidURL
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from tests.server.conftest import HERE, settings_in

from hires.server.app import create_app

INSIDES = ("Traceback", "site-packages", 'File "/', "src/hires")
FEW, MANY = 2, 120
NOT_HERE = (501, 503)
"""What is not there on this machine, in words."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that draws nothing, since no picture is small enough for it."""
    home: Path = tmp_path_factory.mktemp("described")
    app = create_app(settings_in(home, max_megapixels=0.001), options_file=home / "options.json")
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        yield client


def sent(client: TestClient, case: Any) -> Any:
    """The answer to a case."""
    request = case.as_transport_kwargs(base_url=HERE)
    given = {key: request[key] for key in ("headers", "params", "cookies", "json") if request.get(key) is not None}
    if isinstance(data := request.get("data"), str | bytes):
        given["content"] = data
    return client.request(request["method"], request["url"], **given)


def ask_all(client: TestClient, mode: GenerationMode, examples: int) -> int:
    """Ask every route so many times; how many answers came."""
    described = schemathesis.openapi.from_dict(client.app.openapi())  # type: ignore[attr-defined]
    return sum(ask(client, found.ok(), mode, examples) for found in described.get_all_operations())


def ask(client: TestClient, route: Any, mode: GenerationMode, examples: int) -> int:
    answers = 0
    how = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @how
    @given(case=route.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        nonlocal answers
        try:
            answer = sent(client, case)
        except InvalidURL:  # longer than this client sends
            reject()
        answers += 1
        assert answer.status_code < 500 or answer.status_code in NOT_HERE, (route.label, answer.text[:500])
        assert not any(word in answer.text for word in INSIDES), (route.label, answer.text[:500])

    with suppress(Unsatisfiable):  # nothing can be wrong where nothing is asked for
        one()
    return answers


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_is_a_fault_of_ours(mode: GenerationMode, server: TestClient) -> None:
    assert ask_all(server, mode, FEW) > 50


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_of_many_is_a_fault_of_ours(mode: GenerationMode, server: TestClient) -> None:
    assert ask_all(server, mode, MANY) > 2000
