"""A run over a benchmark: records that a second start goes on from, masks as servers want them, and the table.

OUT/settings.json; OUT/ROW/results.jsonl, a line for each expression; OUT/ROW/Annotations/VIDEO/EXPRESSION/FRAME.png,
0 or 255, and the same in OUT/ROW/submission.zip, as the server of Refer-YouTube-VOS takes them; OUT/table.md.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np

from refam.evaluation.answers import AnswerScore, JudgedAnswer, estimate
from refam.evaluation.published import published
from refam.evaluation.questions import Question
from video import metrics
from video.formats.base import FormatError, read_json, write_json, write_png, write_text

_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python", "pycocotools")


class EvaluationRun:
    """One row of the table, in its folder."""

    def __init__(self, out: Path, row: str, *, masks: bool) -> None:
        self._folder = out / row.lower().replace(" + ", "-").replace(" ", "-")
        self._results = self._folder / "results.jsonl"
        self._masks = masks
        self.verdicts = {v.key: v for v in self._read()}

    def add(self, question: Question, found: JudgedAnswer) -> None:
        """Writes masks first, then the record: what is recorded is whole."""
        if self._masks:
            for k, name in enumerate(question.frames):
                path = self._folder / "Annotations" / question.video / question.expression / f"{name}.png"
                write_png(path, found.mask(k).astype(np.uint8) * 255)
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found.verdict), ensure_ascii=False) + "\n")
        self.verdicts[question.key] = found.verdict

    def pack(self, questions: Sequence[Question]) -> Path | None:
        """submission.zip of these questions; None where no masks are kept."""
        if not self._masks:
            return None
        path = self._folder / "submission.zip"
        part = path.with_suffix(".part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed
            for question in questions:
                for name in question.frames:
                    inside = f"Annotations/{question.video}/{question.expression}/{name}.png"
                    archive.write(self._folder / inside, inside)
        part.replace(path)
        return path

    def _read(self) -> Iterator[AnswerScore]:
        if not self._results.is_file():
            return
        lines = self._results.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                yield AnswerScore(**json.loads(line))
            except (ValueError, TypeError):
                if number < len(lines):  # the last one may have been cut off
                    raise FormatError(f"{self._results}, line {number} is no record of this program") from None
                whole = "".join(f"{kept}\n" for kept in lines[:-1])
                write_text(self._results, whole)


def record_settings(out: Path, settings: dict[str, Any], *, package: str) -> None:
    """Write OUT/settings.json: the settings of a run and the versions of the packages that it uses.

    Args:
        out: The folder of the run.
        settings: Must equal those that an earlier run recorded there.
        package: The distribution that this module is installed with; its version is recorded first.

    Raises:
        FormatError: If the folder holds results of other settings.
    """
    path = out / "settings.json"
    if path.is_file():
        before = read_json(path).get("settings", {})
        other = [k for k in sorted(before.keys() | settings.keys()) if before.get(k) != settings.get(k)]
        if other:
            name = other[0]
            raise FormatError(
                f"{out} holds results of other settings ({name}: {before.get(name)!r}, now {settings.get(name)!r}); "
                "choose another --out"
            )
    versions = {name: _version(name) for name in (package, *_PACKAGES)}
    write_json(path, {"settings": settings, "versions": versions})


def _version(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None


# --- the table ---------------------------------------------------------------------------------------------------


def table(dataset: str, split: str, rows: Mapping[str, Sequence[AnswerScore]]) -> str:
    """Markdown, in percent with 95 % intervals: each row, with what the paper reports of it below."""
    lines = [
        f"| {dataset}, {split} | expressions | J&F | J | F | point accuracy | oIoU | mIoU | P@0.5 | switches |",
        "|---" * 10 + "|",
    ]
    for row, verdicts in rows.items():
        lines.append(_row(row, verdicts))
        figures, overall = published(dataset, split, row)
        if any(v is not None for v in (*figures, overall)):
            cells = [*("" if v is None else f"{v:.1f}" for v in figures), "" if overall is None else f"{overall:.2f}"]
            name = "RefAM, as published" if row == "as it ships" else f"{row}, as published"
            lines.append(f"| {name} | | " + " | ".join(cells) + " | | | |")
    return "\n".join(lines)


def _row(row: str, verdicts: Sequence[AnswerScore]) -> str:
    judged = [v for v in verdicts if v.j is not None and v.f is not None]
    if not judged:
        return f"| {row} | {len(verdicts)} |" + " not published |" + " |" * 7
    js, fs = [v.j or 0.0 for v in judged], [v.f or 0.0 for v in judged]
    hits = [v.hit for v in judged if v.hit is not None]
    both = [(j + f) / 2 for j, f in zip(js, fs, strict=True)]
    overall = sum(v.inter or 0 for v in judged) / max(1, sum(v.union or 0 for v in judged))
    cells = [_percent(estimate(both)), _percent(estimate(js)), _percent(estimate(fs))]
    cells += [_percent(metrics.share(hits)) if hits else "", f"{100 * overall:.1f}", f"{100 * float(np.mean(js)):.1f}"]
    cells += [f"{100 * metrics.precision_at(js, 0.5):.1f}", str(sum(v.switches or 0 for v in judged))]
    return f"| {row} | {len(judged)} | " + " | ".join(cells) + " |"


def _percent(value: metrics.Estimate | None) -> str:
    if value is None:
        return ""
    return f"{100 * value.value:.1f} ({100 * value.low:.1f} - {100 * value.high:.1f})"
