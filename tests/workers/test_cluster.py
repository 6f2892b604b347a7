"""Which workers can be named, and the folder of a Ray that is started here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hires.errors import SettingError
from hires.settings import Settings, load_settings
from hires.workers import cluster
from hires.workers.cluster import LONGEST_FOLDER, OWNER, _folder, check_workers, connect, is_gone


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


def test_a_ray_of_our_own_is_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    fake = SimpleNamespace(is_initialized=lambda: False, init=lambda **given: started.append(given))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(cluster, "_loaded", lambda: fake)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(os, "environ", environment)
    made = [connect("2", 1, "cpu", tmp_path)]
    token = environment["RAY_AUTH_TOKEN"]
    assert len(token) == 64 and environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    del environment["RAY_AUTH_TOKEN"]
    made.append(connect("1", 1, "cpu", tmp_path))
    assert environment["RAY_AUTH_TOKEN"] != token, "another each time"
    for given in started:
        assert given["_node_ip_address"] == "127.0.0.1" and given["include_dashboard"] is False
        assert "address" not in given
    for one in made:
        assert one.own_folder is not None
        shutil.rmtree(one.own_folder)


def test_what_a_killed_process_left_of_its_ray_is_removed() -> None:
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        cache = Path(name)
        mine = _folder(cache)
        left, unknown = cache / "ray" / "r-left", cache / "ray" / "r-unknown"
        (left / "session").mkdir(parents=True)
        (left / OWNER).write_text(str(over.pid))
        unknown.mkdir()
        again = _folder(cache)
        assert again.parent == mine.parent == cache / "ray" and again != mine
        assert mine.is_dir() and unknown.is_dir() and not left.exists()
        long = _folder(cache / ("x" * LONGEST_FOLDER))
        assert long.parent == Path(tempfile.gettempdir()) and (long / OWNER).read_text() == str(os.getpid())
        shutil.rmtree(long)
    assert is_gone(over.pid) and not is_gone(os.getpid()) and not is_gone(0)
