"""`refam models`: which backbones and segmenters there are, their weight and licence, and what is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.console import AsJson, err, one_line_errors, print_json, print_table, steps
from backend.cli.console import out as stdout
from backend.cli.examples import examples
from backend.cli.other_names import Group
from refam.backbones.weights import directory_size

if TYPE_CHECKING:
    from rich.console import JustifyMethod

    from backend.cli.model_choice import Machine
    from refam.backbones import Preset
    from refam.segmenters.sam2_weights import Sam2Weights

models_app = typer.Typer(
    cls=Group,
    help="The backbones that read words and the segmenters that draw masks: list them, fetch one.",
    epilog="How weights are held is set by REFAM_DTYPE (auto, float32, bfloat16, float16), REFAM_OFFLOAD=1 (parts "
    "visit the GPU one at a time), REFAM_QUANTISE (bnb-4bit, bnb-8bit, int8), REFAM_FREE_TEXT=1 (text encoders are let "
    "go between calls) and REFAM_DOWNLOAD=1.\n\n" + examples("models"),
    invoke_without_command=True,
)


@models_app.callback()
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List backbones and segmenters: size, memory, licence, and what is on this machine. Asks no network."""
    if context.invoked_subcommand is not None:
        return
    with one_line_errors():
        if as_json:
            print_json(_describe_models())
            return
        from rich.table import Table
        from rich.text import Text

        from backend.cli.model_choice import choose_backbone, describe_choice, read_machine
        from backend.settings import weight_settings
        from refam.backbones import PRESETS

        machine = read_machine(weight_settings().dtype)
        table = Table(box=None, pad_edge=False)
        for heading in ("backbone", "reads", "weights", "offloaded", "s/frame", "licence", "on this machine"):
            justify: JustifyMethod = "right" if heading in ("weights", "offloaded", "s/frame") else "left"
            table.add_column(heading, justify=justify, overflow="fold", no_wrap=heading == "backbone")
        for preset in PRESETS.values():
            table.add_row(*(Text(cell) for cell in _table_row(preset, machine)))
        print_table(table)
        stdout.print(
            "\nSizes are approximate: parameters, counted from the configurations, at 2 bytes each. So much is\n"
            "downloaded, and so much must a GPU hold for the weights alone; a CPU holds twice that, in float32,\n"
            "unless REFAM_DTYPE says otherwise. With REFAM_OFFLOAD=1 a GPU holds the transformer or the other\n"
            "parts, whichever is larger. s/frame is what one 16:9 frame takes at the speed that a matrix product\n"
            "has now; operations are counted from the configurations, other work comes on top, and - is not\n"
            "counted. A folder or a hub name of any of these pipelines will do as well. By default (`small`), the\n"
            "words choose between tiny, which knows drawn shapes, and photos, which knows everyday nouns. Only\n"
            "these two were measured: the others' weights were not at hand.",
            markup=False,
            soft_wrap=True,
        )
        stdout.print(f"\n{describe_choice(choose_backbone(machine), machine)}", markup=False, soft_wrap=True)
        _list_segmenters()


@models_app.command(epilog=examples("models pull"))
def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="A backbone's preset, its hub name (NAME@REVISION pins it), or a segmenter.",
            show_default=False,
        ),
    ],
) -> None:
    """Download a backbone from the hub into its cache, or a segmenter into the data folder."""
    with one_line_errors():
        from refam.segmenters.model_types import SAM3_ACCESS, SAM3_HUB
        from refam.segmenters.sam2_weights import SAM2_WEIGHTS, SegmenterError

        if name.lower() in ("sam3", SAM3_HUB):
            raise SegmenterError(f"{name} is fetched by hand: {SAM3_ACCESS}")
        if name in SAM2_WEIGHTS:
            _pull_segmenter(SAM2_WEIGHTS[name])
            return
        from backend.settings import SettingsError, weight_settings
        from refam.backbones import BackboneError, preset_for
        from refam.backbones.weights import download_pipeline

        try:
            preset = preset_for(name)
        except BackboneError as error:
            if name.count("/") or Path(name).exists():
                raise
            segmenters = ", ".join(SAM2_WEIGHTS)
            raise BackboneError(f"there is no segmenter {name!r}: give one of {segmenters}; and {error}") from None
        if Path(preset.source).is_dir():
            stdout.print(f"{preset.source} is a folder on this machine already", markup=False, soft_wrap=True)
            return
        if weight_settings().offline:
            raise SettingsError(f"REFAM_OFFLINE is set, which forbids fetching {preset.source}: unset it")
        size = f", about {preset.size_gb:.0f} GB" if preset.size_gb else ""
        err.print(f"fetching {preset.source}{size}. Licence: {preset.licence}.", markup=False, soft_wrap=True)
        directory = download_pipeline(preset.source, preset.revision)
        stdout.print(f"{directory} ({directory_size(directory) / 1e9:.1f} GB)", markup=False, soft_wrap=True)


def _pull_segmenter(weights: Sam2Weights) -> None:
    from importlib.util import find_spec

    from backend.settings import SettingsError, weight_settings
    from refam.segmenters import sam2_weights as sam2_store

    settings = weight_settings()
    folder = sam2_store.find_weights(weights.name, settings.models_dir)
    if folder is None:
        if settings.offline:
            raise SettingsError(f"REFAM_OFFLINE is set, which forbids fetching {weights.name}: unset it")
        with steps() as step:
            folder = sam2_store.pull_weights(
                weights,
                settings.models_dir,
                report=lambda line: err.print(line, markup=False, soft_wrap=True),
                progress=lambda fraction: step("fetch", fraction),
            )
    size = _format_size(directory_size(folder))
    stdout.print(f"{folder} ({size}). It draws masks from now on, unless REFAM_SAM2 names another.", soft_wrap=True)
    if sam2_store.is_for_onnx(folder) and find_spec("onnxruntime") is None:
        stdout.print("It needs onnxruntime, which is not installed: pip install onnxruntime", soft_wrap=True)


