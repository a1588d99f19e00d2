"""Sinks planted where we know of them: found, taken back exactly, given to the magnets; others left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refam.attention import attention_modules, read_attention
from refam.attention_sinks import SinkOptions, background_split, find_sinks, redirect, sinks_by_block, suppress
from refam.backbones import FluxBackbone
from refam.grounder import Grounder, GroundingOptions
from refam.grounding import without_sinks
from refam.text.expression import Expression, Role, Token
from tests.refam.small_transformers import flux

GRID = (3, 5)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(keys, h, w) over keys."""
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def planted(seed: int, sink: int, boost: float) -> tuple[np.ndarray, np.ndarray]:
    """(6, h, w) text maps without and with a constant added to one logit, among 26 keys.

    The boosted token's odds are made to average what the median of the others' does, so that the truth is ordinary.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(26, *GRID))
    p = softmax(logits)
    rest = np.delete(p / (1 - p[sink]), sink, 0)[:5]
    typical = np.median(rest.mean((1, 2)))
    logits[sink] += np.log(typical / (p[sink] / (1 - p[sink])).mean())
    truth = softmax(logits)[:6]
    logits[sink] += boost
    return truth.astype(np.float32), softmax(logits)[:6].astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), sink=st.integers(0, 5), boost=st.floats(0.5, 8))
def test_suppression_takes_a_planted_sink_back_exactly(seed: int, sink: int, boost: float) -> None:
    truth, maps = planted(seed, sink, boost)
    others = [t for t in range(6) if t != sink]
    np.testing.assert_allclose(suppress(maps, [sink], others), truth, rtol=2e-3, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), boost=st.floats(1, 8))
def test_redirection_gives_the_surplus_to_the_magnets_and_to_nobody_else(seed: int, boost: float) -> None:
    _, maps = planted(seed, 1, boost)
    out = redirect(maps, [1], [0, 2, 3], [4, 5])
    np.testing.assert_allclose(out.sum(0), maps.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(out[[0, 2, 3]], maps[[0, 2, 3]])
    assert (out[1] <= maps[1] + 1e-7).all()
    gained = out[[4, 5]] - maps[[4, 5]]
    np.testing.assert_allclose(gained[0], gained[1], atol=1e-6)
    np.testing.assert_allclose(gained.sum(0), maps[1] - out[1], atol=1e-6)


def test_two_sinks_at_once() -> None:
    rng = np.random.default_rng(0)
    truth = softmax(np.concatenate([np.zeros((3, *GRID)), rng.normal(size=(20, *GRID))]))  # three tokens alike
    logits = np.log(truth)
    logits[0] += 3
    logits[1] += 5
    maps = softmax(logits)[:4].astype(np.float32)
    # Both end as the third is: at the mean of its odds against what is no sink.
    out = suppress(maps, [0, 1], [2])
    np.testing.assert_allclose(out[0], truth[0], rtol=1e-3)
    np.testing.assert_allclose(out[1], truth[1], rtol=1e-3)
    np.testing.assert_allclose(out[2:], truth[2:4], rtol=1e-3)


def test_nothing_is_done_without_sinks_and_impossible_things_are_refused() -> None:
    maps = softmax(np.random.default_rng(0).normal(size=(4, *GRID))).astype(np.float32)
    assert suppress(maps, [], [1]) is maps
    assert redirect(maps, [], [1], []) is maps
    with pytest.raises(ValueError, match="append magnets or suppress"):
        redirect(maps, [0], [1], [])
    with pytest.raises(ValueError, match="no ordinary one"):
        suppress(maps, [0, 1, 2, 3], [])
    with pytest.raises(ValueError, match="more than its share"):
        SinkOptions(times_median=0.5)


def test_a_map_that_holds_everything_stays_finite() -> None:
    maps = np.zeros((3, *GRID), np.float32)
    maps[0] = 1
    for out in (suppress(maps, [0], [1]), redirect(maps, [0], [1], [2])):
        assert np.isfinite(out).all()


@pytest.mark.parametrize(
    ("name", "share", "variation", "expected"),
    [
        ("much and even", 0.4, 0.1, True),
        ("much, but in some places", 0.4, 1.5, False),
        ("even, but little", 0.02, 0.1, False),
        ("at both limits", 0.08, 0.5, True),
    ],
)
def test_what_makes_a_sink(name: str, share: float, variation: float, expected: bool) -> None:
    shares, variations = np.full((1, 6), 0.01), np.full((1, 6), 0.8)
    shares[0, 3], variations[0, 3] = share, variation
    assert sinks_by_block(shares, variations).tolist() == [[False, False, False, expected, False, False]], name
    assert find_sinks(shares, variations) == ((3,) if expected else ())


def test_a_sink_must_hold_in_a_quarter_of_the_blocks() -> None:
    shares, variations = np.full((8, 5), 0.01), np.full((8, 5), 0.1)
    shares[6:, 1] = 0.5  # deep blocks alone
    shares[7, 2] = 0.5
    assert find_sinks(shares, variations) == (1,)
    assert find_sinks(shares, variations, SinkOptions(min_blocks=0.1)) == (1, 2)


def test_masked_padding_neither_counts_nor_is_found() -> None:
    shares, variations = np.zeros((1, 20)), np.zeros((1, 20))
    shares[0, :4] = (0.01, 0.01, 0.012, 0.3)
    assert find_sinks(shares, variations) == (3,)


@pytest.mark.parametrize("sink", [0, 2, 6])
def test_a_sink_planted_in_a_model_is_found_in_its_blocks_and_others_are_not(sink: int) -> None:
    torch.manual_seed(0)
    model, inputs, n_image = flux()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.12)
    model.eval()
    bias = torch.zeros(1, 1, 1, 7 + n_image)
    bias[..., sink] = 6.0

    def plant(_: object, args: object, kwargs: dict) -> tuple[object, dict]:
        return args, {**kwargs, "attention_mask": bias}

    clean = read_attention(model, inputs, sinks=True)[0].sink_stats
    for module in attention_modules(model)[2:]:  # deep blocks alone
        module.register_forward_pre_hook(plant, with_kwargs=True)
    stats = read_attention(model, inputs, sinks=True)[0].sink_stats
    assert clean is not None
    assert stats is not None
    for sample in range(2):
        assert find_sinks(clean.share[:, sample].numpy(), clean.variation[:, sample].numpy()) == ()
        found = sinks_by_block(stats.share[:, sample].numpy(), stats.variation[:, sample].numpy())
        assert found.any(1).tolist() == [False, False, True, True]
        assert np.flatnonzero(found.any(0)).tolist() == [sink]
        assert find_sinks(stats.share[:, sample].numpy(), stats.variation[:, sample].numpy()) == (sink,)


def expression_of(*roles: Role) -> Expression:
    return Expression("x", "x", tuple(Token(str(i), str(i), role) for i, role in enumerate(roles)), ())


def test_how_the_background_is_divided() -> None:
    expression = expression_of(Role.STOP, Role.CONTENT, Role.MAGNET, Role.MAGNET, Role.END)
    maps = np.zeros((5, 2, 2), np.float32)
    maps[:, :, 0] = np.array([0.1, 0.1, 0.1, 0.05, 0.05])[:, None]
    maps[1, :, 1] = 0.9  # the object itself, on the right, must not count
    background = np.array([[True, False], [True, False]])
    split = background_split(maps, expression, background)
    p = np.array([0.4, 0.4, 0.2])
    expected = (0.25, 0.375, 0.25, 0.125, float(np.exp(-(p * np.log(p)).sum())), 0.4, 0.4)
    np.testing.assert_allclose(dataclasses.astuple(split), expected, rtol=1e-5)


def test_equal_magnets_make_as_many_clusters() -> None:
    maps = np.full((5, 2, 2), 0.1, np.float32)
    background = np.ones((2, 2), bool)
    even = background_split(maps, expression_of(Role.CONTENT, *[Role.MAGNET] * 4), background)
    assert even.clusters == pytest.approx(4)
    none = background_split(maps[:1], expression_of(Role.CONTENT), background)
    assert (none.clusters, none.largest, none.words) == (0, 0, 1)


def test_background_must_exist_and_fit() -> None:
    maps, expression = np.full((1, 2, 2), 0.1, np.float32), expression_of(Role.CONTENT)
    with pytest.raises(ValueError, match="no place is background"):
        background_split(maps, expression, np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="are not of 1 tokens"):
        background_split(maps, expression, np.ones((3, 2), bool))


# --- in grounding ----------------------------------------------------------------------------------------------------


@pytest.fixture(name="red_as_a_sink")
def _red_as_a_sink(random_backbone: FluxBackbone) -> Iterator[tuple[Grounder, int]]:
    """A grounder whose model gives the word "red" a constant of 8 in every block, by the mask its attention takes."""
    grounder = Grounder(random_backbone)
    tokens = grounder.parse("the red star").tokens
    red = [t.word for t in tokens].index("red")

    def plant(_: object, args: object, kwargs: dict) -> tuple[object, dict]:
        bias = torch.zeros(1, 1, 1, 24 + 64)
        bias[..., red] = 8.0
        return args, {**kwargs, "attention_mask": bias}

    hooks = [
        m.register_forward_pre_hook(plant, with_kwargs=True) for m in attention_modules(random_backbone.transformer)
    ]
    yield grounder, red
    for hook in hooks:
        hook.remove()


def test_a_sink_on_a_word_is_found_and_brought_down(red_as_a_sink: tuple[Grounder, int]) -> None:
    grounder, red = red_as_a_sink
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    ((maps,),) = grounder.read([frame], ["the red star"])
    assert maps.sinks == (red,)
    star = [t.word for t in maps.expression.tokens].index("star")
    treated = without_sinks(maps, maps.expression)
    assert maps.maps[red].mean() > 20 * maps.maps[star].mean()
    assert treated.maps[red].mean() == pytest.approx(treated.maps[star].mean(), rel=0.1)
    on, off = (grounder.ground_maps(maps, frame, options=GroundingOptions(sinks=s)).heatmap.grid for s in (True, False))
    assert np.abs(on - off).max() > 0.05


def test_sinks_are_not_looked_for_when_switched_off(red_as_a_sink: tuple[Grounder, int]) -> None:
    grounder, _ = red_as_a_sink
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    off = GroundingOptions(sinks=False)
    ((maps,),) = grounder.read([frame], ["the red star"], options=off)
    assert maps.sinks is None
    grounder.ground_maps(maps, frame, options=off)
    with pytest.raises(ValueError, match="read without looking for sinks"):
        grounder.ground_maps(maps, frame)


def test_sinks_that_nobody_reads_change_nothing(random_backbone: FluxBackbone) -> None:
    grounder = Grounder(random_backbone)
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    ((maps,),) = grounder.read([frame], ["the red star"])
    assert maps.sinks == ()
    magnet = dataclasses.replace(maps, sinks=tuple(maps.expression.positions(Role.MAGNET, Role.STOP)))
    assert without_sinks(magnet, maps.expression) is magnet
