"""Ticks of the page's axes, in a JavaScript engine: round percentages, where they belong, at any zoom."""

import json
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from py_mini_racer import MiniRacer

from empirical.report.page import part
from theory.links import dprime, probit


@pytest.fixture(scope="module")
def ticks():
    engine = MiniRacer()
    engine.eval(part("theory.js"))
    engine.eval(part("plots.js"))

    def call(scale: str, low: float, high: float, room: float) -> dict:
        made = f"Plots.percentTicks(Plots.scales.{scale}, [{low!r}, {high!r}], {room!r})"
        return json.loads(str(engine.eval(f"JSON.stringify({made})")))

    return call


@settings(max_examples=60, deadline=None)
@given(
    scale=st.sampled_from(["probit()", "dprime(2)", "dprime(20)", "dprime(1000)"]),
    low=st.floats(-0.9, 2.0), width=st.floats(0.004, 4), room=st.floats(4, 14),
)  # fmt: skip
def test_an_axis_has_ticks_at_any_zoom(ticks, scale, low, width, room):
    """Deeper in the tails than here, a view may lie between the finest steps."""
    high = low + width
    assume(high < 3)
    made = ticks(scale, low, high, room)
    places, words = made["tickvals"], made["ticktext"]
    assert 2 <= len(places) <= room + 1
    assert places == sorted(places)
    assert all(low - 1e-6 <= at <= high + 1e-6 for at in places)
    assert all(b - a >= width / room - 1e-9 for a, b in pairwise(places))
    for at, word in zip(places, words, strict=True):
        share = float(word.removesuffix("%")) / 100
        there = (
            float(probit(share))
            if scale == "probit()"
            else float(dprime(share, int(scale[len("dprime(") : -1])))
        )
        assert at == pytest.approx(there, abs=1e-6)


def test_a_wide_view_has_the_round_numbers(ticks):
    assert ticks("probit()", -2.5, 2.5, 10)["ticktext"] == ["1%", "10%", "30%", "50%", "70%", "90%", "99%"]
    assert ticks("log()", -2, 0.03, 12)["ticktext"] == ["1%", "2%", "5%", "10%", "20%", "50%", "100%"]
    assert ticks("log()", -0.5, -0.45, 6)["ticktext"] == ["32%", "33%", "34%", "35%"]
