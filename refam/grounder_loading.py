"""Loading of grounders: of one backbone, or of a group of which the words choose one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from refam.backbones import BackboneError, LoadOptions, load_backbone, preset_for
from refam.backbones.identity import name_with_weights
from refam.backbones.presets import DEFAULT_BACKBONE, GROUPS, members_of
from refam.backbones.word_reader import open_group
from refam.calibration import calibration_path, load_calibration
from refam.grounder import Grounder
from refam.grounder_group import GrounderGroup
from refam.grounding import GroundingOptions
from refam.presence import load_presence, presence_path


def load_grounder_or_group(
    backbone: str = DEFAULT_BACKBONE,
    *,
    device: str = "auto",
    options: GroundingOptions | None = None,
    settings_from: str | None = None,
    loading: LoadOptions | None = None,
) -> Grounder | GrounderGroup:
    """Load what a backbone's name stands for: a grounder, or a group whose members are loaded when words choose them.

    Args:
        backbone: A group, or one backbone as in `load_grounder`, whose other arguments and errors are the same.
        device: See there.
        options: See there.
        settings_from: See there; not for a group, whose members have their own.
        loading: See there.
    """
    if backbone not in GROUPS:
        return load_grounder(backbone, device=device, options=options, settings_from=settings_from, loading=loading)
    if settings_from is not None:
        raise BackboneError(f"{backbone!r} stands for several backbones, whose settings are their own")
    members = {
        member: partial(load_grounder, member, device=device, options=options, loading=loading)
        for member in members_of(backbone)
    }
    reading = (options or GroundingOptions()).reading
    return GrounderGroup(name_with_weights(backbone), open_group(backbone), members, reading=reading)


def load_grounder(
    backbone: str,
    *,
    device: str = "auto",
    options: GroundingOptions | None = None,
    settings_from: str | None = None,
    loading: LoadOptions | None = None,
) -> Grounder:
    """Load a grounder with its calibration and its presence model, if there are any.

    Args:
        backbone: A preset, a diffusers pipeline directory or a hub id.
        device: "auto", "cpu" or "cuda".
        options: The parts of the method to use; None uses all.
        settings_from: A preset whose settings (blocks, noise, sizes) to use, for a directory with a model of that kind.
        loading: How weights are held, and whether they may be downloaded.

    Raises:
        BackboneError: If the backbone cannot be loaded.
    """
    preset = preset_for(backbone)
    if settings_from is not None:
        preset = replace(preset_for(settings_from), name=preset.name, source=preset.source, licence=preset.licence)
    return Grounder(
        load_backbone(preset, device=device, loading=loading),
        options,
        calibration=load_calibration(calibration_path(preset.source)),
        presence=load_presence(presence_path(preset.source)),
    )
