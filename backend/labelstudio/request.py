"""A task, its label config and what the annotator just typed -> what to find, and which regions to answer
with.

Words are taken from, in this order: the text just typed (interactive mode), the fields that the config's
TextAreas and Headers show, the fields `prompt`, `text` and `expression`, and at last the labels' own names.
One expression is one object; several are separated by line breaks or semicolons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.labelstudio.edits import UserEdit, read_user_keyframes, region_words
from backend.labelstudio.empty_regions import ShownMask, shown_masks
from backend.labelstudio.label_config import OUTLINE_KINDS, Label, LabelConfig
from backend.labelstudio.mask_edits import MaskError, shown_in, with_drawn_masks
from backend.labelstudio.regions import region_id_for
from refam.pipeline.pipeline import Target
from video.errors import UserError

_TOLD = re.compile(r"\s*\((?:not found|not finished): [^\n]*\)\s*$")
FALLBACK_FIELDS = ("prompt", "text", "expression")
LONGEST_EXPRESSION = 500  # characters; a longer one is a mistake, and would cost accordingly


class RequestError(UserError):
    """The task cannot be worked on; the message says what is missing and where to give it."""


@dataclass(frozen=True)
class PredictRequest:
    """What to do for one task.

    video: address as it stands in the task. fps: of the editor's grid. targets: one per object; region_ids: as many,
    the region that each answer shall replace or make; fixed: as many, the keyframes that a person has set.
    frames: the addresses of a list of pictures; `video` is empty then. shown: masks of these objects that the editor
    shows now and nobody touched: those that the answer has none for are emptied.
    """

    task: str
    video: str
    fps: float
    targets: tuple[Target, ...]
    region_ids: tuple[str, ...]
    fixed: tuple[tuple[UserEdit, ...], ...] = ()
    frames: tuple[str, ...] = ()
    shown: tuple[ShownMask, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.video) == bool(self.frames):
            raise ValueError("there is either a video or a list of frames")
        if len(self.targets) != len(self.region_ids) or len(self.fixed) not in (0, len(self.targets)):
            raise ValueError(f"{len(self.targets)} targets, {len(self.region_ids)} ids, {len(self.fixed)} fixed")


@dataclass(frozen=True)
class _Object:
    """One object of a request: what to look for, the region it becomes, and what a person fixed of it."""

    target: Target
    region_id: str
    fixed: tuple[UserEdit, ...]
    known: bool  # whether its region was found with these very words


def read_request(
    task: Mapping[str, Any], config: LabelConfig, *, context: Mapping[str, Any] | None = None
) -> PredictRequest:
    """Read one task of a /predict call. context: of an interactive call, None in a batch.

    In an interactive call, regions whose words are the same and which nobody touched are left out, unless that is so
    of all: they stay as they are. Raises RequestError, or LabelConfigError where the task's frame rate is no rate.
    """
    name = f"task {task.get('id', '(no id)')}"
    data = task.get("data")
    if not isinstance(data, Mapping):
        raise RequestError(f"{name} has no data")
    video, frames = _media(data.get(config.video_field), config, name)
    labels = config.labels_for(data)
    expressions = _typed(context, config) or task_expressions(data, config)
    old = list(existing_regions(task, config)) if context is not None else []
    if expressions:
        objects = _objects_for(expressions, labels, old, task)
        changed = [o for o in objects if o.fixed or not o.known]
        objects = changed or objects
    else:
        objects = [
            _Object(Target(label=label.result, words=label.value), region_id_for(task, position), (), False)
            for position, label in enumerate(labels)
        ]
    if not objects:
        fields = ", ".join(f'"{f}"' for f in (*config.word_fields, *FALLBACK_FIELDS))
        raise RequestError(f"{name} has no words: type some into the text field, or fill one of {fields}")
    targets, region_ids = tuple(o.target for o in objects), tuple(o.region_id for o in objects)
    shown: tuple[ShownMask, ...] = ()
    if config.masks is not None and context is not None:
        shown = shown_masks(shown_in(task, config.masks), region_ids, config.masks)
        try:
            targets = with_drawn_masks(targets, region_ids, task, config.masks)
        except MaskError as error:
            raise RequestError(f"{name}: {error}") from error
    return PredictRequest(
        name,
        video,
        config.fps(data),
        targets,
        region_ids,
        tuple(o.fixed for o in objects),
        frames,
        shown,
    )


def _media(value: Any, config: LabelConfig, name: str) -> tuple[str, tuple[str, ...]]:
    """The address of a video and no frames, or no video and the frames' addresses."""
    if config.masks is None:
        if isinstance(value, str) and value.strip():
            return value.strip(), ()
        raise RequestError(f'{name}: the field "{config.video_field}" must be a video\'s address, got {value!r}')
    wanted = f'{name}: the field "{config.video_field}" must be a list of pictures\' addresses'
    if not isinstance(value, list) or not value:
        raise RequestError(f"{wanted}, got {'an empty list' if value == [] else type(value).__name__}")
    for number, item in enumerate(value):
        if not isinstance(item, str) or not item.strip():
            raise RequestError(f"{wanted}, but number {number} (from 0) is {item!r}")
    return "", tuple(item.strip() for item in value)


def split_expressions(value: Any) -> list[str]:
    """Words as they stand in a task (a string, or a list of them) -> expressions, one per object."""
    parts = value if isinstance(value, list | tuple) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    found = [" ".join(piece.split()) for text in texts for piece in re.split(r"[;\r\n]+", text)]
    for expression in found:
        if len(expression) > LONGEST_EXPRESSION:
            raise RequestError(f"an expression must have at most {LONGEST_EXPRESSION} characters: {expression[:40]}...")
    return [expression for expression in found if expression]


