"""What the caller of an interactive call has in the editor: which draft, annotation or prediction of a task counts.

Label Studio sends a task with the caller's own drafts, but with the annotations of all people, skipped ones too, and it
says neither who calls nor which annotation is open (1.23.2). What is open is recognised by the region that was just
submitted: the editor gives it an id of its own, under which it stands in the draft or annotation that it belongs to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from backend.labelstudio.regions import REGION_PREFIX, read_mappings, sources_by_age


@dataclass(frozen=True)
class EditorState:
    """The regions that the caller of an interactive call sees.

    Attributes:
        regions: The regions, as they stand in a draft, an annotation or a prediction.
        saved: Whether they stand in a draft or an annotation, so that a person may have drawn or changed them.
    """

    regions: tuple[Mapping[str, Any], ...] = ()
    saved: bool = False


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
    for source in (*open_now, *own):
        return EditorState(tuple(read_mappings(source, "result")), saved=True)
    for prediction in sources_by_age(task, "predictions"):
        return EditorState(tuple(read_mappings(prediction, "result")))
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


def _region_ids(source: Mapping[str, Any] | None) -> set[str]:
    return {name for region in read_mappings(source, "result") if isinstance(name := region.get("id"), str)}
