"""Reading a predict request: which objects to find in a task, and which regions to answer with.

Words are taken from, in this order: the text just typed (interactive mode), the fields that the config's TextAreas and
Headers show, the fields `prompt`, `text` and `expression`, and at last the labels' own names. One expression is one
object, or all that a plural means ("the two dogs"); several are separated by line breaks or semicolons.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from backend.labelstudio.config_xml import Label
from backend.labelstudio.controls.base import UneditedMask
from backend.labelstudio.controls.image_masks import MaskError
from backend.labelstudio.editor_events import FrameSpan
from backend.labelstudio.editor_state import EditorState, read_editor_state
from backend.labelstudio.edits import UserEdit, region_words
from backend.labelstudio.empty_regions import empty_region
from backend.labelstudio.label_config import IN_SIGHT, LabelConfig
from backend.labelstudio.regions import is_preview, labels_in_value, read_mappings, region_id_for, words_region_id
from refam.photos.vocabulary import singular_forms
from refam.pipeline.types import Target
from refam.text.labelled import NoWordsError, find_label, remove_number, split_label
from refam.text.quantity import affirmed_words, read_quantity
from refam.text.typed_text import is_text
from refam.text.words import normalize_words
from video.errors import UserError

log = logging.getLogger(__name__)

FALLBACK_FIELDS = ("prompt", "text", "expression")
MOST_EXPRESSIONS = 50  # of one task: each is looked for in every frame that is read
_MOST_LABELS = 20  # that an error lists
LONGEST_EXPRESSION = 500  # characters; a longer one is a mistake, and would cost accordingly


@dataclass(frozen=True)
class ReplacedRegion:
    """A region that an answer takes away, since other words, or fewer objects, stand in its place.

    Attributes:
        by: The id of the target's first region; without that in the answer, nothing is taken away.
        emptied: The same region with nothing to draw (`empty_region`).
    """

    by: str
    emptied: dict[str, Any]


class RequestError(UserError):
    """The task cannot be worked on; the message says what is missing and where to give it."""


@dataclass(frozen=True)
class PredictRequest:
    """What to find in one task. The job queue stores it as JSON, in which two fields keep the names of their aliases.

    Attributes:
        task: What log and error messages call the task.
        video: The video's address as it stands in the task, "" for a list of pictures.
        fps: Frame rate of the editor's timeline.
        targets: One per expression.
        region_ids: One per target: the region that the answer replaces or makes; of several objects of one target the
            others have it with a suffix (`instance_region_id`).
        edits: The keyframes that a person set, per target; () where there are none at all.
        frames: The addresses of a list of pictures.
        labels: The labels that the task's regions can have, as regions carry them; None: those of the label config.
        unedited_masks: Masks of these objects that the editor shows and nobody edited. Those that the answer does not
            replace are emptied.
        kept_regions: The ids of regions that the answer must not replace: a person's edits are all that they hold.
        replaced_regions: Regions of several objects that the editor shows and nobody edited. Those that the answer does
            not hold are emptied.
        span: The frames that an event of the editor is about; None for any other request.
    """

    task: str
    video: str
    fps: float
    targets: tuple[Target, ...]
    region_ids: tuple[str, ...]
    edits: Annotated[tuple[tuple[UserEdit, ...], ...], Field(alias="fixed")] = ()
    frames: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    unedited_masks: Annotated[tuple[UneditedMask, ...], Field(alias="shown")] = ()
    kept_regions: tuple[str, ...] = ()
    replaced_regions: tuple[ReplacedRegion, ...] = ()
    span: FrameSpan | None = None

    def __post_init__(self) -> None:
        if bool(self.video) == bool(self.frames):
            raise ValueError("there is either a video or a list of frames")
        if len(self.targets) != len(self.region_ids) or len(self.edits) not in (0, len(self.targets)):
            raise ValueError(f"{len(self.targets)} targets, {len(self.region_ids)} ids, {len(self.edits)} edits")


@dataclass(frozen=True)
class _Object:
    """One object of a request.

    edits: the keyframes that a person set. unchanged: whether its region is the finished track of these very words and
    this label. replaced: the ids of all regions in whose place it comes, if they are several.
    """

    target: Target
    region_id: str
    edits: tuple[UserEdit, ...] = ()
    unchanged: bool = False
    replaced: tuple[str, ...] = ()


def read_request(
    task: Mapping[str, Any], config: LabelConfig, *, context: Mapping[str, Any] | None = None
) -> PredictRequest:
    """Read one task of a predict call.

    In an interactive call, objects whose words are the same and which nobody edited are left out, unless that is so of
    all: their regions stay as they are.

    Args:
        task: The task as Label Studio sends it.
        config: The project's label config.
        context: The context of an interactive call, None in a batch.

    Raises:
        RequestError: If the task has no media or no words, if what was typed names a label that the project does not
            have, or a person's mask cannot be read.
        LabelConfigError: If the task's frame rate is no rate.
    """
    name = f"task {task.get('id', '(no id)')}"
    data = task.get("data")
    if not isinstance(data, Mapping):
        raise RequestError(f"{name} has no data")
    video, frames = _read_media(data.get(config.media_field), config, name)
    labels = config.labels_for(data)
    state = read_editor_state(task, context) if context is not None else EditorState()
    objects = _read_objects(task, data, labels, config, context, state)
    if not objects:
        fields = ", ".join(f'"{f}"' for f in (*config.word_fields, *FALLBACK_FIELDS))
        raise RequestError(f"{name} has no words: type some into the text field, or fill one of {fields}")
    targets, region_ids = tuple(o.target for o in objects), tuple(o.region_id for o in objects)
    unedited_masks: tuple[UneditedMask, ...] = ()
    if context is not None:
        unedited_masks = config.control.unedited_masks(state, region_ids)
        try:
            targets = config.control.add_mask_prompts(targets, region_ids, state)
        except MaskError as error:
            raise RequestError(f"{name}: {error}") from error
    return PredictRequest(
        task=name,
        video=video,
        fps=config.fps(data),
        targets=targets,
        region_ids=region_ids,
        edits=tuple(o.edits for o in objects),
        frames=frames,
        labels=tuple(label.result for label in labels),
        unedited_masks=unedited_masks,
        kept_regions=config.kept_regions(state),
        replaced_regions=tuple(_replaced_regions(objects, config, state)),
    )


def _replaced_regions(objects: Sequence[_Object], config: LabelConfig, state: EditorState) -> Iterator[ReplacedRegion]:
    """Yield the regions in whose place the objects come, with those of their times in sight."""
    by = {region_id: one.region_id for one in objects for region_id in one.replaced}
    kept = config.kept_regions(state)
    for control, region in config.shown_regions(state):
        name = str(region["id"]).removesuffix(IN_SIGHT)
        if name in by and str(region["id"]) not in kept:
            emptied = empty_region(region, control.read_words(region) or "")
            yield ReplacedRegion(by[name], dict(emptied))


def read_task_id(task: Mapping[str, Any]) -> int | None:
    """Return a task's number; None for one that Label Studio has not stored."""
    return number if isinstance(number := task.get("id"), int) else None


