"""`<VideoVector>` and `<VideoVectorLabels>`: outlines on video, as keyframes of vertices.

Written after Label Studio's documentation of the tag and the source of its editor: between two keyframes each vertex
moves linearly to the one of the same id; one that the next keyframe does not have stays where it is; frames and
`enabled` are those of boxes. Label Studio 1.23's own package has no such tag (Enterprise and Starter Cloud have it), so
this was not seen in an editor.

An outline is one closed line: it goes round the object's largest part, and over its holes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.config_xml import LabelConfigError, attribute, integer, is_true
from backend.labelstudio.controls.base import VideoControl, tags_of
from backend.labelstudio.edits import (
    UserEdit,
    UserOutline,
    apply_visibility_edits,
    is_vertex_list,
    keyframe_checksum,
)
from backend.labelstudio.regions import (
    VectorKeyframe,
    Vertex,
    keyframe_enabled,
    keyframe_frame,
    label_in_value,
    round_score,
)
from backend.labelstudio.timeline import (
    TimedClip,
    clip_frame_of_editor,
    editor_frame_count,
    thin_still_stretches,
    track_on_timeline,
)
from refam.pipeline.types import TrackResult
from video.contours import (
    Points,
    count_vertices,
    extract_contour,
    fit_outline,
    move_outline,
    polygon_to_mask,
    select_outline_keyframes,
)
from video.formats.base import ObjectTrack, get_field, track_from_masks
from video.keyframes import find_runs
from video.masks import decode, encode
from video.types import MaskTrack, Rle

if TYPE_CHECKING:
    from video.io.reader import Clip

# Boxes keep .9. An outline of a walking animal would have a keyframe on every other frame then.
OUTLINE_IOU = 0.85
_MIN_POINTS, _MAX_POINTS = 3, 48  # vertices; the most that a person can still handle
_SAMPLED_CONTOURS = 8  # contours that are looked at to find how many vertices the object needs
_WHOLE_OBJECT = 0.95  # share of the mask below which the largest part is not all of the object


@dataclass(frozen=True)
class VideoVectorControl(VideoControl):
    """A `<VideoVector closable="true">` or `<VideoVectorLabels closable="true">` tag.

    Attributes:
        min_points: Fewest vertices that the tag allows, at least 3.
        max_points: Most vertices that it allows, 48 where it does not say.
    """

    TAGS: ClassVar[tuple[str, ...]] = ("videovector", "videovectorlabels")

    min_points: int = _MIN_POINTS
    max_points: int = _MAX_POINTS

    @classmethod
    def accepts(cls, tag: Element) -> bool:
        """Return whether the tag takes closed outlines; open lines and skeletons are none."""
        return is_true(tag, "closable") and not is_true(tag, "skeleton")

    @classmethod
    def options(cls, tag: Element, tags: Sequence[Element], media: str) -> dict[str, Any]:
        """Read how many vertices the tag allows.

        Raises:
            LabelConfigError: If it allows fewer than it needs.
        """
        least = max(_MIN_POINTS, integer(tag, "minPoints", _MIN_POINTS))
        most = integer(tag, "maxPoints", _MAX_POINTS)
        if most < least:
            name = attribute(tag, "name")
            raise LabelConfigError(
                f'<{tag.tag} name="{name}"> allows {most} points at most and needs {least} for an outline'
            )
        return {"min_points": least, "max_points": most}

    @classmethod
    def explain_unusable(cls, tags: Sequence[Element], media: str) -> str | None:
        """Return which attributes such a tag needs."""
        if not tags_of(tags, cls):
            return None
        return (
            "<VideoVector> takes outlines only where it may be closed and is no skeleton: "
            'give it name, toName and closable="true", and no skeleton="true"'
        )

    @property
    def description(self) -> str:
        """A clause that says which objects go to which tag."""
        tag = "VideoVectorLabels" if self.own_labels else "VideoVector"
        return f'outlines go to <{tag} name="{self.name}"> on <Video name="{self.media}">'

    def keyframes(
        self,
        result: TrackResult,
        clip: TimedClip,
        *,
        fps: float,
        edits: Sequence[UserEdit],
        keyframe_iou: float,
    ) -> tuple[list[VectorKeyframe], list[str]]:
        """Return an object's outline as keyframes.

        Args:
            result: The tracked object.
            clip: The clip's presentation times and duration.
            fps: Frame rate of the editor's timeline.
            edits: What people set by hand; outlines among them are kept, all else is ignored.
            keyframe_iou: Not used: it applies to boxes. Outlines keep the IoU of `vector_sequence`.

        Returns:
            Keyframes in order of their frames, [] if the object is never visible; and notes for the annotator, such as
            that the object is in several parts.
        """
        return vector_sequence(
            result.track,
            clip,
            fps=fps,
            edits=[edit for edit in edits if isinstance(edit, UserOutline)],
            words=result.target.words,
            min_points=self.min_points,
            max_points=self.max_points,
        )

    @classmethod
    def empty_value(cls, region: Mapping[str, Any]) -> dict[str, Any]:
        """Return one keyframe without vertices: the editor recognises an outline by its first keyframe's vertices."""
        return {"sequence": [{"frame": 1, "enabled": False, "closed": True, "vertices": []}]}

    def owns(self, region: Mapping[str, Any]) -> bool:
        """Return whether a region is an outline on this tag's video.

        One that was drawn with a separate `<Labels>` may carry that tag's name and the other type.
        """
        return region.get("type") in self.TAGS and region.get("to_name") == self.media

    @classmethod
    def read_object(cls, value: Mapping[str, Any], clip: Clip, *, fps: float, where: str) -> ObjectTrack:
        """Return an object with the filled outlines as masks."""
        masks = masks_on_clip(get_field(value, "sequence", list, where), clip, fps=fps)
        return track_from_masks(label_in_value(value, "videovectorlabels"), masks)


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows first, first + 1, ... whose outlines (n, k, 2) in pixels have the same vertices."""

    first: int
    ids: tuple[str, ...]
    outlines: NDArray[np.float64]


def vector_sequence(
    track: MaskTrack,
    clip: TimedClip,
    *,
    fps: float,
    edits: Sequence[UserOutline] = (),
    words: str | None = None,
    tolerance_iou: float = OUTLINE_IOU,
    min_points: int = _MIN_POINTS,
    max_points: int = _MAX_POINTS,
) -> tuple[list[VectorKeyframe], list[str]]:
    """Return the fewest keyframes whose interpolation keeps the outline that is followed through the video.

    Args:
        track: The tracked object.
        clip: The clip's presentation times and duration.
        fps: Frame rate of the editor's timeline.
        edits: Keyframes that a person set. They come back to the last digit, and their vertices are those of the frames
            up to the next one (of all frames before it, for the first).
        words: Words that the object was found with; each keyframe carries them.
        tolerance_iou: IoU with the followed outline that the interpolated outline must keep on every frame.
        min_points: Fewest vertices.
        max_points: Most vertices.

    Returns:
        Keyframes in order of their frames ([] if the object is never visible), and notes for the annotator.
    """
    rows, visible = track_on_timeline(track, clip, fps)
    edited = {edit.frame - 1: edit for edit in edits if edit.frame <= len(rows)}
    contours = _Contours(track, rows)
    visible = apply_visibility_edits(visible & contours.present, edited.values())
    parts = int(np.count_nonzero(contours.in_parts & visible))
    positions = thin_still_stretches(rows, visible, edited)  # from here on a row is one of these editor frames
    rows, visible, contours = rows[positions], visible[positions], contours.select(positions)
    edited = {int(np.searchsorted(positions, at)): edit for at, edit in edited.items()}
    edited = {row: edit for row, edit in edited.items() if visible[row]}
    drawn = {
        row: edit.points * track.size
        for row, edit in edited.items()
        if len(edit.vertices) >= 3 and edit.mask(track.size).any()
    }
    has_outline = visible & contours.present
    has_outline[list(drawn)] = True
    if not visible.any():
        return [], []
    if drawn:
        ids = edited[min(drawn)].ids
    else:
        ids = _vertex_ids(contours, np.flatnonzero(has_outline), min_points, max_points)
    outlines: dict[int, list[Vertex]] = {}
    for first, last in find_runs(has_outline):
        for piece in _pieces(first, last, contours, {r: (edited[r].ids, p) for r, p in drawn.items()}, ids):
            must = [row - piece.first for row in drawn if 0 <= row - piece.first < len(piece.outlines)]
            at = positions[piece.first : piece.first + len(piece.outlines)]
            for i in select_outline_keyframes(piece.outlines, at, tolerance_iou=tolerance_iou, must=must):
                outlines[piece.first + i] = _vertices(piece.outlines[i] / track.size, piece.ids)
    for row, edit in edited.items():
        outlines[row] = [cast(Vertex, dict(vertex)) for vertex in edit.vertices]
    last_of_span = {last for _, last in find_runs(visible)}
    sequence: list[VectorKeyframe] = []
    for row in sorted(outlines):
        keyframe: VectorKeyframe = {
            "frame": int(positions[row]) + 1,
            "time": round(int(positions[row]) / fps, 6),
            "closed": edited[row].closed if row in edited else True,
            "enabled": row not in last_of_span,
            "vertices": outlines[row],
            "score": round_score(track.scores[rows[row]]) if rows[row] >= 0 else 0.0,
        }
        if words:
            keyframe["words"] = words
        if row not in edited:
            keyframe["check"] = keyframe_checksum(keyframe)
        sequence.append(keyframe)
    notes = [f"on {parts} frames the object is in several parts; the outline goes round the largest"] if parts else []
    return sequence, notes


class _Contours:
    """A track's contours by editor frame. Frames that show the same clip frame share one contour.

    Args:
        track: The track.
        rows: (n,) the row of the track that each editor frame shows, -1 without one.

    Attributes:
        present: (n,) bool, whether there is a contour.
        in_parts: (n,) bool, whether there is one that leaves parts of the object out.
    """

    def __init__(self, track: MaskTrack, rows: NDArray[np.int64]) -> None:
        self._rows = rows
        self._of = {
            int(r): extract_contour(decode(track.rles[r])) for r in np.unique(rows[rows >= 0]) if track.visible[r]
        }
        present, in_parts = np.zeros((2, len(track.rles) + 1), np.bool_)  # the last entry is that of row -1
        for r, (contour, share) in self._of.items():
            present[r] = len(contour) > 0
            in_parts[r] = present[r] and share < _WHOLE_OBJECT
        self.present, self.in_parts = present[rows], in_parts[rows]

    def select(self, positions: NDArray[np.int64]) -> _Contours:
        """Return the contours of some of the editor frames."""
        selected = copy(self)
        selected._rows = self._rows[positions]
        selected.present, selected.in_parts = self.present[positions], self.in_parts[positions]
        return selected

    def at(self, row: int) -> Points:
        """Return the contour, (m, 2) xy in pixels, on an editor frame that has one."""
        return self._of[int(self._rows[row])][0]


def _vertex_ids(contours: _Contours, rows: NDArray[np.int64], least: int, most: int) -> tuple[str, ...]:
    """Return ids for as many vertices as the object needs."""
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLED_CONTOURS).astype(int))]
    count = count_vertices([contours.at(int(row)) for row in sample], least=least, most=most)
    return tuple(f"p{i}" for i in range(count))


def _pieces(
    first: int,
    last: int,
    contours: _Contours,
    drawn: dict[int, tuple[tuple[str, ...], Points]],
    ids: tuple[str, ...],
) -> Iterator[_Piece]:
    """Split a span of frames into pieces of the same vertices. drawn: a person's outlines, ids and (k, 2) in pixels."""
    within = sorted(row for row in drawn if first <= row <= last)
    if not within:
        largest = max(range(first, last + 1), key=lambda row: float(np.ptp(contours.at(row), axis=0).prod()))
        start = fit_outline(contours.at(largest), len(ids))
        yield _Piece(first, ids, _follow_both_ways(start, largest, first, last, contours))
        return
    begin, piece_ids = first, drawn[within[0]][0]
    outlines: list[NDArray[np.float64]] = []
    for k, row in enumerate(within):
        own, points = drawn[row]
        if own != piece_ids:  # other vertices from here on
            yield _Piece(begin, piece_ids, np.concatenate(outlines))
            begin, outlines, piece_ids = row, [], own
        same_before = k > 0 and drawn[within[k - 1]][0] == own
        same_after = k + 1 < len(within) and drawn[within[k + 1]][0] == own
        # Frames between two drawings of the same vertices go with the nearer one.
        a = first if k == 0 else (within[k - 1] + row) // 2 + 1 if same_before else row
        b = last if k + 1 == len(within) else (row + within[k + 1]) // 2 if same_after else within[k + 1] - 1
        outlines.append(_follow_both_ways(points, row, a, b, contours))
    yield _Piece(begin, piece_ids, np.concatenate(outlines))


