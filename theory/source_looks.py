"""One colour and marker per source and per shift, the same in every figure.

Use `source_looks` for sources and `shift_looks` for shifts. The embedded sources, whose names panels of theory use too, have
fixed looks; other names get the next free ones in the order given.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from theory.plotting import MARKERS, PALETTE

Look: TypeAlias = tuple[str, str]
"""Colour and marker: figures printed in grey still tell series apart."""

SOURCE_LOOKS: dict[str, Look] = {
    "snapshots": (PALETTE["blue"], "o"),
    "stock": (PALETTE["vermillion"], "s"),
    "forum": (PALETTE["green"], "^"),
    "encyclopedia": (PALETTE["purple"], "D"),
    "alt_text": (PALETTE["orange"], "v"),
    "web_crawl": (PALETTE["sky"], "P"),
}
"""The sources of the embedded world."""

# Beside embedded sources others keep clear of all six hues, also of those that this figure lacks and the next one shows.
_BESIDE = (PALETTE["olive"], "#8C510A", "#3F6C7D", "#A08BC9", "#6B705C")
_ALONE = tuple(PALETTE[name] for name in ("blue", "vermillion", "green", "purple", "orange", "sky", "olive"))
# Hues that no source has, dark to light in grey.
_SHIFTS = ("#332288", "#7A4A12", "#5F7F00", "#C24D6B", "#0B6E6E", "#8E8E8E")
_SHIFT_MARKERS = ("o", "^", "s", "D", "v", "P")


def source_looks(names: Iterable[str]) -> dict[str, Look]:
    """Source -> (colour, marker): fixed for the embedded sources, for others the next free ones in their order.

    More sources of other names than there are colours get evenly spread hues of alternating lightness, and markers again
    from the first.
    """
    names = list(dict.fromkeys(names))
    others = [name for name in names if name not in SOURCE_LOOKS]
    fixed = len(others) < len(names)
    colours = _BESIDE if fixed else _ALONE
    if len(others) > len(colours):
        colours = _spread(len(others))
    taken = [marker for _, marker in SOURCE_LOOKS.values()] if fixed else []
    # A cross would be taken for a prediction: last.
    free = sorted((m for m in MARKERS if m not in taken), key="X".__eq__)
    looks = {
        name: (colours[i], free[i] if i < len(free) else MARKERS[i % len(MARKERS)])
        for i, name in enumerate(others)
    }
    return {name: SOURCE_LOOKS.get(name) or looks[name] for name in names}


def shift_looks(names: Iterable[str]) -> dict[str, Look]:
    """Shift -> (colour, marker), in the order given, in colours that no source has."""
    names = list(dict.fromkeys(names))
    colours = _SHIFTS if len(names) <= len(_SHIFTS) else _spread(len(names))
    return {name: (colours[i], _SHIFT_MARKERS[i % len(_SHIFT_MARKERS)]) for i, name in enumerate(names)}


def _spread(count: int) -> Sequence[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    places = np.linspace(0.05, 0.95, count)
    return [to_hex(colormaps["turbo"](p if i % 2 == 0 else max(p - 0.02, 0))) for i, p in enumerate(places)]
