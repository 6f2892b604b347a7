"""`hires serve` as a program: it says where it listens, answers, and ends at the first Ctrl+C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from hires.cli import app
from hires.errors import SettingError
from hires.server.serving import listen

PATIENCE = 120


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {**os.environ, "HIRES_CACHE_DIR": str(tmp_path / "cache"), "HIRES_LOG": str(tmp_path / "log")}
    command = [sys.executable, "-m", "hires", "serve", "--port", "0", "--auth", "a:b", "--server-stop"]
    started = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    line = started.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found is not None, line
    yield started, found[0]
    started.kill()
    started.wait(PATIENCE)


def test_it_answers_and_ends_at_ctrl_c(program: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    started, url = program
    assert requests.get(url, auth=("a", "b"), timeout=PATIENCE).json()["name"] == "hires"
    assert requests.get(url, timeout=PATIENCE).status_code == 401
    flags = requests.get(f"{url}/sdapi/v1/cmd-flags", auth=("a", "b"), timeout=PATIENCE).json()
    assert url.endswith(str(flags["port"])) and str(tmp_path) not in str(flags)
    changed = requests.post(f"{url}/sdapi/v1/options", json={"jpeg_quality": 70}, auth=("a", "b"), timeout=PATIENCE)
    assert changed.status_code == 200 and "70" in (tmp_path / "hires-options.json").read_text()
    started.send_signal(signal.SIGINT)
    assert started.wait(PATIENCE) == 0


def test_a_client_with_leave_ends_it(program: tuple[subprocess.Popen[str], str]) -> None:
    started, url = program
    assert requests.post(f"{url}/sdapi/v1/server-restart", auth=("a", "b"), timeout=PATIENCE).status_code == 501
    assert requests.post(f"{url}/sdapi/v1/server-stop", auth=("a", "b"), timeout=PATIENCE).json() == {}
    assert started.wait(PATIENCE) == 0


def test_an_address_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingError, match="Choose another"):
            listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(SettingError, match="cannot listen"):
        listen("203.0.113.77", 0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--host", "0.0.0.0"], "--open"), (["--auth", "anna"], "user:password"), (["--cors-origin", "*"], "origin")],
)
def test_a_server_that_would_be_open_is_not_started(flags: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", *flags])
    assert result.exit_code == 2 and words in result.output