def _follow_both_ways(start: Points, at: int, first: int, last: int, contours: _Contours) -> NDArray[np.float64]:
    """Return (last - first + 1, k, 2): the outline that is `start` on frame `at`, followed to both ends."""
    outlines = {at: start}
    for row, step in [(r, -1) for r in range(at + 1, last + 1)] + [(r, 1) for r in range(at - 1, first - 1, -1)]:
        before = outlines[row + step]
        same = row + step != at and contours.at(row) is contours.at(row + step)
        outlines[row] = before if same else move_outline(before, contours.at(row))
    return np.stack([outlines[row] for row in range(first, last + 1)])


def _vertices(points: Points, ids: Sequence[str]) -> list[Vertex]:
    """Return the vertices of an outline. points: (k, 2) in fractions of the frame."""
    before = [None, *ids[:-1]]
    return [
        {"id": i, "x": round(float(x) * 100, 4), "y": round(float(y) * 100, 4), "prevPointId": b, "isBezier": False}
        for i, b, (x, y) in zip(ids, before, points, strict=True)
    ]


# --- reading ---------------------------------------------------------------------------------------------------------


class VectorKeyframes:
    """The outline that the editor draws from a region's keyframes, on any place of its timeline.

    Each vertex moves linearly to the one of the same id on the next keyframe, and stays where that has none. Nothing is
    drawn before the first keyframe, nor after one that is not enabled, up to the next.

    Args:
        sequence: Keyframes of one region. Those that cannot be read are left out.
    """

    def __init__(self, sequence: Sequence[Any]) -> None:
        items = [item for item in sequence if isinstance(item, Mapping) and keyframe_frame(item) is not None]
        items = [item for item in items if is_vertex_list(item.get("vertices"))]
        self._keyframes = sorted(items, key=lambda item: int(item["frame"]))
        self._frames = np.array([item["frame"] for item in self._keyframes], np.int64)

    @property
    def frames(self) -> list[int]:
        """The editor frames, 1-based, that keyframes are on."""
        return self._frames.tolist()

    def is_visible(self, frame: float) -> bool:
        """Return whether an outline is drawn on an editor frame (1-based); between two frames as on the earlier one."""
        before = int(np.searchsorted(self._frames, int(frame), side="right")) - 1
        if before < 0:
            return False
        return keyframe_enabled(self._keyframes[before]) or int(self._frames[before]) == int(frame)

    def points(self, frame: float) -> NDArray[np.float64]:
        """Return the outline, visible or not, on an editor frame (1-based) or between two.

        Returns:
            (n, 2) xy in fractions of the frame; n is 0 before the first keyframe.
        """
        before = int(np.searchsorted(self._frames, frame, side="right")) - 1
        if before < 0:
            return np.empty((0, 2))
        here = _points_by_id(self._keyframes[before])
        if before + 1 < len(self._keyframes):
            there = _points_by_id(self._keyframes[before + 1])
            share = (frame - self._frames[before]) / (self._frames[before + 1] - self._frames[before])
            here = {i: p + share * (there[i] - p) if i in there else p for i, p in here.items()}
        return np.array(list(here.values()), np.float64).reshape(-1, 2) / 100


def masks_on_clip(sequence: Sequence[Any], clip: Clip, *, fps: float) -> dict[int, Rle]:
    """Return the filled outlines by the clip's own frames.

    Each clip frame takes the first editor frame that shows it; one that the editor skips is interpolated in time.

    Args:
        sequence: Keyframes of an outline.
        clip: The video.
        fps: Frame rate of the editor's timeline.

    Returns:
        Masks by 0-based clip frame; frames without a pixel are left out.
    """
    outlines, n = VectorKeyframes(sequence), editor_frame_count(clip.duration_s, fps)
    frames, first = np.unique(clip_frame_of_editor(clip.times, n, fps), return_index=True)
    places = np.interp(clip.times, clip.times[frames], first + 1.0)
    masks = {}
    for frame, place in enumerate(places.tolist()):
        neighbours = {int(np.floor(place)), int(np.ceil(place))}
        if all(outlines.is_visible(row) for row in neighbours):
            mask = polygon_to_mask(outlines.points(place) * clip.size, clip.size)
            if mask.any():
                masks[frame] = encode(mask)
    return masks


def _points_by_id(item: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    return {str(v.get("id", i)): np.array([v["x"], v["y"]], np.float64) for i, v in enumerate(item["vertices"])}
