"""The order of floors and rooms: who may import whom, read from the imports themselves.

Floors: video < refam < backend. Inside a floor, a room (folder or single module) may import rooms that stand before it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("video", "refam", "backend")

# Lowest first. What stands together in a tuple may import each other (there are no circles between modules anyway).
ROOMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "video": (
        ("errors", "types", "checked_json", "atomic_files"),
        ("masks", "contours", "keyframes", "metrics", "images"),
        ("io",),
        ("shots", "optical_flow", "relative_motion", "sampling"),
        ("heatmap_fusion",),
        ("tracking",),
        ("formats",),
        ("visualize",),
    ),
    "refam": (
        ("version", "disk_cache"),
        ("text",),
        ("attention_layouts", "attention_sinks", "head_weights", "attention"),
        ("tiny",),
        ("photos",),
        ("backbones",),
        ("heatmaps", "heatmap_regions", "calibration", "presence", "oom"),
        ("contrast", "prototypes", "reading"),
        ("grounding", "grounder"),
        ("grounder_group", "grounder_loading"),
        ("segmenters",),
        ("pipeline",),
        ("model",),
        ("explain",),
        ("evaluation",),
    ),
    "backend": (
        ("settings", "logging", "metrics"),
        ("labelstudio",),
        ("media",),
        ("jobs",),
        ("feedback",),
        ("runtime",),
        ("service",),
        ("wsgi",),
        ("batch", "demo"),
        ("cli",),
        ("benchmarks",),
    ),
}


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    """The project's own modules that a file imports, wherever in it. `from a.b import c` means a.b.c if that exists."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            module = node.module or ""
            found |= {f"{module}.{a.name}" if f"{module}.{a.name}" in MODULES else module for a in node.names}
    return {name for name in found if name.split(".")[0] in FLOORS}


@cache
def imports() -> dict[str, set[str]]:
    return {name: imports_of(path) - {name} for name, path in MODULES.items()}


def room_of(module: str) -> str:
    """The folder or the single module under the floor; "" for the floor's own `__init__`."""
    return module.partition(".")[2].partition(".")[0]


def rank_of(module: str) -> int:
    floor, room = module.split(".")[0], room_of(module)
    return next((i for i, rooms in enumerate(ROOMS[floor]) if room in rooms), -1)


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m)])
def test_every_module_stands_in_a_room(module: str) -> None:
    assert rank_of(module) >= 0, f"{module}: give its room a place in ROOMS"


@pytest.mark.parametrize("module", MODULES)
def test_floors_import_downwards(module: str) -> None:
    floor = FLOORS.index(module.split(".")[0])
    upward = {name for name in imports()[module] if FLOORS.index(name.split(".")[0]) > floor}
    assert not upward, f"{module} imports {upward}, which stands above it"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m)])
def test_rooms_import_downwards(module: str) -> None:
    floor = module.split(".")[0]
    own = {name for name in imports()[module] if name.split(".")[0] == floor and room_of(name)}
    upward = {name for name in own if rank_of(name) > rank_of(module)}
    assert not upward, f"{module} imports {upward}, which stands above it"


def test_there_are_no_circles() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("backend")])
def test_only_backend_knows_the_annotation_tool(module: str) -> None:
    assert not re.search(r"label.?studio", MODULES[module].read_text(encoding="utf-8"), re.IGNORECASE)


# --- tests -----------------------------------------------------------------------------------------------

TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))

# Tests of several modules together, and what they are about.
SCENARIOS = {
    "backend/batch/test_actors.py": "a Ray cluster that loses a node, its driver or a worker",
    "backend/cli/test_segmenter_choice.py": "which segmenter the commands use",
    "backend/jobs/test_faults.py": "damaged databases, full disks, a Label Studio in trouble",
    "backend/labelstudio/controls/test_mask_edits.py": "masks that a person drew, for every control tag",
    "backend/service/test_broken_media.py": "videos that cannot be read, from the request to the answer",
    "backend/service/test_refused_media.py": "addresses and tasks that can never work, in one request with good ones",
    "refam/backbones/test_families.py": "every family of models against diffusers' own pipeline",
    "refam/pipeline/test_grounded_masks.py": "from heatmaps to the mask on the frame where tracking starts",
    "refam/pipeline/test_recovery_drift.py": "a track that drifted onto something else is corrected from the words",
    "backend/service/test_timeline_answers.py": "times in sight, from the words to the answer",
    "backend/service/test_preview.py": "typed words are answered by a preview, then by the track",
    "refam/pipeline/test_absence.py": "what is not in the video, from the words to the answer",
    "refam/test_api.py": "the public calls of the package itself",
}


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_module_is_imported(path: Path) -> None:
    """What tests share is in conftest.py or in a helper module, so that a test module can be changed alone."""
    shared = re.findall(r"^ *(?:from|import) +(tests[\w.]*\.test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert not shared, f"{path.relative_to(ROOT)} imports {shared}"


@pytest.mark.parametrize("path", [p for p in TEST_FILES if p.name.startswith("test_")], ids=lambda path: path.stem)
def test_tests_mirror_the_tree(path: Path) -> None:
    """tests/refam/pipeline/test_segments.py tests refam/pipeline/segments.py; a room has the name of its folder."""
    name = path.relative_to(ROOT / "tests")
    if name.parts[0] in FLOORS and name.as_posix() not in SCENARIOS:
        tested = name.stem.removeprefix("test_")
        is_room = tested == name.parent.name or (ROOT / name.parent / tested).is_dir()
        assert is_room or (ROOT / name.parent / f"{tested}.py").exists(), f"{name} tests nothing of that name"
