"""`refam curate` without Ray: manifests, isolated work, the folder of results, exports."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest

pa = pytest.importorskip("pyarrow", reason="pip install 'refam-label-studio[curate]'")

import fsspec  # noqa: E402

from backend.batch import results as result_folder  # noqa: E402
from backend.batch.clips import ClipWorker, VideoError, fetch_video, worker_settings  # noqa: E402
from backend.batch.isolated import IsolatedWorker, StartError  # noqa: E402
from backend.batch.manifest import ManifestError, ManifestRow, read_manifest  # noqa: E402
from backend.settings import load_settings  # noqa: E402
from refam.evaluation.synthetic import red_star_and_blue_ring  # noqa: E402
from tests.backend.batch.manifests import write_manifest  # noqa: E402
from tests.media import cfr, truncated  # noqa: E402

SCRIPTED = "tests.backend.batch.fake_worker:Scripted"


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
def test_every_format_says_the_same(tmp_path, suffix):
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
def test_lists_stay_lists(tmp_path, suffix):
    records = [{"video": "a.mp4", "expressions": ["x; y", "z"]}]
    (found,) = read_manifest(write_manifest(tmp_path / f"m{suffix}", records)).rows
    assert found.expressions == found.labels == ("x; y", "z")


def test_what_is_there_twice_is_done_once_and_said(tmp_path):
    records = [{"video": "a.mp4", "expressions": e, "note": n} for e, n in [("x", 1), ("y", 2), ("x", 3), ("x", 4)]]
    found = read_manifest(write_manifest(tmp_path / "m.csv", records))
    assert [r.number for r in found.rows] == [1, 2]
    assert (found.repeated, found.unused) == (2, ("note",))


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([{"expressions": "x"}], "it needs video"),
        ([{"video": "a.mp4", "words": "x"}], "it needs video, and expressions or prompts"),
        ([{"video": "a.mp4", "expressions": "x"}, {"video": " ", "expressions": "x"}], "row 2: video"),
        ([{"video": "a.mp4", "expressions": "x;y", "labels": "one"}], "row 1: labels has 1 entries for 2"),
        ([{"video": "a.mp4", "expressions": "x;x"}], "row 1: expressions: one is there twice"),
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
def test_errors_name_row_and_column(tmp_path, records, text):
    path = write_manifest(tmp_path / "m.csv", records)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("m.txt", b"x", "a manifest is a .parquet, .csv or .jsonl file"),
        ("m.csv", b"", "has no rows"),
        ("m.csv", b"video,expressions\na,b,c\n", "row 1: it has more than the 2 columns"),
        ("m.csv", b"video,expressions\na,\xff\n", "is not UTF-8"),
        ("m.jsonl", b'{"video": 1}\n{', "row 2: it is no JSON"),
        ("m.jsonl", b"[1]\n", "row 1: it must be an object"),
        ("m.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=text):
        read_manifest(tmp_path / name)


def test_a_key_is_of_what_is_asked():
    assert row().key == row(number=7).key
    assert len({row().key, row("a dog").key, row(video="/v/b.mp4").key}) == 3
    assert ManifestRow.from_json(row().to_json()) == row()


# --- videos


def test_storage_is_read_within_limits(tmp_path):
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
        pytest.raises(VideoError, match="not on the public network"),
        fetch_video("http://127.0.0.1:1/a.mp4", load_settings()),
    ):
        pass


# --- isolated work


def test_no_clip_ends_the_work(tmp_path):
    settings = {"journal": str(tmp_path / "journal"), "slow_s": 0}
    work = IsolatedWorker(SCRIPTED, settings, tries=2, limit_s=5)
    cases = [
        ("fine", "done", None, 1),
        ("bad", "error", "the clip is damaged", 1),
        ("bug", "error", "ZeroDivisionError: a bug", 1),
        ("segfault", "error", "the worker was killed by SIGSEGV on this video", 2),
        ("busy", "error", "the storage is busy", 2),
        ("fine again", "done", None, 1),
    ]
    for words, status, error, tries in cases:
        found = work(row(words))
        assert (found["status"], found.get("error"), found["tries"]) == (status, error, tries), words
    pids = dict(line.split() for line in (tmp_path / "journal").read_text().splitlines())
    assert pids[row("fine").key] == pids[row("bug").key], "one process has the models as long as it lives"
    assert pids[row("fine").key] != pids[row("fine again").key]
    work.stop()


def test_a_clip_that_never_ends_is_given_up(tmp_path):
    work = IsolatedWorker(SCRIPTED, {"journal": str(tmp_path / "journal")}, tries=1, limit_s=0.3)
    began = time.monotonic()
    assert work(row("hangs"))["error"] == "it took longer than 0.3 s"
    assert time.monotonic() - began < 20
    work.stop()


def test_models_that_do_not_load_end_the_run(tmp_path):
    with pytest.raises(StartError, match="no such weights"):
        IsolatedWorker(SCRIPTED, {"journal": str(tmp_path / "j"), "start": "fails"}).start()


# --- results


DONE = {"status": "done", "width": 4, "height": 3, "frames": 1, "duration_s": 1.0, "stages_s": {"track": 0.5}}


def test_one_result_a_row_and_what_was_written_stays(tmp_path):
    first = result_folder.ResultSink(tmp_path, part_rows=2)
    assert [first.add(row(w, i), DONE) for i, w in enumerate("abab", 1)] == [True, True, False, False]
    first.add(row("c", 5), DONE)  # waits: the process is killed before it is written
    (tmp_path / "parts" / ".part-000002.parquet.tmp").write_bytes(b"half")
    second = result_folder.ResultSink(tmp_path, part_rows=2)
    assert second.done == {row("a").key, row("b").key}
    assert [second.add(row(w), DONE) for w in "abc"] == [False, False, True]
    second.flush()
    kept = Counter(item["key"] for item in result_folder.read_parts(tmp_path, ["key"]))
    assert kept == Counter(row(w).key for w in "abc")
    assert [p.name for p in result_folder.part_files(tmp_path)] == ["part-000001.parquet", "part-000002.parquet"]


def test_errors_can_be_forgotten_alone(tmp_path):
    sink = result_folder.ResultSink(tmp_path, part_rows=2)
    for words, status in (("a", "done"), ("b", "error"), ("c", "error"), ("d", "error"), ("e", "nothing")):
        sink.add(row(words), {"status": status, "error": None if status == "done" else "why"})
    sink.flush()
    assert result_folder.remove_errors(tmp_path) == 3
    assert result_folder.read_keys(tmp_path) == {row("a").key, row("e").key}


def test_damaged_parts_and_other_models_are_refused(tmp_path):
    about = result_folder.ResultFolderInfo("m.csv", 3, 0, "refam/one")
    result_folder.write_info(tmp_path, about)
    result_folder.write_info(tmp_path, about)
    with pytest.raises(result_folder.ResultFolderError, match="results of refam/one; now it would be refam/two"):
        result_folder.write_info(tmp_path, result_folder.ResultFolderInfo("m.csv", 3, 0, "refam/two"))
    with (
        result_folder.lock_folder(tmp_path),
        pytest.raises(result_folder.ResultFolderError, match="another"),
        result_folder.lock_folder(tmp_path),
    ):
        pass
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(result_folder.ResultFolderError, match=r"part-000001.parquet is damaged: delete it"):
        result_folder.read_keys(tmp_path)


def test_addresses_are_kept_without_their_signatures(tmp_path):
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
    work = ClipWorker(worker_settings(load_settings(sam2="grabcut", device="cpu")))
    asked = [
        ManifestRow(1, "", str(folder / "a.mp4"), ("the red star",), ("star",)),
        ManifestRow(2, "two", str(folder / "a.mp4"), ("xyzzy",), ("thing",)),
    ]
    sink = result_folder.ResultSink(folder / "out")
    for one in asked:
        sink.add(one, {**work(one), "tries": 1, "seconds": 1.0})
    sink.flush()
    with pytest.raises(ValueError, match="there is no frame 40; the video has 0 to 11"):
        work(ManifestRow(3, "", str(folder / "a.mp4"), (), ("x",), '[{"frame": 40, "points": [[0.5, 0.5]]}]'))
    return folder / "out", masks


def test_a_video_that_breaks_off_is_a_row_up_to_there(tmp_path):
    frames, _ = red_star_and_blue_ring(50, size=(320, 180))
    cut = truncated(tmp_path / "cut.mp4", frames)
    work = ClipWorker(worker_settings(load_settings(sam2="grabcut", device="cpu")))
    found = work(ManifestRow(1, "", str(cut), ("the red star",), ("star",)))
    assert found["status"] == "done"
    assert 5 < found["frames"] < 45
    assert "the video can be decoded up to" in found["objects"][0]["notes"][-1]
    nothing = work(ManifestRow(2, "", str(cut), ("xyzzy",), ("thing",)))
    assert nothing["status"] == "nothing"
    assert "the video can be decoded up to" in nothing["error"]
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(cut.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"empty\.mp4"):
        work(ManifestRow(3, "", str(empty), ("the red star",), ("star",)))


def test_a_clip_becomes_a_row_with_its_masks(results):
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


def test_results_are_exported_and_read_by_another_reader(results):
    from pycocotools.coco import COCO

    out, masks = results
    (folder,) = result_folder.export_results(out, "coco")
    coco = COCO(str(folder / "annotations" / "instances_all.json"))
    assert len(coco.getAnnIds()) == 12
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["star"]
    share = sum(int((coco.annToMask(a) > 0)[masks[0, i]].sum()) for i, a in enumerate(coco.loadAnns(coco.getAnnIds())))
    assert share > 0.8 * masks[0].sum()


def test_no_child_outlives_its_parent(tmp_path):
    import subprocess
    import sys

    code = (
        "import os; from backend.batch.isolated import IsolatedWorker\n"
        f"work = IsolatedWorker({SCRIPTED!r}, {{'journal': {str(tmp_path / 'j')!r}}}); work.start()\n"
        "print(work._child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    child = int(done.stdout)
    until = time.monotonic() + 10
    while time.monotonic() < until and _alive(child):
        time.sleep(0.1)
    assert not _alive(child)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
