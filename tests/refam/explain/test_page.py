"""The page that explains a heatmap: its steps are those of `ground`, and hostile words are escaped."""

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
from refam.text.expression import ExpressionError
from refam.text.tokens import TokenRole
from video.types import Candidate

TEXT = "the red star on the left"


def draw_picture(width: int = 96, height: int = 54) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def grounder(random_backbone: FluxBackbone) -> Grounder:
    return Grounder(random_backbone)


@pytest.fixture(scope="module")
def explanation(grounder: Grounder) -> Explanation:
    return explain(grounder, draw_picture(), TEXT, frame=7)


def render(explanation: Explanation, **changes: object) -> str:
    mask = np.zeros(explanation.image.shape[:2], bool)
    mask[10:30, 20:50] = True
    options: dict[str, object] = {
        "source": "clip.mp4",
        "time_s": 0.28,
        "candidates": [Candidate(7, mask, 0.81), Candidate(7, ~mask, 0.12)],
        "frames": [ExplainedFrame(0.1 * i, explanation.image, explanation.heatmap) for i in range(4)],
        "facts": [("Backbone", "random@00000000")],
    }
    return render_page(explanation, **{**options, **changes})  # type: ignore[arg-type]


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


def test_the_last_step_is_the_heatmap_of_ground(grounder: Grounder, explanation: Explanation) -> None:
    heatmap = grounder.ground([draw_picture()], [TEXT], indices=[7])[0][0]
    assert np.array_equal(explanation.heatmap.grid, heatmap.grid)
    assert (explanation.heatmap.frame, explanation.heatmap.peak, explanation.heatmap.confidence) == (
        7,
        heatmap.peak,
        heatmap.confidence,
    )


def test_every_step_is_the_heatmap_of_ground_with_its_options(
    random_backbone: FluxBackbone, explanation: Explanation
) -> None:
    steps = list(list_steps(GroundingOptions()))
    assert len(steps) == len(explanation.steps)
    for (name, _, options), step in zip(steps, explanation.steps, strict=True):
        alone = Grounder(random_backbone, options).ground([draw_picture()], [TEXT], indices=[7])[0][0]
        assert step.name == name
        assert np.array_equal(step.heatmap.grid, alone.grid), name


def test_the_steps_end_with_the_options_and_leave_out_what_is_off() -> None:
    assert list(list_steps(GroundingOptions(seed=3)))[-1][2] == GroundingOptions(seed=3)
    less = GroundingOptions(magnets=False)
    assert "Magnets" not in [name for name, _, _ in list_steps(less)]
    assert list(list_steps(less))[-1][2] == less


def test_every_word_has_a_map_and_shares_sum_to_one(explanation: Explanation) -> None:
    assert [w.word for w in explanation.words][:6] == ["the", "red", "star", "on", "the", "left"]
    roles = {w.word: w.role for w in explanation.words}
    assert roles["star"] in (TokenRole.CONTENT, "head")
    assert roles["on"] is TokenRole.STOP
    assert sum(w.share for w in explanation.words) == pytest.approx(1, abs=1e-5)
    assert all(w.grid.min() >= 0 and w.grid.max() <= 1 for w in explanation.words)


def test_unknown_words_are_marked(grounder: Grounder) -> None:
    explanation = explain(grounder, draw_picture(), "the red zebra")
    assert [w.word for w in explanation.words if not w.known] == ["zebra"]
    assert 'class="chip unknown"' in render(explanation)