def submitted_text(context: Mapping[str, Any] | None, config: LabelConfig) -> tuple[Mapping[str, Any], str] | None:
    """The TextArea's region that was just submitted, and its last text without what we had added to it."""
    for region in reversed(_list(context, "result")):
        if region.get("type") != "textarea" or region.get("from_name") not in config.text_areas:
            continue
        text = _mapping(region, "value").get("text")
        last = text[-1] if isinstance(text, list) and text else text  # `text` is the whole list of submissions
        if isinstance(last, str) and (said := _TOLD.sub("", last)).strip():
            return region, said
    return None


def append_reason(words: str, why: str, *, finished: bool) -> str:
    """The words with what became of them, as the annotator sees it in the text field; `submitted_text` takes it off."""
    return f"{words.strip()} ({'not found' if finished else 'not finished'}: {' '.join(why.split())})"


def _typed(context: Mapping[str, Any] | None, config: LabelConfig) -> list[str]:
    """What was just submitted in a TextArea."""
    found = submitted_text(context, config)
    return split_expressions(found[1]) if found else []


def task_expressions(data: Mapping[str, Any], config: LabelConfig) -> list[str]:
    """What a task's own fields ask for: of the first field that says something. Raises RequestError where too long."""
    for field in (*config.word_fields, *FALLBACK_FIELDS):
        if field != config.video_field and (expressions := split_expressions(data.get(field))):
            return expressions
    return []


def _objects_for(
    expressions: Sequence[str], labels: Sequence[Label], old: list[Mapping[str, Any]], task: Mapping[str, Any]
) -> list[_Object]:
    """An object per expression. Regions that are there are taken up: by their words, then by label, then in order."""
    asked = [_label_before_colon(expression, labels) for expression in expressions]
    same = {position: region for position, (_, words) in enumerate(asked) if (region := _take_by_words(old, words))}
    objects = []
    results = {label.result for label in labels}
    for position, (given, words) in enumerate(asked):
        named = given or _label_named_in(words, labels)
        region = same.get(position) or _take(old, named)
        kept = next(iter(_labels_in(region)), None)
        # A label that the words name wins; then the one that the region has, for a person may have set it.
        label = named or (kept if kept in results else None) or (labels[0].result if labels else words)
        objects.append(
            _Object(
                Target(label=label, words=words),
                str(region["id"]) if region else region_id_for(task, position),
                read_user_keyframes(region) if region else (),
                region is not None and region_words(region) == words and label == kept,
            )
        )
    return objects


def _label_before_colon(expression: str, labels: Sequence[Label]) -> tuple[str | None, str]:
    """`Car: the red one on the left` -> the label Car and the words after it; no label where none is called so."""
    before, colon, after = expression.partition(":")
    if colon and after.strip():
        for label in labels:
            if normalize_words(before) in (normalize_words(label.value), normalize_words(label.result)):
                return label.result, after.strip()
    return None, expression


def _take_by_words(old: list[Mapping[str, Any]], words: str) -> Mapping[str, Any] | None:
    region = next((r for r in old if region_words(r) == words), None)
    if region is not None:
        old.remove(region)
    return region


def _label_named_in(expression: str, labels: Sequence[Label]) -> str | None:
    """The longest label that the expression says in whole words, as a region must carry it."""
    said = f" {normalize_words(expression)} "
    fitting = [
        label for label in labels if normalize_words(label.value) and f" {normalize_words(label.value)} " in said
    ]
    return max(fitting, key=lambda label: len(label.value)).result if fitting else None


def normalize_words(text: str) -> str:
    """Words without punctuation and case, to compare them."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _take(old: list[Mapping[str, Any]], label: str | None) -> Mapping[str, Any] | None:
    """Takes the first region with this label out of `old`, else simply the first; None when there is none."""
    same = (r for r in old if label in _labels_in(r))
    region = next(same, old[0] if old else None)
    if region is not None:
        old.remove(region)
    return region


def existing_regions(task: Mapping[str, Any], config: LabelConfig) -> Iterator[Mapping[str, Any]]:
    """The boxes or outlines on video that the annotator sees: of the newest draft, else annotation, else prediction."""
    for kind in ("drafts", "annotations", "predictions"):
        for source in sorted(_list(task, kind), key=_age, reverse=True):
            regions = [r for r in _list(source, "result") if _on_video(r, config) and r.get("id")]
            if regions:
                yield from regions
                return


def _on_video(region: Mapping[str, Any], config: LabelConfig) -> bool:
    if config.outline:  # drawn with a separate <Labels>, it may bear that tag's name and the other type
        return region.get("type") in OUTLINE_KINDS and region.get("to_name") == config.video
    return region.get("type") == "videorectangle" and region.get("from_name") == config.box


def _age(source: Mapping[str, Any]) -> tuple[str, int]:
    identity = source.get("id")
    when = source.get("updated_at") or source.get("created_at") or ""
    return str(when), identity if isinstance(identity, int) else 0


def _list(source: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    value = source.get(key) if isinstance(source, Mapping) else None
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _mapping(source: Mapping[str, Any] | None, key: str) -> Mapping[str, Any]:
    value = source.get(key) if isinstance(source, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _labels_in(region: Mapping[str, Any] | None) -> list[str]:
    value = _mapping(region, "value")
    return _list_of_text(value.get("labels")) or _list_of_text(value.get("videovectorlabels"))


def _list_of_text(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
