"""The guides, and the example of README, word for word.

Every command that a guide shows is run, in order, in an empty folder and home.

One shell runs a guide from its first block to its last. Of a guide's fenced blocks `sh` is run as it stands, `python`
is given to python, and `console` holds commands behind `$ ` (`> ` where one goes on) with lines of what they print; a
`text` block is what the block before it prints. Every command must end well and print each line that the guide shows
(its beginning, for one that ends in `...`). Numbers and versions may differ, but not much the scores of `refam label`
and `refam next`; so may the order of lines, for tables are sorted by numbers, and the width of columns. Other blocks
are not run.

Before that a guide's text is changed in three places, and nowhere else: Label Studio's address, the token, and port
9090, which may be taken here.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.demo.local_studio import LocalStudio, free_port

pytestmark = pytest.mark.e2e

GUIDES = Path(__file__).parents[2] / "backend" / "guides"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<=[@+])[0-9a-f]{6,}|[+-]?\d+(\.\d+)?")
# The rows of tables whose scores hardly depend on the machine, and how far they may differ.
_SCORED_ROWS = {
    "refam label": (re.compile(r"^\d+ .* (?P<score>[01]\.\d\d) +\d+ of \d+ "), 0.0201),
    "refam next": (re.compile(r"^ *\d+ +(?P<score>[01]\.\d\d) +\d+\.\d +\S.* \S+\.mp4 *$"), 0.0501),
}
_TIMEOUT_S = 900.0  # of one command


@dataclass(frozen=True)
class Step:
    """A command and the lines that the guide shows of what it prints. line: of the guide, where it stands."""

    line: int
    command: str
    shown: tuple[str, ...] = ()


def steps_of(guide: str) -> list[Step]:
    """All commands of a guide, in order."""
    steps: list[Step] = []
    for found in _FENCE.finditer(guide):
        kind, body, line = found[1], found[2], guide.count("\n", 0, found.start()) + 2
        if kind == "sh":
            steps.append(Step(line, body))
        elif kind == "python":
            steps.append(Step(line, f"python - <<'END'\n{body}END"))
        elif kind == "console":
            steps += _console(body, line)
        elif kind == "text":
            before = steps.pop()
            steps.append(Step(before.line, before.command, tuple(body.splitlines())))
    return steps


def _console(body: str, line: int) -> Iterator[Step]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        more = 0
        while more < len(rest) and rest[more].startswith("> "):
            more += 1
        command = "\n".join([first, *(text[2:] for text in rest[:more])])
        yield Step(line, command, tuple(rest[more:]))


def first_missing_line(shown: Sequence[str], printed: str) -> str | None:
    """The first line of the guide that was not printed, or not as often; None where all were."""
    left = printed.splitlines()
    lines = [_plain(line) for line in left]
    for line in sorted(shown, key=lambda line: line == "..."):  # which stands for any line that is not shown
        expected = _plain(line)
        prefix = expected.removesuffix("...")
        matches = [
            k
            for k, one in enumerate(lines)
            if (one == expected or (prefix != expected and one.startswith(prefix))) and _scores_agree(line, left[k])
        ]
        if matches:
            del lines[matches[0]], left[matches[0]]
        elif expected:
            return line
    return None


def _scores_agree(shown: str, printed: str) -> bool:
    """Whether two rows of a table have about the same score; True for lines without one."""
    for row, tolerance in _SCORED_ROWS.values():
        here, there = row.search(shown), row.search(printed)
        if here and there and abs(float(here["score"]) - float(there["score"])) > tolerance:
            return False
    return True


def _plain(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line).split())


class Shell:
    """One bash, as somebody who follows a guide has it open."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int | None, str]:
        """Exit code, None for one that took too long, and what was printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        end = "end of the command:"
        self._process.stdin.write(f"{command}\necho; echo {end} $?\n")
        self._process.stdin.flush()
        alarm = threading.Timer(_TIMEOUT_S, self.close)
        alarm.start()
        try:
            printed = []
            for line in self._process.stdout:
                if line.startswith(end):
                    return int(line.split()[-1]), "".join(printed)
                printed.append(line)
        finally:
            alarm.cancel()
        return None, "".join(printed)

    def close(self) -> None:
        """Ends it and what was started in it."""
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(15)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)


# A fresh home has no SAM2: without REFAM_OFFLINE, a guide would fetch it and print other lines.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "REFAM_OFFLINE": "1"}


@contextmanager
def _fresh(folder: Path, **more: str) -> Iterator[Shell]:
    home = folder.with_name(f"{folder.name}-home")
    folder.mkdir(parents=True)
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REFAM_", "LABEL_STUDIO_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    shell = Shell(folder, {**kept, "PATH": path, "HOME": str(home), **_OFFLINE, "COLUMNS": "80", **more})
    try:
        yield shell
    finally:
        shell.close()


def _follow(guide: str, shell: Shell) -> None:
    steps, transcript, not_printed = steps_of(guide), [], []
    assert steps
    for step in steps:
        code, printed = shell.run(step.command)
        transcript.append(f"$ {step.command}\n{printed}")
        output = "\n".join(transcript)
        assert code == 0, f"line {step.line} ended with {code}; all that was printed:\n{output}"
        if (line := first_missing_line(step.shown, printed)) is not None:
            not_printed.append(f"line {step.line} did not print {line!r}")
    assert not not_printed, f"{not_printed}; all that was printed:\n{output}"
    print("\n".join(transcript))  # pytest -s shows what a guide may show


@pytest.mark.parametrize("name", ["annotator", pytest.param("active-learning", marks=pytest.mark.slow)])
def test_a_guide_beside_a_label_studio(name: str, tmp_path: Path) -> None:
    guide, port, folder = (GUIDES / f"{name}.md").read_text(encoding="utf-8"), free_port(), tmp_path / "guide"
    with (
        _fresh(folder, REFAM_PORT=str(port)) as shell,
        LocalStudio(tmp_path / "studio", env={"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder)}) as studio,
    ):
        for placeholder, value in {
            "http://localhost:8080": studio.url,
            "YOUR_TOKEN": studio.login.token,
            "9090": str(port),
        }.items():
            assert placeholder in guide
            guide = guide.replace(placeholder, value)
        _follow(guide, shell)


@pytest.mark.parametrize("name", ["curator", "cli", "masks"])
def test_a_guide_by_itself(name: str, tmp_path: Path) -> None:
    with _fresh(tmp_path / "guide") as shell:
        _follow((GUIDES / f"{name}.md").read_text(encoding="utf-8"), shell)


def test_the_example_of_readme(tmp_path: Path) -> None:
    readme = (GUIDES.parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = (found[0] for found in _FENCE.finditer(readme) if found[1] == "console")
    with _fresh(tmp_path / "guide") as shell:
        _follow(example, shell)


def test_every_file_that_a_guide_points_at_is_there() -> None:
    guides = sorted(GUIDES.glob("*.md"))
    assert len(guides) == 7
    for guide in guides:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", guide.read_text(encoding="utf-8")):
            assert "://" in target or (guide.parent / target).exists(), f"{guide.name}: {target}"


def test_lines_that_were_not_printed_are_found() -> None:
    (step,) = steps_of("```console\n$ refam next \\\n> --count 1\ntask  score\n  5   0.31\nmade by...\n```\n")
    assert step.command == "refam next \\\n--count 1"
    assert first_missing_line(step.shown, "a note\nmade by refam\n  7    0.99\ntask   score\n") is None
    assert first_missing_line(step.shown, "task   score\nmade by refam\n") == "  5   0.31"
    assert first_missing_line(step.shown, "task   score\n  7    0.99\n") == "made by..."
    assert first_missing_line(["  5  0.31", "  6  0.32"], "  7    0.99\n") == "  6  0.32"
    row = "0       the 2 dogs  {}   60 of 60  0.00-2.46 s"
    assert first_missing_line([row.format("0.95")], row.format("0.94")) is None
    assert first_missing_line([row.format("0.95")], row.format("0.84")) == row.format("0.95")
    assert first_missing_line([row.format("0.84")], f"{row.format('0.95')}\n{row.format('0.84')}") is None
    following = "   5            {}               1.0  the white triangle  scene-5.mp4"
    assert first_missing_line([following.format("0.99")], following.format("0.96") + " ") is None
    assert first_missing_line([following.format("0.35")], following.format("0.58")) == following.format("0.35")
    assert first_missing_line(["...", "ok a"], "ok a\nok b\n") is None
    assert first_missing_line(["...", "ok a"], "ok a\n") == "..."
    assert first_missing_line(["made by  refam/tiny@34081d94"], "made by  refam/flux@34081d94") is not None