def test_expressions_that_cannot_be_grounded_are_not_explained(grounder: Grounder) -> None:
    with pytest.raises(ExpressionError, match="is empty"):
        explain(grounder, draw_picture(), "  ")


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_self_contained_and_has_no_scripts(explanation: Explanation) -> None:
    html = render(explanation)
    elements = Elements(html)
    assert not elements.all("script")
    assert not elements.all("link")
    sources = [a["src"] or "" for a in elements.all("img")]
    assert len(sources) == 1 + len(explanation.words) + len(explanation.steps) + 4
    assert all(s.startswith("data:image/") for s in sources)
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?!data:)\w+:|url\((?!data:)|@import", html)
    assert not [n for _, a in elements.tags for n in a if n.startswith("on")], "no handlers"


def test_pictures_have_the_shape_of_the_film(explanation: Explanation) -> None:
    h, w = explanation.image.shape[:2]
    (ratio,) = re.findall(r"aspect-ratio: ([\d.]+);", render(explanation, pixel_aspect=2.0))
    assert float(ratio) == pytest.approx(2 * w / h)


def test_every_picture_has_a_text_alternative(explanation: Explanation) -> None:
    elements = Elements(render(explanation))
    texts = [a.get("alt") or "" for a in elements.all("img")]
    assert all(len(t) > 5 for t in texts)
    assert "Map of the word star, looked for" in texts or any(t.startswith("Map of the word star") for t in texts)
    assert all(a.get("aria-label") or a.get("aria-labelledby") for a in elements.all("svg"))
    assert "clip.mp4 · frame 7 · 0.28 s" in render(explanation)


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script> star",
        pytest.param('star" onmouseover="alert(1)', marks=pytest.mark.slow),
        pytest.param("red star {{ 7 * 7 }} {% raw %}", marks=pytest.mark.slow),
        "star </title></style><img src=x onerror=alert(1)>",
        "star &lt;b&gt; 'quoted' \u202e",
    ],
)
def test_hostile_words_are_escaped(grounder: Grounder, hostile: str) -> None:
    explanation = explain(grounder, draw_picture(), hostile)
    html = render(explanation, source=f"{hostile}.mp4", facts=[(hostile, hostile)])
    elements, plain = Elements(html), Elements(render(explain(grounder, draw_picture(), "red star")))
    assert {t for t, _ in elements.tags} <= {t for t, _ in plain.tags}, "no new element"
    assert not [n for _, a in elements.tags for n in a if n.startswith("on")]
    assert "49" not in re.sub(r"data:[^\"')]*", "", html).split("<h1>")[1].split("</h1>")[0]


def test_a_page_without_a_mask_says_so(explanation: Explanation) -> None:
    html = render(explanation, candidates=[], frames=[])
    assert "no outline fits the heatmap" in html
    assert 'class="veil"' not in html


def test_every_role_has_a_text() -> None:
    assert {role.value for role in TokenRole} | {"unknown"} == set(ROLE_TEXTS)


def test_regions_are_shown_best_first(explanation: Explanation) -> None:
    scores = [c.peak * c.weight for c in explanation.regions]
    assert scores == sorted(scores, reverse=True)
    assert scores
    assert render(explanation).count('aria-label="Peak ') == len(scores)
    assert "“left”" in render(explanation) or "“on the left”" in render(explanation)


def test_confidence_says_whether_it_is_calibrated(explanation: Explanation) -> None:
    assert explanation.calibrated_on is None
    assert "Not calibrated for this model" in render(explanation)


# --- pictures --------------------------------------------------------------------------------------------------------


def decode_uri(uri: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def test_heat_is_transparent_where_low_and_opaque_where_high() -> None:
    grid = np.zeros((8, 16), np.float32)
    grid[2:4, 4:6] = 1
    decoded = decode_uri(encode_heat(grid, width=160, height=80))
    assert decoded.shape == (80, 160, 4)
    assert decoded[70, 150, 3] < 8
    assert decoded[30, 50, 3] > 200


def test_photos_keep_colour_and_shape() -> None:
    image = np.zeros((60, 100, 3), np.uint8)
    image[..., 0] = 200
    decoded = decode_uri(encode_photo(image, width=50))
    assert decoded.shape == (30, 50, 3)
    assert decoded[15, 25] == pytest.approx([0, 0, 200], abs=8), "BGR"
    grey = decode_uri(encode_dimmed_photo(image, width=50))
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
