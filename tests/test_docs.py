"""The documentation: links, anchors, named sources and imports of examples resolve; README and pictures stay small."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("backend", "docker", "refam", "video")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
README_BYTES = 9_000
PICTURE_BYTES = 150_000

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_PATH = re.compile(r"`([\w./-]+(?:\.\w+|/))`")
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def prose_of(page: Path) -> str:
    """The page without its fenced blocks, whose brackets are no links."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose_of(page))}


def broken_links(page: Path) -> list[str]:
    """The relative links of a page whose file or anchor does not exist."""
    broken = []
    for target in _LINK.findall(prose_of(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_sources_exist(page: Path) -> None:
    """Paths of tests and modules in backticks, from the root or from the page's folder."""
    if page.name == "CONTRIBUTING.md":
        return  # names modules by their floor: see test_contributing_lists_every_room
    named = [path for path in _PATH.findall(prose_of(page)) if path.endswith(".py") or path.startswith("tests/")]
    assert [path for path in named if not (ROOT / path).exists() and not (page.parent / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_imports_of_examples_resolve(page: Path) -> None:
    for block in _PYTHON.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOLDERS:
                module = importlib.import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A `name`, or two\n```\n# no heading\n```\n")
    page.write_text(
        "# Top\n[a](other.md#a-name-or-two) [b](#top) [c](https://example.org/x) [d](missing.md) "
        "[e](other.md#no-heading) [f](#bottom)\n```python\nx[0](y)\n```\n"
    )
    assert broken_links(page) == ["missing.md", "other.md#no-heading", "#bottom"]


def test_contributing_lists_every_room() -> None:
    """The tables name every folder and module of each floor."""
    text = prose_of(ROOT / "CONTRIBUTING.md")
    rooms = {
        floor: {path.name + "/" for path in (ROOT / floor).iterdir() if (path / "__init__.py").exists()}
        | {path.name for path in (ROOT / floor).glob("*.py") if path.name != "__init__.py"}
        for floor in ("video", "refam", "backend")
    }
    parts = re.split(r"^`(video|refam|backend)/`", text, flags=re.MULTILINE)[1:]
    listed = {
        floor: {
            name
            for row in re.findall(r"^\| (`.*?) \|", part.partition("\n## ")[0], re.MULTILINE)
            for name in re.findall(r"`([\w.]+/?)`", row)
        }
        for floor, part in zip(parts[::2], parts[1::2], strict=True)
    }
    listed["backend"].discard("guides/")
    assert listed == rooms


def test_the_cli_guide_lists_every_command() -> None:
    from typer.main import get_command

    from backend.cli.main import app

    table = prose_of(ROOT / "backend/guides/cli.md").partition("## All commands")[2]
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)
    }
    assert listed == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_guide_lists_every_benchmark_and_what_each_needs() -> None:
    """Of the Makefile: its targets, and the variables that their recipes use."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipes = dict(re.findall(r"^(bench-[\w-]+|compose):.*\n((?:\t.*\n)+)", makefile, re.M))
    guide = (ROOT / "backend/guides/benchmarks.md").read_text("utf-8")
    assert len(recipes) > 15
    assert set(re.findall(r"^\| `make ([\w-]+)", guide, re.M)) == set(recipes)
    for variable in ("DAVIS", "SAM2", "ONNX"):
        (row,) = re.findall(rf"^\| `{variable}=DIR` .* \| (.*) \|$", guide, re.M)
        using = {name for name, recipe in recipes.items() if f"$({variable})" in recipe}
        assert set(re.findall(r"`([\w-]+)`", row)) == using, variable


def test_the_size_of_the_download_is_the_same_everywhere() -> None:
    from refam.segmenters.sam2_weights import DEFAULT_WEIGHTS, SAM2_WEIGHTS

    sources = [*PAGES, *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]
    found = {
        size: file.name
        for file in sources
        for size in re.findall(r"about (1[45]\d MB)", file.read_text(encoding="utf-8"))
    }
    weights = SAM2_WEIGHTS[DEFAULT_WEIGHTS]
    assert list(found) == [f"{weights.hub_mb} MB"], found
    assert weights.npm is not None
    guide = (ROOT / "backend/guides/cli.md").read_text(encoding="utf-8")
    npm = f"npm ({weights.npm.download_mb} MB, of which {weights.npm.kept_mb} MB are kept)"
    assert f"the hub ({weights.hub_mb} MB) or else from {npm}" in guide


@pytest.mark.parametrize("name", ["tiny", "photos"])
def test_the_size_of_a_model_that_ships_is_the_same_everywhere(name: str) -> None:
    from refam.backbones.presets import preset_for
    from refam.backbones.weights import directory_size

    size = f"{directory_size(Path(preset_for(name).source)) / 1e6:.0f} MB"
    assert f"backbone    {name}: flux ({size})" in (ROOT / "backend/guides/cli.md").read_text(encoding="utf-8")
    models = (ROOT / "refam/README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{name}` \|.*$", models, re.MULTILINE)
    assert size in row
    assert re.search(rf"^`{name}` is .*\({size}", models, re.MULTILINE)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_readme_links_to_every_guide() -> None:
    linked = set(_LINK.findall(prose_of(ROOT / "README.md")))
    guides = sorted((ROOT / "backend/guides").glob("*.md"))
    assert guides
    assert [guide.name for guide in guides if str(guide.relative_to(ROOT)) not in linked] == []


def test_pictures_are_small() -> None:
    pictures = [*(ROOT / "backend/guides/img").glob("*.png"), *(ROOT / "backend/guides/img").glob("*.jpg")]
    assert pictures
    assert [picture.name for picture in pictures if picture.stat().st_size > PICTURE_BYTES] == []
