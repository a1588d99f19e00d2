"""Pictures of 90 to 178 million pixels, of which Pillow warns, are read without a word; larger ones are an error."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

_READ = """
import sys
from pathlib import Path
from video.formats.base import image_size
from video.io.reader import open_sequence
path = Path(sys.argv[1])
print(image_size(path), open_sequence([path]).size)
"""


@pytest.mark.parametrize(("side", "is_read"), [(9500, True), (13_500, False)])
def test_no_warning_is_printed(side, is_read, tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (side, side)).save(path)
    ran = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True)
    assert "Warning" not in ran.stderr
    if is_read:
        assert (ran.stdout, ran.stderr) == (f"({side}, {side}) ({side}, {side})\n", "")
    else:
        assert "cannot be read as a picture" in ran.stderr
