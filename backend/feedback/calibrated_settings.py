"""Settings that `refam calibrate` chose by a project's corrections; they are part of the model version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from refam.text.magnets import Magnets
from video.atomic_files import write_text
from video.errors import UserError

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup

FILE_NAME = "tuned.json"


class CalibratedSettingsError(UserError):
    """The file of calibrated settings cannot be used."""


@dataclass(frozen=True)
class CalibratedSettings:
    """The content of tuned.json.

    Attributes:
        backbone: Name and weights of the backbone that the settings are for, such as tiny@34081d94.
        blocks: The transformer blocks to read, as in a preset; None for all.
        noise: The noise level, as in a preset, in (0, 1).
        magnets: The magnet words to append; "" for none.
        keyframe_iou: The IoU that boxes between keyframes must keep, in (0, 1].
        project: The project whose corrections were used.
        objects: Number of corrected objects.
        score: A hash of the fitted score model; "" for none.
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
        """Six hexadecimal digits of a hash over everything that changes predictions."""
        content = (self.backbone, self.blocks, self.noise, self.magnets, self.keyframe_iou, self.score)
        return hashlib.sha256(repr(content).encode()).hexdigest()[:6]

    def apply(self, grounder: Grounder | GrounderGroup) -> None:
        """Set the blocks, noise level and magnets of a grounder, and append the version to its name.

        Of a group, which is loaded for it, that member is changed which the settings are for.
        """
        for member in grounder.members():
            if member.name.partition("+")[0] == self.backbone:
                member.backbone.preset = replace(member.backbone.preset, blocks=self.blocks, noise=self.noise)
                words = Magnets.parse(self.magnets) if self.magnets else member.options.magnet_words
                member.options = replace(member.options, magnets=bool(self.magnets), magnet_words=words)
                member.name = f"{member.name}+{self.version}"
                if member is not grounder:
                    grounder.name = f"{grounder.name}+{self.version}"


def load_calibrated(data_dir: Path, backbones: Collection[str]) -> CalibratedSettings | None:
    """Load the calibrated settings of a backbone.

    Args:
        data_dir: The data directory.
        backbones: Names and weights of the backbones that are in use.

    Returns:
        The settings; None if there are none, or if they are for other backbones.

    Raises:
        CalibratedSettingsError: If the file cannot be read.
    """
    path = data_dir / FILE_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        blocks = None if content["blocks"] is None else tuple(int(b) for b in content["blocks"])
        loaded = CalibratedSettings(**{**content, "blocks": blocks})
    except (ValueError, TypeError, KeyError) as error:
        raise CalibratedSettingsError(
            f"{path} cannot be read ({error}); `refam calibrate --forget` removes it"
        ) from error
    return loaded if loaded.backbone in backbones else None


def save_calibrated(calibrated: CalibratedSettings, data_dir: Path) -> Path:
    """Write the settings to the data directory, replacing earlier ones, and return the file's path."""
    path = data_dir / FILE_NAME
    return write_text(path, json.dumps(asdict(calibrated), indent=1) + "\n")
