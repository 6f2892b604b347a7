"""Packs of other people's nodes: the example of the documentation, and packs that are broken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from hires.api import Engine
from hires.cli import app
from hires.errors import SettingError
from hires.settings import Settings, load_settings

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "custom-nodes.md"

FLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0xC0C0C0}},
    "2": {"class_type": "ImageContrast", "inputs": {"image": ["1", 0], "amount": 0.5}},
    "3": {"class_type": "ImageInvertPart", "inputs": {"image": ["2", 0], "part": 1.0}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "mine"}},
}


def write_example(folder: Path) -> Path:
    """The packs that the document shows."""
    folder.mkdir()
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"`my_nodes/(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in found] == ["contrast.py", "comfy_style.py"]
    for name, code in found:
        (folder / name).write_text(code)
    return folder


def engine(tmp_path: Path, nodes: Path | None) -> Engine:
    folders = {"models_dir": tmp_path / "models", "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    return Engine(Settings(**folders, custom_nodes_dir=nodes, device="cpu"))


def test_the_documents_example_runs(tmp_path: Path) -> None:
    with_nodes = engine(tmp_path, write_example(tmp_path / "my_nodes"))
    assert with_nodes.custom.problems == () and with_nodes.custom.packs == ("comfy_style.py", "contrast.py")
    report = with_nodes.run(FLOW, targets=["3", "4"])
    report.raise_for_failure()
    grey = (0xC0 / 255 - 0.5) * 0.5 + 0.5
    assert torch.allclose(report.value("3"), torch.full((1, 16, 16, 3), 1 - grey), atol=1e-6)
    assert with_nodes.registry["ImageInvertPart"].display_name == "Invert Partly"
    assert with_nodes.validate({**FLOW, "2": {**FLOW["2"], "inputs": {"image": ["1", 0], "amount": 9}}}).faults


def test_nothing_is_loaded_unless_the_folder_is_named(tmp_path: Path) -> None:
    write_example(tmp_path / "custom_nodes")
    assert "ImageContrast" not in engine(tmp_path, None).registry
    assert load_settings({}, {}).custom_nodes_dir is None
    named = load_settings({}, {"HIRES_CUSTOM_NODES_DIR": str(tmp_path / "custom_nodes")})
    assert named.custom_nodes_dir == tmp_path / "custom_nodes"


def test_the_command_line_takes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_example(tmp_path / "my_nodes")
    (tmp_path / "my_nodes" / "broken.py").write_text("1 / 0")
    (tmp_path / "flow.json").write_text(json.dumps(FLOW))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIRES_DEVICE", "cpu")
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    result = CliRunner().invoke(app, ["run", "flow.json", "--custom-nodes-dir", "my_nodes", "--output-dir", "out"])
    assert result.exit_code == 0, result.output
    assert "ImageContrast: computed" in result.stdout
    assert result.stderr.count("hires: custom nodes broken.py were not loaded: ZeroDivisionError") == 1
    assert "Traceback" not in result.stderr


BROKEN = {
    "syntax.py": ("def", "SyntaxError"),
    "comfy_pack.py": ("import folder_paths", "needs ComfyUI's own module 'folder_paths'"),
    "package.py": ("import surely_not_installed.deep", "needs the Python package 'surely_not_installed'"),
    "leaves.py": ("raise SystemExit(3)", "SystemExit: 3"),
    "empty.py": ("x = 1", "bring no nodes"),
    "odd.py": ("NODE_CLASS_MAPPINGS = {'Odd': 3}", "the node 'Odd' was left out"),
    "declared.py": ("from hires.graph.declare import node\n@node('X')\ndef f(*, a: int): ...", "has no declaration"),
}


def test_a_failing_pack_is_one_line_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    folder = write_example(tmp_path / "my_nodes")
    for name, (code, _) in BROKEN.items():
        (folder / name).write_text(code)
    (folder / "_helper.py").write_text("1 / 0")
    (folder / "notes.txt").write_text("no code")
    loaded = engine(tmp_path, folder)
    assert {"ImageContrast", "ImageInvertPart"} <= set(loaded.registry)
    for name, (_, reason) in BROKEN.items():
        lines = [line for line in loaded.custom.problems if f" {name}" in line and reason in line]
        assert len(lines) == 1 and "\n" not in lines[0], (name, loaded.custom.problems)
    assert not any("_helper" in line or "notes" in line for line in loaded.custom.problems)


def test_a_pack_cannot_replace_a_node(tmp_path: Path) -> None:
    folder = tmp_path / "my_nodes"
    folder.mkdir()
    taken = "class K:\n    INPUT_TYPES = classmethod(lambda c: {})\n    RETURN_TYPES = ()\n    FUNCTION = 'f'\n"
    (folder / "a.py").write_text(taken + "NODE_CLASS_MAPPINGS = {'KSampler': K, 'Mine': K}")
    (folder / "b.py").write_text(taken + "NODE_CLASS_MAPPINGS = {'Mine': K}")
    loaded = engine(tmp_path, folder)
    plain = engine(tmp_path, None)
    assert loaded.registry["KSampler"] is not None
    assert loaded.registry["KSampler"].inputs == plain.registry["KSampler"].inputs
    assert [line.partition(": ")[2] for line in loaded.custom.problems] == [
        "the node 'KSampler' was left out, hires itself has one of that name",
        "the node 'Mine' was left out, a.py has one of that name",
    ]


def test_a_package_may_import_its_own_parts(tmp_path: Path) -> None:
    pack = tmp_path / "my_nodes" / "pack-with-dash"
    pack.mkdir(parents=True)
    write_example(tmp_path / "example")
    (pack / "inner.py").write_text((tmp_path / "example" / "comfy_style.py").read_text())
    names = "NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS"
    (pack / "__init__.py").write_text(f"from .inner import {names}")
    loaded = engine(tmp_path, tmp_path / "my_nodes")
    assert loaded.custom.problems == () and "ImageInvertPart" in loaded.registry


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no folder of custom nodes"):
        engine(tmp_path, tmp_path / "gone")
