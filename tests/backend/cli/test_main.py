"""What every command shares: its help, its names, and how fast it starts."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import backend
from backend.cli.examples import EXAMPLES
from backend.cli.main import app
from refam.pipeline.device import require_device
from refam.pipeline.errors import PromptError
from refam.version import __version__

DOG = Path(backend.__file__).parent / "demo" / "clips" / "dog.mp4"
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


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("label", ["label", DOG, "the dog"]),
        ("curate", ["curate", "clips.csv", "--out", "found"]),
        ("serve", ["serve"]),
        ("train", ["train-photos", "data", "--out", "trained"]),
        ("eval", ["eval", "absent"]),
    ],
)
def test_an_interrupt_ends_with_130_and_one_line(module, arguments, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(f"backend.cli.{module}.one_line_errors", interrupt)
    result = refam(*arguments)
    assert (result.exit_code, result.output) == (130, "refam: stopped by Ctrl-C\n")


WORD, WORDS = "x" * 100_000, "dog " * 2_000


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["words", WORD], "xxx…: the model in use knows none of the words 'xxx"),
        (["words", WORDS], "dog …: the expression 'dog"),
        (["words", f"no {WORDS}"], "has 2001 tokens or more, but this model reads"),
        (["label", DOG, WORD], "xxx…: the model in use knows none of the words"),
        (["label", DOG, WORDS], "say it in fewer words"),
        (["label", DOG, f"{WORD}: the dog"], "which is what"),
        (["label", DOG, "the dog", "--backbone", WORD], "xxx…: File name too long"),
        (["label", DOG, "the dog", "--range", WORDS], "dog …: give FROM-TO"),
        (["label", DOG, "the dog", "--point", f"0.1,0.1@{'9' * 100_000}"], "frames are counted from 0"),
        (["label", DOG, "the dog", "--quality", WORD], "is not one of 'fast', 'normal', 'best'"),
        (["explain", DOG, WORD, "--out", "page.html"], "knows none of the words"),
        (["label", WORD], "xxx…: File name too long"),
        (["curate", WORD, "--out", "found"], "xxx…: File name too long"),
        (["models", WORD], "No such command 'xxx"),
        ([f"--{WORD}"], "No such option: --xxx"),
        ([WORD], "No such command 'xxx"),
    ],
    ids=range(16),
)
def test_errors_show_the_beginning_of_what_is_long(arguments, shown):
    result = refam(*arguments, REFAM_OFFLINE="1")
    assert result.exit_code in (1, 2)
    assert len(result.output) < 1500
    assert shown in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [[], ["label"], ["eval"], ["eval", "strokes"], ["models", "pull"]])
def test_h_is_help(arguments):
    short, long = refam(*arguments, "-h"), refam(*arguments, "--help")
    assert short.exit_code == 0
    assert short.stdout == long.stdout


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_help_ends_with_examples(path):
    printed = refam(*path, "--help").stdout
    assert "Example" in printed
    command = " ".join(["refam", *path])
    assert command.replace("track", "label") in printed.partition("Example")[2]


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_can_be_typed(line):
    """Each names a command, options that it has, and all that it needs."""
    words = [word for word in shlex.split(line) if not word.startswith(("REFAM_", "LABEL_STUDIO_"))]
    assert words.pop(0) == "refam"
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    parser = command.make_parser(command.context_class(command))
    given, left, _ = parser.parse_args(words)
    assert not left
    assert [p.name for p in command.params if p.required and not given.get(p.name)] == []


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["predict", "clip.mp4"], "`refam label`"),
        (["app"], "`refam serve`"),
        (["models", "download", "x"], "`refam models pull`"),
        (["label", "clip.mp4", "x", "--output", "y"], "--out."),
        (["label", "clip.mp4", "x", "--weights=sam2.pt"], "--backbone."),
        (["label", "clip.mp4", "x", "--imgsz", "640"], "--max-size."),
        (["explain", "clip.mp4", "x", "-o", "y"], "--out."),
        (["frames", "clip.mp4", "--out", "y", "--vid-stride", "5"], "--every."),
        (["export", "found", "--type", "coco", "--out", "y"], "--format."),
    ],
)
def test_what_other_programs_call_it_is_answered_with_its_name(typed, hint):
    result = refam(*typed)
    assert result.exit_code == 2
    assert f"Here it is {hint}" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["words", "-1 dogs"], "'-1 dogs' was taken for an option; write -- before it"),
        (["label", "clip.mp4", "- 2 dogs"], "'- 2 dogs' was taken for an option; write -- before it"),
        (["words", "--jsn", "the dog"], "No such option: --jsn"),
    ],
)
def test_words_that_begin_with_a_minus_are_told_how_they_are_written(typed, said):
    result = refam(*typed)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_words_that_look_like_such_options_stay_words():
    result = refam("words", "the red star", "--", "--model")
    assert result.exit_code == 3  # one of two is not known
    assert "Here it is" not in result.output


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


MODEL_COMMANDS = [
    ["label", __file__, "--point", "0.5,0.5", "--out", "out"],
    ["explain", __file__, "the red star", "--out", "out.html"],
    ["serve"],
    ["work"],
    ["curate", "none.csv", "--out", "out"],
    *(["eval", name, "none"] for name in ("ref-davis17", "davis", "mevis", "refcoco+")),
    *(["eval", name] for name in ("strokes", "need", "scenes", "absent", "calibrate")),
    ["eval", "photos", "none", "--backbone", "photos"],
]


@pytest.mark.parametrize("arguments", MODEL_COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_a_device_that_is_not_there_is_refused(arguments):
    by_option, by_variable = refam(*arguments, "--device", "cuda:99"), refam(*arguments, REFAM_DEVICE="cuda:99")
    with pytest.raises(PromptError) as raised:
        require_device("cuda:99")
    assert (by_option.exit_code, by_variable.exit_code) == (1, 1)
    assert by_option.output == by_variable.output == f"refam: {raised.value}\n"
    assert refam(*arguments, "--device", "gpu").output.endswith("must be auto, cpu, mps, cuda or cuda:N, got 'gpu'\n")


def test_a_device_is_refused_before_models_are_imported():
    """device must be auto, ...: known without torch, as is a torch that was built without CUDA."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom backend.cli.main import app\n"
        f"for words in {MODEL_COMMANDS!r}:\n"
        "    assert CliRunner().invoke(app, [*words, '--device', 'gpu']).exit_code == 1, words"
    )
    assert imported(code) == "[]"


@pytest.mark.parametrize("arguments", [["curate", "--address", "host:1", "none.csv", "--out", "out"]])
def test_a_device_of_other_machines_is_not_looked_for_here(arguments):
    assert "device" not in refam(*arguments, "--device", "cuda:99").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["frames", "no-such.mp4", "--out", "out"],
        ["explain", "no-such.mp4", "the red star", "--out", "out.html"],
        ["eval", "davis", "no-such"],
        ["eval", "strokes", "no-such"],
        ["eval", "photos", "no-such", "--backbone", "photos"],
        ["train-photos", "no-such", "--out", "out"],
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