def _list_segmenters() -> None:
    from rich.table import Table
    from rich.text import Text

    from backend.settings import weight_settings
    from refam.segmenters import sam2_weights as sam2_store
    from refam.segmenters.model_types import SAM3_ACCESS

    weights = weight_settings()
    table = Table(box=None, pad_edge=False)
    hub_width = max(len(known.hub) for known in sam2_store.SAM2_WEIGHTS.values())
    for heading in ("segmenter", "fetched from", "weights", "licence", "on this machine"):
        short = heading in ("segmenter", "weights")  # what people copy stays whole; the rest wraps
        table.add_column(
            heading,
            justify="right" if heading == "weights" else "left",
            overflow="fold",
            no_wrap=short,
            min_width=hub_width if heading == "fetched from" else None,
        )
    for known in sam2_store.SAM2_WEIGHTS.values():
        folder = sam2_store.find_weights(known.name, weights.models_dir)
        here = "no" if folder is None else _format_size(directory_size(folder))
        if folder is not None and sam2_store.is_for_onnx(folder):
            here += ", for onnxruntime"
        source = known.hub if known.npm is None else f"{known.hub}, or npm"
        table.add_row(*(Text(cell) for cell in (known.name, source, f"{known.hub_mb} MB", known.licence, here)))
    table.add_row("grabcut", "-", "-", "-", "always: it needs none")
    stdout.print()
    print_table(table)
    stdout.print(
        f"\nA folder with SAM3 will do, too. {SAM3_ACCESS}. It was never run with its weights here.", soft_wrap=True
    )
    choice = weights.segmenter_choice(None)
    stdout.print(f"\nUnless REFAM_SAM2 names another: {choice.version}, {choice.why}.", markup=False, soft_wrap=True)


def _describe_models() -> dict[str, Any]:
    """Return backbones and segmenters as JSON: sizes in bytes, null where they are not known or not on this machine."""
    from backend.cli.model_choice import choose_backbone, frame_seconds, read_machine
    from backend.settings import weight_settings
    from refam.backbones import PRESETS
    from refam.backbones.loading import BACKBONES
    from refam.segmenters import sam2_weights as sam2_store

    backbones = []
    machine = read_machine(weight_settings().dtype)
    choice = choose_backbone(machine)
    for preset in PRESETS.values():
        size, complete = _on_this_machine(preset)
        backbones.append(
            {
                "name": preset.name,
                "reads": "clips" if BACKBONES[preset.pipeline].is_video else "frames",
                "source": preset.source,
                "weights_bytes": preset.billion_parameters and round(2e9 * sum(preset.billion_parameters)),
                "seconds_per_frame": frame_seconds(preset, machine),
                "licence": preset.licence,
                "gated": preset.gated,
                "bytes_here": size,
                "complete": complete,
            }
        )
    weights = weight_settings()
    segmenters: list[dict[str, Any]] = []
    for known in sam2_store.SAM2_WEIGHTS.values():
        folder = sam2_store.find_weights(known.name, weights.models_dir)
        segmenters.append(
            {
                "name": known.name,
                "source": known.hub,
                "weights_bytes": known.hub_mb * 1_000_000,
                "licence": known.licence,
                "bytes_here": None if folder is None else directory_size(folder),
            }
        )
    segmenters.append({"name": "grabcut", "source": None, "weights_bytes": 0, "licence": None, "bytes_here": 0})
    in_use = weights.segmenter_choice(None)
    return {
        "backbones": backbones,
        "recommended_backbone": {
            "name": None if choice.preset is None else choice.preset.name,
            "offload": choice.offload,
            "device": machine.name,
            "free_bytes": round(1e9 * machine.free_gb),
            "flops_per_second": machine.flops,
        },
        "segmenters": segmenters,
        "segmenter_in_use": {"version": in_use.version, "why": in_use.why},
    }


def _on_this_machine(preset: Preset) -> tuple[int | None, bool]:
    """Return how many bytes of a backbone are here, None without any, and whether it is complete."""
    from refam.backbones.weights import find_missing_files, find_pipeline_directory, read_index

    directory = find_pipeline_directory(preset.source, preset.revision)
    if directory is None or not (directory / "model_index.json").is_file():
        return None, False
    return directory_size(directory), not find_missing_files(directory, read_index(directory))


def _table_row(preset: Preset, machine: Machine) -> tuple[str, ...]:
    from backend.cli.model_choice import frame_seconds
    from refam.backbones.loading import BACKBONES

    size, complete = _on_this_machine(preset)
    here = "no" if size is None else f"{_format_size(size)}{'' if complete else ', not complete'}"
    weights = offloaded = "-"
    if preset.billion_parameters is not None:
        weights = f"{2 * sum(preset.billion_parameters):.0f} GB"
        offloaded = f"{2 * max(preset.billion_parameters):.0f} GB"
    licence = preset.licence + (" (to accept on the hub)" if preset.gated else "")
    return (
        preset.name,
        "clips" if BACKBONES[preset.pipeline].is_video else "frames",
        weights,
        offloaded,
        _format_seconds(frame_seconds(preset, machine)),
        licence,
        here,
    )


def _format_seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _format_size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
