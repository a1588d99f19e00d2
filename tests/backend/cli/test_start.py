"""Ctrl-C at the very start of `refam`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

INTERRUPTED = """
import sys
from backend.cli.start import main

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
main()
"""


@pytest.mark.parametrize("module", ["backend.cli.main", "typer", "backend.cli.words"])
def test_ctrl_c_during_the_imports_is_one_line(module):
    command = [sys.executable, "-c", INTERRUPTED.format(module=module), "words"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "refam: stopped by Ctrl-C\n")


def test_the_command_starts_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"refam": "backend.cli.start:main"}
