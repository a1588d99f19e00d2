"""Points, boxes and masks on the command line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.mask_files import read_mask
from backend.cli.prompts import parse_drawing
from refam.pipeline.types import PromptError
from tests import media
from video import masks


def refam(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", "REFAM_SAM2": ""})


def stderr_text(result):
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return media.cfr(tmp_path_factory.mktemp("v") / "clip.mp4", media.numbered_frames(12))


def write_png(path, mask):
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--point", "1.2,0.5@0"], 2, "--point 1.2,0.5@0: x and y are fractions of the frame, from 0 to 1"),
        (["--point", "300,20@0"], 1, "--point 300,20@0: the frames are 160x96 pixels"),
        (["--box", "0.2,0.2,0.1,0@0"], 2, "the width and the height must be more than 0"),
        (["--mask", "EMPTY@0"], 2, "the mask is empty; the object is to be white"),
        (["--mask", "SMALL@0"], 1, "the mask on frame 0 is 80x48; the video's frames are 160x96"),
        (["--mask", "FULL@12"], 1, "frame 12 was drawn on, and the video has the frames 0 to 11"),
        (["the star", "--mask", "FULL@2", "--mask", "FULL@2"], 2, "two masks were given on frame 2"),
        (["--mask", "TEXT@2"], 2, "cannot be read as a picture"),
        (["--point", "0.5,0.5@99"], 1, "frame 99 was drawn on, and the video has the frames 0 to 11"),
        (["--not-point", "0.5,0.5@2"], 2, "--not-point says only what is not the object"),
    ],
)
def test_bad_prompts_are_explained(arguments, code, message, video, tmp_path):
    full = np.zeros((96, 160), bool)
    full[30:50, 30:60] = True
    paths = {
        "EMPTY": write_png(tmp_path / "empty.png", full & False),
        "SMALL": write_png(tmp_path / "small.png", full[::2, ::2]),
        "FULL": write_png(tmp_path / "full.png", full),
        "TEXT": tmp_path / "text.png",
    }
    paths["TEXT"].write_text("no picture")
    for name, path in paths.items():
        arguments = [a.replace(name, str(path)) for a in arguments]
    result = refam("label", video, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == code, result.output
    assert message in stderr_text(result)
    assert "Traceback" not in result.output
    assert not (tmp_path / "out" / "tracks.json").exists()


def test_a_mask_prompt_is_written_unchanged_on_its_frame(video, tmp_path):
    """The mask of the square of media.numbered_frames on frame 3 is the output mask of that frame."""
    mask = np.zeros((96, 160), bool)
    mask[33:48, 15:31] = True
    path = write_png(tmp_path / "a@b.png", mask)
    result = refam(
        "label", video, "--mask", f"{path}@3", "--not-point", "0.9,0.9@6", "--out", tmp_path / "out"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    written_mask = cv2.imread(str(tmp_path / "out" / "masks" / "0" / "00003.png"), cv2.IMREAD_UNCHANGED) > 0
    np.testing.assert_array_equal(written_mask, mask)


@pytest.mark.parametrize("kind", ["grey", "zero-one", "one-bit", "palette", "clear", "soft", "deep"])
def test_read_mask_accepts_common_image_formats(kind, tmp_path):
    mask = np.zeros((9, 16), bool)
    mask[2:6, 3:11] = True
    grey = mask.astype(np.uint8)
    palette = Image.fromarray(grey, "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    picture = {
        "grey": Image.fromarray(grey * 255),
        "zero-one": Image.fromarray(grey),
        "one-bit": Image.fromarray(mask),
        "palette": palette,
        "clear": Image.fromarray(np.stack([grey * 0, grey * 9, grey * 0, grey * 255], -1), "RGBA"),
        "soft": Image.fromarray(np.where(mask, 200, 90).astype(np.uint8)),
        "deep": Image.fromarray(grey.astype(np.uint16) * 65535),
    }[kind]
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)
    for text, name in ((f"{tmp_path / 'm.png'}@7", ""), (f"Dog: {tmp_path / 'm.png'}@7", "Dog")):
        drawing = parse_drawing("--mask", text)
        assert (drawing.name, drawing.mask, drawing.at) == (name, masks.encode(mask), 7)
    with pytest.raises(PromptError, match="FILE@frame"):
        parse_drawing("--mask", f"{tmp_path / 'm.png'}@-1")
