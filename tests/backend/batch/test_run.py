"""`refam curate` without Ray: manifests, video download, isolated workers, result folders and exports."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="pip install 'refam-label-studio[curate]'")

import fsspec  # noqa: E402

from backend.batch import results as result_folder  # noqa: E402
from backend.batch.clips import ClipWorker, VideoError, fetch_video, find_fault, worker_settings  # noqa: E402
from backend.batch.isolated import IsolatedWorker, StartError  # noqa: E402
from backend.batch.manifest import ManifestError, ManifestRow, read_manifest  # noqa: E402
from backend.settings import load_settings  # noqa: E402
from refam.evaluation.synthetic import red_star_and_blue_ring  # noqa: E402
from tests.backend.batch.manifests import write_manifest  # noqa: E402
from tests.media import cfr, truncated  # noqa: E402
from tests.small_files import small_files  # noqa: E402

FAKE_WORKER = "tests.backend.batch.fake_worker:FakeWorker"


def row(words="a cat", number=1, video="/v/a.mp4"):
    return ManifestRow(number, "", video, (words,), (words,))


# --- manifests


RECORDS = [
    {"video": "a.mp4", "expressions": "the red star; the blue ring", "labels": "star;ring", "id": "one", "prompts": ""},
    {
        "video": "memory://bucket/b.mp4",
        "expressions": "",
        "labels": "dog",
        "id": "two",
        "prompts": '[{"frame": 3, "box": [0.1, 0.2, 0.3, 0.4]}]',
    },
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_all_formats_hold_the_same_rows(tmp_path, suffix):
    found = read_manifest(write_manifest(tmp_path / f"m{suffix}", RECORDS))
    first, second = found.rows
    assert first.expressions == ("the red star", "the blue ring")
    assert first.labels == ("star", "ring")
    assert first.video == str(tmp_path / "a.mp4")
    assert (second.video, second.id) == ("memory://bucket/b.mp4", "two")
    (target,) = second.targets()
    assert (target.label, target.words) == ("dog", None)
    assert target.prompts[0].box == (0.1, 0.2, 0.3, 0.4)
    assert target.prompts[0].frame == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_lists_are_not_split_at_semicolons(tmp_path, suffix):
    records = [{"video": "a.mp4", "expressions": ["x; y", "z"]}]
    (found,) = read_manifest(write_manifest(tmp_path / f"m{suffix}", records)).rows
    assert found.expressions == found.labels == ("x; y", "z")


@pytest.mark.parametrize(
    ("expressions", "labels", "words", "called"),
    [
        ("Car: the red one; the dog", "", ("the red one", "the dog"), ("Car", "the dog")),
        ("Car#1: the red one; Car#2: the blue one", "", ("the red one", "the blue one"), ("Car", "Car")),
        ("car: the red one", "Car", ("the red one",), ("Car",)),
        ("the sign that says: stop", "", ("the sign that says: stop",), ("the sign that says: stop",)),
        ("the clock at 10:30", "Clock", ("the clock at 10:30",), ("Clock",)),
    ],
)
def test_an_expression_may_have_its_label_before_it(tmp_path, expressions, labels, words, called):
    records = [{"video": "a.mp4", "expressions": expressions, "labels": labels}]
    (found,) = read_manifest(write_manifest(tmp_path / "m.csv", records)).rows
    assert (found.expressions, found.labels) == (words, called)


def test_repeated_rows_are_dropped_and_counted(tmp_path):
    records = [{"video": "a.mp4", "expressions": e, "note": n} for e, n in [("x", 1), ("y", 2), ("x", 3), ("x", 4)]]
    found = read_manifest(write_manifest(tmp_path / "m.csv", records))
    assert [r.number for r in found.rows] == [1, 2]
    assert (found.repeated, found.unused) == (2, ("note",))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"expressions": "x"}], "it needs video"),
        ([{"video": "a.mp4", "words": "x"}], "it needs video, and expressions or prompts"),
        ([{"video": "a.mp4", "expressions": "x"}, {"video": " ", "expressions": "x"}], "row 2: video"),
        ([{"video": "a.mp4", "expressions": "x;y", "labels": "one"}], "row 1: labels has 1 entries for 2"),
        ([{"video": "a.mp4", "expressions": "x;x"}], "row 1: expressions: one is there twice"),
        ([{"video": "a.mp4", "expressions": "Car: x; Dog: x"}], "row 1: expressions: one is there twice"),
        ([{"video": "a.mp4", "expressions": "Car:"}], "row 1: expressions: 'Car:' has no words behind the colon"),
        (
            [{"video": "a.mp4", "expressions": "Car: x", "labels": "Dog"}],
            "row 1: expressions: 'Car' stands before the colon, and labels says 'Dog'; give one of both",
        ),
        ([{"video": "a.mp4", "expressions": ""}], "row 1: expressions is empty"),
        ([{"video": "nosuch://a", "expressions": "x"}], "row 1: video: nosuch://a cannot be read"),
        ([{"video": "a", "expressions": "x", "id": "1"}, {"video": "b", "expressions": "x", "id": "1"}], "row 1's too"),
        ([{"video": "a", "expressions": "x", "prompts": "{"}], "row 1: prompts: it is no JSON"),
        ([{"video": "a", "expressions": "x", "prompts": '[{"frame": 0, "bax": []}]'}], "entry 0: has no field 'bax'"),
        ([{"video": "a", "expressions": "x", "prompts": '[{"frame": 0, "box": [0.5, 0, 0.2, 1]}]'}], "entry 0: box"),
        (
            [{"video": "a", "expressions": "x", "prompts": '[{"object": 1, "frame": 0, "points": [[0, 0]]}]'}],
            "object 1",
        ),
    ],
)
def test_manifest_errors_name_the_file_row_and_column(tmp_path, records, message):
    path = write_manifest(tmp_path / "m.csv", records)
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", b"x", "a manifest is a .parquet, .csv or .jsonl file with the columns video and expressions"),
        ("m.csv", b"", "has no rows"),
        ("m.csv", b"video,expressions\na,b,c\n", "row 1: it has more than the 2 columns"),
        ("m.csv", b"video,expressions\na,\xff\n", "is not UTF-8"),
        ("m.jsonl", b'{"video": "a", "expressions": "x"}\n{', "row 2: it is no JSON"),
        ("m.jsonl", b"[1]\n", "row 1: it must be an object"),
        ("m.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_invalid_manifest_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name)


CSV = "video,expressions\na.mp4,x\n"
JSON = '{"video": "a.mp4", "expressions": "x"}\n'


@pytest.mark.parametrize(
    ("name", "content", "good", "bad"),
    [
        ("m.csv", CSV + "b.mp4,y,z\nc.mp4,w\n", [1, 3], ["row 2: it has more than the 2 columns"]),
        ("m.csv", CSV + 'b.mp4,"y\nc.mp4,w\nd.mp4,v\n', [1, 3, 4], ["row 2: it cannot be read as CSV"]),
        ("m.csv", CSV + 'b.mp4,"y" z\nc.mp4,"w\nv"\n', [1, 3], ["row 2: it cannot be read as CSV"]),
        ("m.csv", CSV + "b.mp4,\udcff\nc.mp4,w\n", [1, 3], ["row 2: it is not UTF-8"]),
        ("m.csv", CSV + ",y\nc.mp4,w;w\nd.mp4,\n\ne.mp4,é\n", [1, 5], ["row 2: video", "row 3: exp", "row 4: exp"]),
        ("m.jsonl", JSON + '{"video": \n' + JSON.replace("a.", "b."), [1, 3], ["row 2: it is no JSON"]),
        (
            "m.jsonl",
            "7\n\udcff\n" + JSON + "[" * 100_000,
            [3],
            ["row 1: it must be", "row 2: it is not", "row 4: it is"],
        ),
        (
            "m.jsonl",
            JSON
            + '{"video": "b.mp4", "prompts": [{"frame": "first", "points": [[0.5, 0.5]]}]}\n'
            + '{"video": "c.mp4", "prompts": [{"object": 999999999999, "frame": 0, "points": [[0.5, 0.5]]}]}\n',
            [1],
            ["row 2: prompts, entry 0: frame must be", "row 3: prompts, entry 0: there is no object 999999999999"],
        ),
    ],
)
def test_a_bad_row_costs_only_itself(tmp_path, name, content, good, bad):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", errors="surrogateescape")
    skipped = []
    found = read_manifest(path, skipped=skipped)
    assert [r.number for r in found.rows] == good
    assert found.repeated == 0
    assert len(skipped) == len(bad)
    for sentence, expected in zip(skipped, bad, strict=True):
        assert f"{path}, {expected}" in sentence


def test_a_manifest_without_any_good_row_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("video,expressions\n,x\na.mp4,\n")
    with pytest.raises(ManifestError, match=r"row 1: video.*row 2: expressions"):
        read_manifest(tmp_path / "m.csv", skipped=[])


def test_the_key_does_not_depend_on_the_row_number():
    assert row().key == row(number=7).key
    assert len({row().key, row("a dog").key, row(video="/v/b.mp4").key}) == 3
    assert ManifestRow.from_json(row().to_json()) == row()


# --- videos


def test_fetch_video_enforces_size_and_network_limits(tmp_path):
    fsspec.filesystem("memory").pipe("/bucket/a.mp4", b"x" * 2_000_000)
    with fetch_video("memory://bucket/a.mp4", load_settings()) as path:
        assert path.stat().st_size == 2_000_000
        assert path.suffix == ".mp4"
    assert not path.exists()
    with (
        pytest.raises(VideoError, match=r"larger than 1 MB \(REFAM_MAX_MEDIA_MB\)"),
        fetch_video("memory://bucket/a.mp4", load_settings(max_media_mb=1)),
    ):
        pass
    for missing in ("memory://bucket/none.mp4", str(tmp_path / "none.mp4")):
        with pytest.raises(VideoError, match="there is no"), fetch_video(missing, load_settings()):
            pass
    with (
        pytest.raises(VideoError, match="cannot be opened: File name too long"),
        fetch_video("x" * 300, load_settings()),
    ):
        pass
    row = ManifestRow(1, "", "x" * 300, ("a dog",), ("dog",), "")
    assert "cannot be opened: File name too long" in (find_fault(row) or "")
    with pytest.raises(VideoError, match="is a folder: give a video file"), fetch_video(str(tmp_path), load_settings()):
        pass
    with (
        pytest.raises(VideoError, match="not on the public network"),
        fetch_video("http://127.0.0.1:1/a.mp4", load_settings()),
    ):
        pass


# --- isolated workers


@pytest.mark.slow
def test_a_failing_clip_does_not_stop_the_worker(tmp_path):
    settings = {"call_log": str(tmp_path / "call_log"), "slow_s": 0}
    worker = IsolatedWorker(FAKE_WORKER, settings, tries=2, limit_s=5)
    cases = [
        ("fine", "done", None, 1),
        ("bad", "error", "the clip is damaged", 1),
        ("bug", "error", "ZeroDivisionError: a bug", 1),
        ("segfault", "error", "the worker was killed by SIGSEGV on this video", 2),
        ("busy", "error", "the storage is busy", 2),
        ("fine again", "done", None, 1),
    ]
    for words, status, error, tries in cases:
        found = worker(row(words))
        assert (found["status"], found.get("error"), found["tries"]) == (status, error, tries), words
    pids = dict(line.split() for line in (tmp_path / "call_log").read_text().splitlines())
    assert pids[row("fine").key] == pids[row("bug").key], "one process serves all rows until it crashes"
    assert pids[row("fine").key] != pids[row("fine again").key]
    worker.stop()


def test_a_clip_over_the_time_limit_is_an_error(tmp_path):
    worker = IsolatedWorker(FAKE_WORKER, {"call_log": str(tmp_path / "call_log")}, tries=1, limit_s=0.3)
    start = time.monotonic()
    assert worker(row("hangs"))["error"] == "it took longer than 0.3 s"
    assert time.monotonic() - start < 20
    worker.stop()


def test_a_model_loading_error_stops_the_run(tmp_path):
    with pytest.raises(StartError, match="no such weights"):
        IsolatedWorker(FAKE_WORKER, {"call_log": str(tmp_path / "j"), "start": "fails"}).start()


# --- results


DONE = {"status": "done", "width": 4, "height": 3, "frames": 1, "duration_s": 1.0, "stages_s": {"track": 0.5}}


def test_one_result_per_row_and_written_parts_persist(tmp_path):
    first = result_folder.ResultSink(tmp_path, part_rows=2)
    assert [first.add(row(w, i), DONE) for i, w in enumerate("abab", 1)] == [True, True, False, False]
    first.add(row("c", 5), DONE)  # stays in memory: the process is killed before it writes this row
    (tmp_path / "parts" / ".part-000002.parquet.tmp").write_bytes(b"half")
    second = result_folder.ResultSink(tmp_path, part_rows=2)
    assert second.done == {row("a").key, row("b").key}
    assert [second.add(row(w), DONE) for w in "abc"] == [False, False, True]
    second.flush()
    counts = Counter(item["key"] for item in result_folder.read_parts(tmp_path, ["key"]))
    assert counts == Counter(row(w).key for w in "abc")
    assert [p.name for p in result_folder.part_files(tmp_path)] == ["part-000001.parquet", "part-000002.parquet"]


def test_remove_errors_removes_only_error_rows(tmp_path):
    sink = result_folder.ResultSink(tmp_path, part_rows=2)
    for words, status in (("a", "done"), ("b", "error"), ("c", "error"), ("d", "error"), ("e", "nothing")):
        sink.add(row(words), {"status": status, "error": None if status == "done" else "why"})
    sink.flush()
    assert result_folder.remove_errors(tmp_path) == 3
    assert result_folder.read_keys(tmp_path) == {row("a").key, row("e").key}


def test_a_full_disk_leaves_no_part_of_run_json(tmp_path):
    info = result_folder.ResultFolderInfo("m.csv", 3, 0, "refam/one")
    with (
        small_files(10),
        pytest.raises(result_folder.ResultFolderError, match="cannot be written to: File too large"),
    ):
        result_folder.write_info(tmp_path, info)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ([], []),
        (["out"], ["out"]),
        (["out", "out/mine"], ["out", "out/mine"]),
        (["out", "out/parts"], ["out", "out/parts"]),
    ],
)
def test_a_run_on_a_full_disk_removes_what_it_made_and_nothing_else(tmp_path, there, left):
    for name in there:
        (tmp_path / name).mkdir()
    info = result_folder.ResultFolderInfo("m.csv", 3, 0, "refam/one")
    out = tmp_path / "out" if there else tmp_path / "new" / "out"
    with (
        small_files(10),
        pytest.raises(result_folder.ResultFolderError, match="cannot be written to: File too large"),
        result_folder.lock_folder(out),
    ):
        result_folder.write_info(out, info)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == left


@pytest.mark.parametrize("failing", [".lock", "parts"])
def test_a_folder_that_cannot_be_made_is_removed_again(tmp_path, monkeypatch, failing):
    mkdir, open_file = Path.mkdir, Path.open

    def full(original):
        def call(path, *args, **options):
            if path.name == failing:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return original(path, *args, **options)

        return call

    monkeypatch.setattr(Path, "mkdir", full(mkdir))
    monkeypatch.setattr(Path, "open", full(open_file))
    with pytest.raises(OSError, match="No space left"), result_folder.lock_folder(tmp_path / "new" / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_part_on_a_full_disk_leaves_the_parts_that_are_there(tmp_path):
    sink = result_folder.ResultSink(tmp_path, part_rows=1)
    sink.add(row("a"), DONE)
    with small_files(10), pytest.raises(OSError, match="File too large"):
        sink.add(row("b"), DONE)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["part-000001.parquet"]
    assert result_folder.read_keys(tmp_path) == {row("a").key}


def test_damaged_parts_other_models_and_locked_folders_are_refused(tmp_path):
    info = result_folder.ResultFolderInfo("m.csv", 3, 0, "refam/one")
    result_folder.write_info(tmp_path, info)
    result_folder.write_info(tmp_path, info)
    with pytest.raises(result_folder.ResultFolderError, match="results of refam/one; now it would be refam/two"):
        result_folder.write_info(tmp_path, result_folder.ResultFolderInfo("m.csv", 3, 0, "refam/two"))
    with (
        result_folder.lock_folder(tmp_path),
        pytest.raises(result_folder.ResultFolderError, match="another"),
        result_folder.lock_folder(tmp_path),
    ):
        pass
    (tmp_path / "parts" / "part-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(result_folder.ResultFolderError, match=r"part-000001.parquet is damaged: delete it"):
        result_folder.read_keys(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "now", "options"),
    [
        ("small@1/grabcut/dis-flow", "small@1/sam2-tiny/memory", "--sam2 grabcut"),
        ("small@1/sam2-tiny/memory", "small@1/grabcut/dis-flow", "--sam2 sam2-tiny"),
        ("small@1/sam2-tiny/dis-flow", "small@1/sam2-tiny/memory", "REFAM_TRACKER=flow"),
        ("small@1/grabcut/dis-flow:best", "small@1/grabcut/dis-flow", "--quality best"),
        ("small@1/grabcut/dis-flow", "small@1/grabcut/dis-flow:fast", "--quality normal"),
        ("tiny@1/grabcut/dis-flow", "photos@2/grabcut/dis-flow", "REFAM_BACKBONE=tiny"),
        ("small@1/grabcut/dis-flow", "small@2/grabcut/dis-flow", ""),  # other weights under the same name
        ("small@1+77/grabcut/dis-flow", "small@1/grabcut/dis-flow", ""),  # calibrated since
        ("something", "small@1/grabcut/dis-flow", ""),
    ],
)
def test_other_models_are_refused_with_what_to_set(wanted, now, options):
    assert result_folder.describe_models(f"refam-1/{wanted}", f"refam-1/{now}") == options
    assert result_folder.describe_models(f"refam-0/{wanted}", f"refam-1/{now}") == "", "another release"


def test_errors_are_results_unless_they_are_retried(tmp_path):
    sink = result_folder.ResultSink(tmp_path)
    sink.add(row("a"), DONE)
    sink.add(row("b"), {"status": "error", "error": "why"})
    sink.flush()
    keys = {row("a").key, row("b").key}
    assert result_folder.has_results(tmp_path, keys, retry_errors=False)
    assert not result_folder.has_results(tmp_path, keys, retry_errors=True)
    assert not result_folder.has_results(tmp_path, {*keys, row("c").key}, retry_errors=False)


def test_video_addresses_are_stored_without_signatures(tmp_path):
    sink = result_folder.ResultSink(tmp_path)
    sink.add(row(video="https://host/a.mp4?X-Signature=secret"), DONE)
    sink.flush()
    assert [i["video"] for i in result_folder.read_parts(tmp_path, ["video"])] == ["https://host/a.mp4"]


# --- a real clip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curated")
    frames, masks = red_star_and_blue_ring(12, size=(320, 180))
    cfr(folder / "a.mp4", frames)
    worker = ClipWorker(worker_settings(load_settings(sam2="grabcut", device="cpu")))
    rows = [
        ManifestRow(1, "", str(folder / "a.mp4"), ("the red star",), ("star",)),
        ManifestRow(2, "two", str(folder / "a.mp4"), ("xyzzy",), ("thing",)),
    ]
    sink = result_folder.ResultSink(folder / "out")
    for manifest_row in rows:
        sink.add(manifest_row, {**worker(manifest_row), "tries": 1, "seconds": 1.0})
    sink.flush()
    with pytest.raises(ValueError, match="there is no frame 40; the video has 0 to 11"):
        worker(ManifestRow(3, "", str(folder / "a.mp4"), (), ("x",), '[{"frame": 40, "points": [[0.5, 0.5]]}]'))
    return folder / "out", masks


@pytest.mark.slow
def test_a_truncated_video_is_processed_up_to_its_last_readable_frame(tmp_path):
    frames, _ = red_star_and_blue_ring(50, size=(320, 180))
    truncated_video = truncated(tmp_path / "cut.mp4", frames)
    worker = ClipWorker(worker_settings(load_settings(sam2="grabcut", device="cpu")))
    found = worker(ManifestRow(1, "", str(truncated_video), ("the red star",), ("star",)))
    assert found["status"] == "done"
    assert 5 < found["frames"] < 45
    assert "the video can be decoded up to" in found["objects"][0]["notes"][-1]
    nothing = worker(ManifestRow(2, "", str(truncated_video), ("xyzzy",), ("thing",)))
    assert nothing["status"] == "nothing"
    assert "the video can be decoded up to" in nothing["error"]
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(truncated_video.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"empty\.mp4"):
        worker(ManifestRow(3, "", str(empty), ("the red star",), ("star",)))


def test_the_result_of_a_clip_has_its_masks(results):
    from video.masks import decode, iou

    out, masks = results
    found, nothing = result_folder.read_parts(out, result_folder.SCHEMA.names)
    assert (found["status"], found["frames"], found["width"]) == ("done", 12, 320)
    assert found["model_version"].startswith("refam-")
    assert {"open", "ground", "track", "keyframes"} <= dict(found["stages_s"]).keys()
    (star,) = found["objects"]
    assert (star["label"], star["words"]) == ("star", "the red star")
    assert len(star["keyframes"]) >= 2
    (track,) = result_folder.to_annotated_video(found).objects
    mean = sum(iou(decode(rle), masks[0, f]) for f, rle in zip(track.frames, track.rles, strict=True)) / 12
    assert mean > 0.8
    assert (nothing["status"], nothing["objects"]) == ("nothing", [])
    assert "xyzzy" in nothing["error"]


def test_exported_coco_is_readable_by_pycocotools(results):
    from pycocotools.coco import COCO

    out, masks = results
    (folder,) = result_folder.export_results(out, "coco")
    coco = COCO(str(folder / "annotations" / "instances_all.json"))
    assert len(coco.getAnnIds()) == 12
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["star"]
    overlap = sum(
        int((coco.annToMask(a) > 0)[masks[0, i]].sum()) for i, a in enumerate(coco.loadAnns(coco.getAnnIds()))
    )
    assert overlap > 0.8 * masks[0].sum()


def test_the_worker_process_ends_with_its_parent(tmp_path):
    import subprocess
    import sys

    code = (
        "import os; from backend.batch.isolated import IsolatedWorker\n"
        f"worker = IsolatedWorker({FAKE_WORKER!r}, {{'call_log': {str(tmp_path / 'j')!r}}}); worker.start()\n"
        "print(worker._child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    child = int(process.stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _is_running(child):
        time.sleep(0.1)
    assert not _is_running(child)


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
