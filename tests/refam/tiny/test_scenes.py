"""Scenes, their language, and the held-out scenes for evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refam.tiny import language, scenes
from refam.tiny.heldout import CHOICE_SEED, HELD_OUT_SEED, held_out_clips, held_out_scenes
from refam.tiny.language import KINDS, caption, sample_referring_scene, sample_training_scene
from refam.tiny.model import build_tokenizer
from refam.tiny.pool import BUCKETS, draw_pool, mirror_scene


def make_object(**changes: object) -> scenes.SceneObject:
    plain = scenes.SceneObject("red", "circle", "plain", "large", x=32.0, y=32.0, radius=10.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", np.pi * 100),
        ("ring", np.pi * (100 - 25)),
        ("square", (2 * 8.8) ** 2),
        ("cross", 4 * 100 * 0.38 * (2 - 0.38)),
        ("triangle", 3 * np.sqrt(3) / 4 * 11**2),
        ("star", 10 * 0.5 * 11.2 * 11.2 * 0.45 * np.sin(np.pi / 5)),
    ],
)
def test_masks_have_the_geometric_area(shape: str, area: float) -> None:
    scene = scenes.Scene((64.0, 64.0), (make_object(shape=shape),), "grey", 1)
    _, masks = scenes.draw_scene(scene, (256, 256))
    assert masks[0].sum() / 16 == pytest.approx(area, rel=0.05)  # cv2 draws a polygon's border as well


def test_upper_objects_hide_lower_ones() -> None:
    scene = scenes.Scene((64.0, 64.0), (make_object(), make_object(colour="blue", x=40.0)), "grey", 1)
    picture, (below, above) = scenes.draw_scene(scene, (128, 128))
    assert not (below & above).any()
    assert below.sum() < above.sum()
    assert tuple(picture[above].mean(0).round()) == pytest.approx(scenes.COLOURS["blue"], abs=6)


def test_the_same_words_mean_the_same_size_in_every_picture_shape() -> None:
    areas = []
    for extent, size in (((64.0, 64.0), (128, 128)), ((114.0, 64.0), (228, 128)), ((48.0, 48.0), (96, 96))):
        _, masks = scenes.draw_scene(scenes.Scene(extent, (make_object(x=24.0, y=24.0),), "grey", 1), size)
        areas.append(int(masks.sum()))
    assert max(areas) - min(areas) < 0.02 * areas[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_expression_means_one_object_and_needs_its_kind_of_word(kind: str) -> None:
    rng, count = np.random.default_rng(3), 0
    while count < 40:
        scene, referral = sample_referring_scene(rng, (114.0, 64.0))
        if referral.kind != kind:
            continue
        count += 1
        target = scene.objects[referral.target]
        attributes = [w for w in referral.text.split() if w in language.ATTRIBUTES]
        matching = [t for t in scene.objects if all(w in t.words() for w in attributes)]
        assert target in matching
        alike = sum(t.colour == target.colour for t in scene.objects) - 1
        assert (alike == 0) == (kind == "colour") or kind == "shape"
        if kind != "place":
            assert len(matching) == 1, f"{referral.text!r} means {len(matching)} things"
        else:
            assert len(matching) == 2


def test_captions_fit_the_text_encoder_and_its_vocabulary() -> None:
    rng, tokenizer = np.random.default_rng(0), build_tokenizer()
    lengths = []
    for _ in range(500):
        scene = sample_training_scene(rng, (64.0, 64.0), (1, 2, 3, 4))
        ids = tokenizer(caption(scene, rng)).input_ids
        assert tokenizer.unk_token_id not in ids
        lengths.append(len(ids))
    assert np.mean(np.array(lengths) > language.TEXT_LENGTH) < 0.1


def test_mirrored_scenes_mirror_their_words() -> None:
    scene = scenes.Scene((64.0, 64.0), (make_object(x=12.0),), "grey", 1)
    assert language.place_words(scene.objects[0], scene.extent) == "on the left"
    assert language.place_words(mirror_scene(scene).objects[0], scene.extent) == "on the right"


def test_the_pool_and_the_held_out_set_are_frozen() -> None:
    one, two = (draw_pool(BUCKETS[0], 20, 5, workers=w) for w in (1, 2))
    assert one.scenes == two.scenes
    assert np.array_equal(one.pictures, two.pictures)
    assert [c.referral for c in held_out_scenes(3, 1)] == [c.referral for c in held_out_scenes(3, 1)]


def test_clips_move_and_their_expressions_tell_apart() -> None:
    clip = scenes.draw_clip(1, size=(160, 90), n_frames=12)
    assert clip.frames.shape == (12, 90, 160, 3)
    assert clip.masks.shape == (3, 12, 90, 160)
    assert len(set(clip.expressions)) == 3
    centres = [[np.argwhere(m).mean(0) for m in track] for track in clip.masks]
    assert all(np.linalg.norm(track[-1] - track[0]) > 3 for track in centres)


def test_held_out_scenes_are_fixed_and_differ_from_those_for_choosing() -> None:
    held, chosen = (list(held_out_scenes(6, seed)) for seed in (HELD_OUT_SEED, CHOICE_SEED))
    assert [c.referral.text for c in held] == [
        "a purple star",
        "the red circle",
        "the white star on the left",
        "the dotted yellow square",
        "a black cross",
        "a pink triangle",
    ]
    assert [c.picture.shape[:2] for c in held[:3]] == [(128, 128), (128, 170), (128, 228)]
    assert all(
        np.array_equal(a.picture, b.picture) for a, b in zip(held, held_out_scenes(3, HELD_OUT_SEED), strict=False)
    )
    assert not {c.picture.tobytes() for c in held} & {c.picture.tobytes() for c in chosen}
    assert all(c.truth.sum() > 100 for c in held)


def test_held_out_clips_show_their_object_on_planned_frames() -> None:
    clips = list(held_out_clips(4, HELD_OUT_SEED))
    for clip in clips:
        assert len(clip.frames) == clip.planned[-1] + 1 == 29
        judged = clip.planned_scenes()
        assert len(judged) == 8
        areas = [c.truth.sum() for c in judged]
        assert min(areas) >= 0.5 * max(areas)
        assert clip.referral.kind != "place"
        assert not np.array_equal(judged[0].truth, judged[-1].truth), "it moves"
    assert [c.referral for c in held_out_clips(4, HELD_OUT_SEED)] == [c.referral for c in clips]
