"""A source looks the same in every figure; shifts and other names never look like an embedded source."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from empirical.presets import ALL_SOURCES
from theory.source_looks import SOURCE_LOOKS, shift_looks, source_looks


def test_every_embedded_source_has_a_look_of_its_own() -> None:
    assert set(SOURCE_LOOKS) == set(ALL_SOURCES)
    assert len({colour for colour, _ in SOURCE_LOOKS.values()}) == len(SOURCE_LOOKS)
    assert len({marker for _, marker in SOURCE_LOOKS.values()}) == len(SOURCE_LOOKS)


def test_a_source_keeps_its_look_in_every_company() -> None:
    for size in range(1, len(ALL_SOURCES) + 1):
        for names in combinations(reversed(ALL_SOURCES), size):
            assert source_looks([*names, "mine"]).items() >= {n: SOURCE_LOOKS[n] for n in names}.items()


@given(st.lists(st.text(min_size=1), min_size=1, max_size=30, unique=True), st.booleans())
def test_names_differ_in_colour_and_stay_clear_of_embedded_sources(
    names: list[str], beside_stock: bool
) -> None:
    names = [name for name in names if name not in SOURCE_LOOKS]
    looks = source_looks([*(["stock"] if beside_stock else []), *names])
    assert len({colour for colour, _ in looks.values()}) == len(looks)
    own = {looks[name][0] for name in names}
    if beside_stock:
        assert own.isdisjoint(colour for colour, _ in SOURCE_LOOKS.values())


def test_shifts_have_colours_that_no_source_has() -> None:
    looks = shift_looks(["v2", "sketch", "rendition", "odd_view"])
    assert {colour for colour, _ in looks.values()}.isdisjoint(colour for colour, _ in SOURCE_LOOKS.values())
    assert len({marker for _, marker in looks.values()}) == 4
