"""The page that shows how words became a mask: what it says is what `ground` does, and hostile words stay words."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from refam.backbones import FluxBackbone
from refam.explain.page import (
    ROLE_TEXTS,
    ExplainedFrame,
    encode_dimmed_photo,
    encode_heat,
    encode_photo,
    outline_path,
    render_page,
)
from refam.explain.steps import Explanation, explain, list_steps
from refam.grounder import Grounder, GroundingOptions
from refam.text.expression import ExpressionError, TokenRole
from video.types import Candidate

TEXT = "the red star on the left"


def picture(width: int = 96, height: int = 54) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def grounder(random_backbone: FluxBackbone) -> Grounder:
    return Grounder(random_backbone)


@pytest.fixture(scope="module")
def found(grounder: Grounder) -> Explanation:
    return explain(grounder, picture(), TEXT, frame=7)


def page(found: Explanation, **changes: object) -> str:
    mask = np.zeros(found.image.shape[:2], bool)
    mask[10:30, 20:50] = True
    given: dict[str, object] = {
        "source": "clip.mp4",
        "time_s": 0.28,
        "candidates": [Candidate(7, mask, 0.81), Candidate(7, ~mask, 0.12)],
        "frames": [ExplainedFrame(0.1 * i, found.image, found.heatmap) for i in range(4)],
        "facts": [("Backbone", "random@00000000")],
    }
    return render_page(found, **{**given, **changes})  # type: ignore[arg-type]


class Elements(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# --- what is explained -----------------------------------------------------------------------------------------------


def test_the_last_step_is_the_heatmap_that_ground_gives(grounder: Grounder, found: Explanation) -> None:
    heatmap = grounder.ground([picture()], [TEXT], indices=[7])[0][0]
    assert np.array_equal(found.heatmap.grid, heatmap.grid)
    assert (found.heatmap.frame, found.heatmap.peak, found.heatmap.confidence) == (
        7,
        heatmap.peak,
        heatmap.confidence,
    )


def test_every_step_is_what_ground_gives_with_those_switches(random_backbone: FluxBackbone, found: Explanation) -> None:
    steps = list(list_steps(GroundingOptions()))
    assert len(steps) == len(found.steps)
    for (name, _, options), step in zip(steps, found.steps, strict=True):
        alone = Grounder(random_backbone, options).ground([picture()], [TEXT], indices=[7])[0][0]
        assert step.name == name
        assert np.array_equal(step.heatmap.grid, alone.grid), name


def test_the_steps_end_with_the_options_and_leave_out_what_is_off() -> None:
    assert list(list_steps(GroundingOptions(seed=3)))[-1][2] == GroundingOptions(seed=3)
    less = GroundingOptions(magnets=False)
    assert "Magnets" not in [name for name, _, _ in list_steps(less)]
    assert list(list_steps(less))[-1][2] == less


def test_every_word_has_its_map_and_the_shares_make_a_whole(found: Explanation) -> None:
    assert [w.word for w in found.words][:6] == ["the", "red", "star", "on", "the", "left"]
    roles = {w.word: w.role for w in found.words}
    assert roles["star"] in (TokenRole.CONTENT, "head")
    assert roles["on"] is TokenRole.STOP
    assert sum(w.share for w in found.words) == pytest.approx(1, abs=1e-5)
    assert all(w.grid.min() >= 0 and w.grid.max() <= 1 for w in found.words)


def test_words_that_the_model_does_not_know_are_said_so(grounder: Grounder) -> None:
    found = explain(grounder, picture(), "the red zebra")
    assert [w.word for w in found.words if not w.known] == ["zebra"]
    assert 'class="chip unknown"' in page(found)


def test_what_cannot_be_grounded_cannot_be_explained(grounder: Grounder) -> None:
    with pytest.raises(ExpressionError, match="is empty"):
        explain(grounder, picture(), "  ")


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_runs_nothing(found: Explanation) -> None:
    html = page(found)
    elements = Elements(html)
    assert not elements.all("script")
    assert not elements.all("link")
    sources = [a["src"] or "" for a in elements.all("img")]
    assert len(sources) == 1 + len(found.words) + len(found.steps) + 4
    assert all(s.startswith("data:image/") for s in sources)
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?!data:)\w+:|url\((?!data:)|@import", html)
    assert not [n for _, a in elements.tags for n in a if n.startswith("on")], "no handlers"


def test_pictures_say_what_they_show(found: Explanation) -> None:
    elements = Elements(page(found))
    texts = [a.get("alt") or "" for a in elements.all("img")]
    assert all(len(t) > 5 for t in texts)
    assert "Map of the word star, looked for" in texts or any(t.startswith("Map of the word star") for t in texts)
    assert all(a.get("aria-label") or a.get("aria-labelledby") for a in elements.all("svg"))
    assert "clip.mp4 · frame 7 · 0.28 s" in page(found)


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script> star",
        'star" onmouseover="alert(1)',
        "red star {{ 7 * 7 }} {% raw %}",
        "star </title></style><img src=x onerror=alert(1)>",
        "star &lt;b&gt; 'quoted' \u202e",
    ],
)
def test_hostile_words_stay_words(grounder: Grounder, hostile: str) -> None:
    found = explain(grounder, picture(), hostile)
    html = page(found, source=f"{hostile}.mp4", facts=[(hostile, hostile)])
    elements, plain = Elements(html), Elements(page(explain(grounder, picture(), "red star")))
    assert {t for t, _ in elements.tags} <= {t for t, _ in plain.tags}, "no new element"
    assert not [n for _, a in elements.tags for n in a if n.startswith("on")]
    assert "49" not in re.sub(r"data:[^\"')]*", "", html).split("<h1>")[1].split("</h1>")[0]


def test_nothing_found_is_said_and_not_drawn(found: Explanation) -> None:
    html = page(found, candidates=[], frames=[])
    assert "no outline fits the heatmap" in html
    assert 'class="veil"' not in html


def test_every_role_has_words_on_the_page() -> None:
    assert {role.value for role in TokenRole} | {"unknown"} == set(ROLE_TEXTS)


def test_what_place_and_size_chose_among_is_shown_the_best_first(found: Explanation) -> None:
    scores = [c.peak * c.weight for c in found.regions]
    assert scores == sorted(scores, reverse=True)
    assert scores
    assert page(found).count('aria-label="Peak ') == len(scores)
    assert "“left”" in page(found) or "“on the left”" in page(found)


def test_confidence_says_whether_it_is_calibrated(found: Explanation) -> None:
    assert found.calibrated_on is None
    assert "Not calibrated for this model" in page(found)


# --- pictures --------------------------------------------------------------------------------------------------------


def decoded(uri: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def test_heat_is_see_through_where_nothing_is_and_strong_where_it_is_most() -> None:
    grid = np.zeros((8, 16), np.float32)
    grid[2:4, 4:6] = 1
    shown = decoded(encode_heat(grid, width=160, height=80))
    assert shown.shape == (80, 160, 4)
    assert shown[70, 150, 3] < 8
    assert shown[30, 50, 3] > 200


def test_photos_keep_colour_and_shape() -> None:
    image = np.zeros((60, 100, 3), np.uint8)
    image[..., 0] = 200
    shown = decoded(encode_photo(image, width=50))
    assert shown.shape == (30, 50, 3)
    assert shown[15, 25] == pytest.approx([0, 0, 200], abs=8), "BGR"
    grey = decoded(encode_dimmed_photo(image, width=50))
    assert np.ptp(grey[15, 25].astype(int)) < 6


def test_an_outline_encloses_the_mask_and_leaves_its_holes() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:30, 10:50] = True
    mask[12:20, 20:35] = False
    path = outline_path(mask)
    assert path.count("M") == path.count("Z") == 2
    points = np.array([[float(v) for v in p.split()] for p in re.split(r"[MLZ]+", path) if p])
    assert points.min(0) == pytest.approx([10.5, 5.5])
    assert points.max(0) == pytest.approx([49.5, 29.5])
    assert outline_path(np.zeros((4, 4), bool)) == ""