def _read_media(value: Any, config: LabelConfig, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the address of a video and no frames, or "" and the addresses of the frames."""
    if not config.on_pictures:
        if isinstance(value, str) and value.strip():
            return value.strip(), ()
        raise RequestError(f'{name}: the field "{config.media_field}" must be a video\'s address, got {value!r}')
    expected = f'{name}: the field "{config.media_field}" must be a list of pictures\' addresses'
    if not isinstance(value, list) or not value:
        raise RequestError(f"{expected}, got {'an empty list' if value == [] else type(value).__name__}")
    for number, item in enumerate(value):
        if not isinstance(item, str) or not item.strip():
            raise RequestError(f"{expected}, but number {number} (from 0) is {item!r}")
    return "", tuple(item.strip() for item in value)


# --- words -----------------------------------------------------------------------------------------------------------


def split_expressions(value: Any) -> list[str]:
    """Split words as they stand in a task into expressions, one per object.

    Args:
        value: A string or a list of strings; anything else holds no expression.

    Raises:
        RequestError: If there are too many, or if one has more than 500 characters or is no text.
    """
    parts = value if isinstance(value, list | tuple) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    expressions = [" ".join(piece.split()) for text in texts for piece in re.split(r"[;\r\n]+", text)]
    for expression in expressions:
        if len(expression) > LONGEST_EXPRESSION:
            raise RequestError(f"an expression must have at most {LONGEST_EXPRESSION} characters: {expression[:40]}...")
        if not is_text(expression):
            raise RequestError(f"the words {expression[:60]!r} have bytes that are no text in UTF-8; type them again")
    expressions = [expression for expression in expressions if expression]
    if len(expressions) > MOST_EXPRESSIONS:
        raise RequestError(
            f"a task must have at most {MOST_EXPRESSIONS} expressions, got {len(expressions)}: distribute them over "
            "several tasks of the same video"
        )
    return expressions


def submitted_text(context: Mapping[str, Any] | None, config: LabelConfig) -> tuple[Mapping[str, Any], str] | None:
    """Return the text that was just submitted in the TextArea for words.

    Returns:
        The TextArea's region, and its last text as it was typed; None without a text.
    """
    for region in reversed(read_mappings(context, "result")):
        if region.get("type") != "textarea" or region.get("from_name") != config.text_area.name:
            continue
        value = region.get("value")
        text = value.get("text") if isinstance(value, Mapping) else None
        last = text[-1] if isinstance(text, list) and text else text  # `text` is the whole list of submissions
        if isinstance(last, str) and last.strip():
            return region, last
    return None


def task_expressions(data: Mapping[str, Any], config: LabelConfig) -> list[str]:
    """Return the expressions of a task's own fields: of the first field that has any.

    Raises:
        RequestError: If an expression is too long.
    """
    for field in (*config.word_fields, *FALLBACK_FIELDS):
        if field != config.media_field and (expressions := split_expressions(data.get(field))):
            return expressions
    return []


# --- objects ---------------------------------------------------------------------------------------------------------


def _read_objects(
    task: Mapping[str, Any],
    data: Mapping[str, Any],
    labels: Sequence[Label],
    config: LabelConfig,
    context: Mapping[str, Any] | None,
    state: EditorState,
) -> list[_Object]:
    """Return the objects to find: one per expression, or one per label where the task has no words."""
    submitted = submitted_text(context, config)
    expressions = split_expressions(submitted[1]) if submitted else []
    for expression in expressions:
        _refuse_other_label(expression, labels)
    expressions = expressions or task_expressions(data, config)
    if not submitted:
        for expression in expressions:
            _note_other_label(f"task {task.get('id', '(no id)')}", expression, labels)
    if not expressions:
        return [
            _Object(Target(label=label.result, words=label.value), region_id_for(task, position))
            for position, label in enumerate(labels)
        ]
    regions = config.control.replaceable_regions(state)
    objects = _objects_for(expressions, labels, regions, task, state)
    objects = [one for o in objects for one in _split_edited(o, config.control.edited_instances(o.region_id, state))]
    return [o for o in objects if o.edits or not o.unchanged] or objects


def _objects_for(
    expressions: Sequence[str],
    labels: Sequence[Label],
    regions: list[Mapping[str, Any]],
    task: Mapping[str, Any],
    state: EditorState,
) -> list[_Object]:
    """Return an object per expression. Each takes over a region: by its words, then by its label, then in order.

    A plural takes over all regions with its words. What a person edited of them is an object by itself, and the others
    stay as they are.
    """
    split = [_split_label(expression, labels) for expression in expressions]
    same_words = [_pop_by_words(regions, words) for _, words in split]
    results = {label.result for label in labels}
    objects = []
    for position, (prefix, words) in enumerate(split):
        named = _find_label(prefix, labels) or _label_named_in(words, labels)
        own = same_words[position]
        region = own[0] if own else _pop_by_label(regions, named)
        group = own or _pop_others_of(regions, region)
        current = next(iter(_labels_in(region)), None)
        # A label that the words name wins; then the one that the region has, for a person may have set it.
        unnamed = labels[0].result if labels else remove_number(prefix) or words
        label = named or (current if current in results else None) or unnamed
        target = Target(label=label, words=words)
        if len(group) < 2:
            name = str(region["id"]) if region else region_id_for(task, position)
            name = words_region_id(name) if own else name  # the others of several may have been deleted
            unchanged = bool(own) and label == current and region is not None and not is_preview(region)
            objects.append(_Object(target, name, state.user_keyframes(region) if region else (), unchanged))
            continue
        edited = [(one, edits) for one in group if (edits := state.user_keyframes(one))]
        if own and edited:
            objects += [_Object(target, str(one["id"]), edits) for one, edits in edited]
            continue
        name = words_region_id(str(group[0]["id"]))
        if edited:  # what a person corrected of other words stays, under its id
            name = region_id_for(f"task {task.get('id')} {words}", position)
        replaced = tuple(str(one["id"]) for one in group if not state.user_keyframes(one))
        unchanged = bool(own) and all(label in _labels_in(one)[:1] and not is_preview(one) for one in own)
        objects.append(_Object(target, name, (), unchanged, replaced))
    return objects


def _split_edited(one: _Object, edited_ids: Sequence[str]) -> list[_Object]:
    """Return an object for each of several of which a person edited a mask: the others stay as they are."""
    if not edited_ids or not read_quantity(one.target.words or "").is_plural:
        return [one]
    return [_Object(one.target, region_id) for region_id in edited_ids]


def _split_label(expression: str, labels: Sequence[Label]) -> tuple[str, str]:
    """Split `Car: the red one on the left` into what stands before the colon and the words after it."""
    try:
        return split_label(expression, [name for label in labels for name in (label.value, label.result)])
    except NoWordsError as error:
        raise RequestError(str(error)) from None


def _find_label(prefix: str, labels: Sequence[Label]) -> str | None:
    """Return the label that stands before a colon, as a region must carry it; None if there is none of that name."""
    results = {name: label.result for label in reversed(labels) for name in (label.value, label.result)}
    found = find_label(prefix, results) if prefix else None
    return None if found is None else results[found]


def _refuse_other_label(expression: str, labels: Sequence[Label]) -> None:
    """Raise RequestError for typed words such as `Truck: the red one` where there is no label Truck."""
    prefix, _ = _split_label(expression, labels)
    if prefix and labels and _find_label(prefix, labels) is None:
        known = ", ".join(label.value for label in labels[:_MOST_LABELS]) + (", ..." * (len(labels) > _MOST_LABELS))
        raise RequestError(f"this project has no label {prefix!r}; it has: {known}")


def _note_other_label(task: str, expression: str, labels: Sequence[Label]) -> None:
    """Log that a task's own words, in which any sentence may stand, have something before a colon that is no label."""
    prefix, words = _split_label(expression, labels)
    if prefix and labels and _find_label(prefix, labels) is None:
        log.warning("%s: %r is no label of the project; %r is looked for", task, prefix, words)


def _label_named_in(expression: str, labels: Sequence[Label]) -> str | None:
    """Return the longest label that the expression says in whole words, as a region must carry it.

    What it says is not meant is left out: "the dog, not the cat" is no Cat. A plural says the label of each of its
    objects: "the dogs" are labelled Dog.
    """
    words = normalize_words(affirmed_words(expression)).split()
    texts = [words]
    if read_quantity(expression).is_plural:
        texts += [[*words[:i], form, *words[i + 1 :]] for i, word in enumerate(words) for form in singular_forms(word)]
    said = [f" {' '.join(text)} " for text in texts]
    values = [(label, normalize_words(label.value)) for label in labels]
    named = [label for label, value in values if value and any(f" {value} " in text for text in said)]
    return max(named, key=lambda label: len(label.value)).result if named else None


def _pop_by_words(regions: list[Mapping[str, Any]], words: str) -> list[Mapping[str, Any]]:
    """Take the region that was found with these words out of the list, all of them if they mean several objects.

    The one of the first object comes first.
    """
    same = [region for region in regions if region_words(region) == words]
    own = sorted(same, key=lambda r: len(str(r["id"]))) if read_quantity(words).is_plural else same[:1]
    for region in own:
        regions.remove(region)
    return own


def _pop_others_of(regions: list[Mapping[str, Any]], region: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Take the other objects of a region's words out of the list; return them with it, that of the first object first.

    They are replaced with it: whoever types "the black dogs" after "the dogs" wants no dog twice.
    """
    if region is None:
        return []
    others = _pop_by_words(regions, words) if read_quantity(words := region_words(region) or "").is_plural else []
    return sorted([region, *others], key=lambda r: len(str(r["id"])))


def _pop_by_label(regions: list[Mapping[str, Any]], label: str | None) -> Mapping[str, Any] | None:
    """Take the first region with this label out of the list, else the first of all; None if the list is empty."""
    same_label = (r for r in regions if label in _labels_in(r))
    region = next(same_label, regions[0] if regions else None)
    if region is not None:
        regions.remove(region)
    return region


def _labels_in(region: Mapping[str, Any] | None) -> list[str]:
    value = region.get("value") if isinstance(region, Mapping) else None
    if region is None or not isinstance(value, Mapping):
        return []
    return labels_in_value(value, str(region.get("type")))
