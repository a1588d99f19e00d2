"""The direction of the arrows: video <- refam <- backend, and only backend knows the annotation tool."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"video": {"refam", "backend"}, "refam": {"backend"}}
ALLOWED_OF_VIDEO = {"video.types", "video.masks"}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction of the arrows"
            names.add(node.module or "")
    return names


MODULES = [
    pytest.param(p, id=str(p.relative_to(ROOT))) for room in FORBIDDEN for p in sorted((ROOT / room).rglob("*.py"))
]


def test_there_are_modules_to_check() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES)
def test_nothing_calls_back_up(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    wrong = {n for n in imports(path) if n.split(".")[0] in FORBIDDEN[room]}
    assert not wrong, f"{room} must not import {wrong}"
    if room == "refam":
        beyond = {n for n in imports(path) if n.split(".")[0] == "video"} - ALLOWED_OF_VIDEO
        assert not beyond, f"refam may use video's types and mask arithmetic only, not {beyond}"


@pytest.mark.parametrize("path", MODULES)
def test_only_backend_knows_the_annotation_tool(path: Path) -> None:
    assert not re.search(r"label.?studio", path.read_text(encoding="utf-8"), re.IGNORECASE)
