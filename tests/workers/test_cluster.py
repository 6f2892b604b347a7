from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest

from hires.errors import SettingError
from hires.settings import Settings, load_settings
from hires.workers.cluster import check_workers, connect


@pytest.mark.parametrize(
    "workers", ["", "1", "2", "16", "auto", "ray://gpu-1.lan:10001", "10.0.0.2:6379", "[::1]:6379"]
)
def test_numbers_and_addresses_are_workers(workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    check_workers(workers)


@pytest.mark.parametrize(
    "workers", ["0", "-1", "100000", "many", "http://host:1", "ray://host", "ray://host:1/x", "a b:1"]
)
def test_other_words_are_refused(workers: str) -> None:
    with pytest.raises(SettingError, match="workers"):
        check_workers(workers)


def test_without_ray_one_line_says_how_to_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r'not installed.*pip install "hires\[ray\]"'):
        check_workers("2")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_does_not_answer_is_told_in_one_line(scheme: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    with socket.socket() as taken:  # bound, and never listening
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingError, match="no Ray cluster answers at") as raised:
            connect(address, 1, "cpu", tmp_path)
    assert "\n" not in str(raised.value) and address in str(raised.value)


def test_workers_are_a_setting(tmp_path: Path) -> None:
    config: dict[str, Any] = {"HIRES_WORKERS": "2", "HIRES_THREADS": "3"}
    settings = load_settings({}, config)
    assert (settings.workers, settings.threads) == ("2", 3)
    assert Settings().workers == ""
