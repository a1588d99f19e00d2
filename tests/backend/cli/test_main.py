"""What every command shares: its help, its names, and how fast it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from backend.cli.main import app
from refam.version import __version__

HEAVY = ("torch", "cv2", "numpy", "av", "fastapi", "transformers", "scipy", "rich.progress")


def refam(*arguments, **environment):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", **environment})


def all_commands(group=None, path=()):
    """Yield the words of every command and group, "" for `refam` itself."""
    group = group or typer.main.get_command(app)
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from all_commands(command, (*path, name))


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_the_version_is_printed(arguments):
    result = refam(*arguments)
    assert (result.exit_code, result.stdout.split()[-1]) == (0, __version__)


@pytest.mark.parametrize("arguments", [[], ["label"], ["eval"], ["eval", "strokes"], ["models", "pull"]])
def test_h_is_help(arguments):
    short, long = refam(*arguments, "-h"), refam(*arguments, "--help")
    assert short.exit_code == 0
    assert short.stdout == long.stdout


def test_track_takes_what_label_takes():
    def options(command):
        return {name for parameter in command.params for name in parameter.opts}

    commands = typer.main.get_command(app).commands
    assert options(commands["track"]) == options(commands["label"])


def test_shells_complete_commands():
    assert "--install-completion" in refam("--help").stdout
    completed = refam(_REFAM_COMPLETE="complete_bash", COMP_WORDS="refam mod", COMP_CWORD="1")
    assert completed.stdout.split() == ["models"]


def imported(code):
    """Which heavy libraries the code has imported at its end."""
    code += f"\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    root = Path(__file__).parents[3]
    process = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return process.stdout.splitlines()[-1]


def test_help_does_not_import_heavy_libraries():
    """Each of them would take longer than all the rest of a command's start."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom backend.cli.main import app\n"
        f"for words in {[list(words) for words in all_commands()]!r}:\n"
        "    assert CliRunner().invoke(app, [*words, '--help']).exit_code == 0, words"
    )
    assert imported(code) == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["label", "no-such.mp4", "the red star", "--out", "out"],
        ["label", __file__, "the xyzzy", "--out", "out"],
        ["explain", __file__, "the xyzzy", "--out", "out.html"],
    ],
)
def test_errors_that_need_no_video_do_not_import_heavy_libraries(arguments):
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom backend.cli.main import app\n"
        f"assert CliRunner().invoke(app, {arguments!r}).exit_code == 1"
    )
    assert imported(code) == "[]"
