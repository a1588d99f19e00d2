"""What the caller of an interactive call has in the editor: which draft, annotation or prediction of a task counts.

Label Studio sends a task with the caller's own drafts, but with the annotations of all people, skipped ones too, and it
says neither who calls nor which annotation is open (1.23.2). What is open is recognised by the region that was just
submitted: the editor gives it an id of its own, under which it stands in the draft or annotation that it belongs to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from backend.labelstudio.edits import UserEdit, read_user_keyframes
from backend.labelstudio.regions import REGION_PREFIX, read_mappings, sources_by_age


@dataclass(frozen=True)
class EditorState:
    """The regions that the caller of an interactive call sees.

    Attributes:
        regions: The regions, as they stand in a draft, an annotation or a prediction.
        saved: Whether they stand in a draft or an annotation, so that a person may have drawn or changed them.
        predicted: The regions of all predictions of the task, whichever program made them.
    """

    regions: tuple[Mapping[str, Any], ...] = ()
    saved: bool = False
    predicted: tuple[Mapping[str, Any], ...] = ()

    def user_keyframes(self, region: Mapping[str, Any]) -> tuple[UserEdit, ...]:
        """Return the keyframes of one of the regions that a person set: drew, moved or switched."""
        return read_user_keyframes(region, self.predicted) if self.saved else ()

    def is_predicted(self, region: Mapping[str, Any]) -> bool:
        """Return whether a prediction has the same shape on the same picture: accepting it is no edit."""
        return any(_shape(region) == _shape(other) for other in self.predicted)


def read_editor_state(task: Mapping[str, Any], context: Mapping[str, Any]) -> EditorState:
    """Return what the caller sees.

    That is, in this order: the draft that holds the region just submitted; the annotation that holds it; the caller's
    newest draft, even if it is empty, for then everything was deleted; the newest prediction. Skipped annotations and
    those of other people are never looked at.

    Args:
        task: The task as Label Studio sends it.
        context: The context of the interactive call.
    """
    own = drafts_of_caller(sources_by_age(task, "drafts"), task, context)
    submitted = _submitted_ids(task, context)
    annotations = [a for a in sources_by_age(task, "annotations") if not a.get("was_cancelled")]
    open_now = [source for source in (*own, *annotations) if _holds(source, submitted)]
    predictions = sources_by_age(task, "predictions")
    predicted = tuple(region for prediction in predictions for region in read_mappings(prediction, "result"))
    for source in (*open_now, *own):
        return EditorState(tuple(read_mappings(source, "result")), saved=True, predicted=predicted)
    for prediction in predictions:
        return EditorState(tuple(read_mappings(prediction, "result")), predicted=predicted)
    return EditorState()


def drafts_of_caller(
    drafts: Collection[Mapping[str, Any]], task: Mapping[str, Any], context: Mapping[str, Any] | None
) -> list[Mapping[str, Any]]:
    """Return those of a task's drafts that the caller of an interactive call saved.

    They are of the user whose drafts came along with the task, or hold the region that was just submitted.

    Args:
        drafts: Drafts of the task, possibly of several users.
        task: The task as Label Studio sent it.
        context: The context of the interactive call.
    """
    users = {str(draft.get("user")) for draft in read_mappings(task, "drafts")}
    submitted = _submitted_ids(task, context)
    return [d for d in drafts if users == {str(d.get("user"))} or _holds(d, submitted)]


def _submitted_ids(task: Mapping[str, Any], context: Mapping[str, Any] | None) -> set[str]:
    """Return the ids of the submitted regions that the editor made up.

    Those of a prediction and of this backend's answers stand in the annotations of several people.
    """
    predicted = {name for prediction in read_mappings(task, "predictions") for name in _region_ids(prediction)}
    return {name for name in _region_ids(context) - predicted if name and not name.startswith(REGION_PREFIX)}


def _holds(source: Mapping[str, Any], ids: Collection[str]) -> bool:
    return not _region_ids(source).isdisjoint(ids)


def _shape(region: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a region on a picture draws, without its labels."""
    value = region.get("value")
    drawn = {k: v for k, v in value.items() if not k.endswith("labels")} if isinstance(value, Mapping) else None
    return region.get("type"), region.get("item_index"), drawn


def _region_ids(source: Mapping[str, Any] | None) -> set[str]:
    return {name for region in read_mappings(source, "result") if isinstance(name := region.get("id"), str)}
