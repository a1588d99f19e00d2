"""Settings chosen by what people corrected, kept beside the jobs; they are part of the model version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from refam.text.magnets import Magnets
from video.errors import UserError

if TYPE_CHECKING:
    from refam.grounder import Grounder

FILE_NAME = "tuned.json"


class CalibratedSettingsError(UserError):
    """The file of chosen settings cannot be used; the message says which and why."""


@dataclass(frozen=True)
class CalibratedSettings:
    """What was chosen. backbone: name and weights it counts for, such as tiny@28f20505.

    blocks, noise: as in a preset. magnets: words to append, "" for none. keyframe_iou: how well the keyframes must keep
    the track. project, objects: of which project's corrections, and how many. score: a hash of the fitted score, ""
    where none was.
    """

    backbone: str
    blocks: tuple[int, ...] | None
    noise: float
    magnets: str
    keyframe_iou: float
    project: int
    objects: int
    score: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.noise < 1 or not 0 < self.keyframe_iou <= 1:
            raise CalibratedSettingsError(f"noise must be in (0, 1) and keyframe_iou in (0, 1], got {self}")

    @property
    def version(self) -> str:
        """Six hexadecimal digits over everything that changes an answer."""
        matters = (self.backbone, self.blocks, self.noise, self.magnets, self.keyframe_iou, self.score)
        return hashlib.sha256(repr(matters).encode()).hexdigest()[:6]

    def apply(self, grounder: Grounder) -> None:
        """Makes a grounder read as was chosen; its name says so."""
        grounder.backbone.preset = replace(grounder.backbone.preset, blocks=self.blocks, noise=self.noise)
        words = Magnets.parse(self.magnets) if self.magnets else grounder.options.magnet_words
        grounder.options = replace(grounder.options, magnets=bool(self.magnets), magnet_words=words)
        grounder.name = f"{grounder.name}+{self.version}"


def load_calibrated(data_dir: Path, backbone: str) -> CalibratedSettings | None:
    """What was chosen for a backbone; None where nothing was, or for another one. Raises CalibratedSettingsError."""
    path = data_dir / FILE_NAME
    if not path.is_file():
        return None
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        blocks = None if read["blocks"] is None else tuple(int(b) for b in read["blocks"])
        found = CalibratedSettings(**{**read, "blocks": blocks})
    except (ValueError, TypeError, KeyError) as error:
        raise CalibratedSettingsError(
            f"{path} cannot be read ({error}); `refam calibrate --forget` removes it"
        ) from error
    return found if found.backbone == backbone else None


def save_calibrated(tuned: CalibratedSettings, data_dir: Path) -> Path:
    """Writes it, in place of what was chosen before."""
    path = data_dir / FILE_NAME
    data_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(tuned), indent=1) + "\n", encoding="utf-8")
    return path
