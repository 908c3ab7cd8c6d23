"""The studies that `clip_mixtures.py` knows by name: `smoke`, `default`, `design`, `filters`, `full` and `gpu`."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from empirical.errors import StudyError
from empirical.plan import Design, FilteringDesign, Shares
from empirical.recipe import Recipe

ALL_SOURCES = ("snapshots", "stock", "forum", "encyclopedia", "alt_text", "web_crawl")
RATIOS = (0.2, 0.5, 0.8)


@dataclass(frozen=True)
class Preset:
    """A design without its seeds, the recipe, the model and how many test images it is judged on."""

    description: str
    sources: tuple[str, ...]
    sizes: tuple[int, ...]
    num_seeds: int
    mixtures: tuple[Shares, ...]
    mixture_sizes: tuple[int, ...]
    filtering: tuple[FilteringDesign, ...]
    test_images: int
    designed_sizes: tuple[int, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)
    model: str = "conv_tower"

    def design(self, first_seed: int) -> Design:
        """The design with seeds `first_seed, first_seed + 1, ...`."""
        seeds = tuple(range(first_seed, first_seed + self.num_seeds))
        return Design(
            self.sources,
            self.sizes,
            seeds,
            self.mixtures,
            self.mixture_sizes,
            self.filtering,
            self.designed_sizes,
        )


def only(source: str) -> Shares:
    """One source alone."""
    return ((source, 1.0),)


def pair(first: str, second: str, share: float = 0.5) -> Shares:
    """Two sources, the first with the given share."""
    return ((first, share), (second, round(1 - share, 12)))


def equal_mixture(sources: Sequence[str]) -> Shares:
    """All sources with equal shares."""
    return tuple((source, 1 / len(sources)) for source in sources)


def pairs_at_ratios(sources: Sequence[str], ratios: Sequence[float] = RATIOS) -> tuple[Shares, ...]:
    """Every pair of sources at every ratio, one pair after the other."""
    return tuple(pair(a, b, share) for a, b in itertools.combinations(sources, 2) for share in ratios)


def leave_one_out(sources: Sequence[str]) -> tuple[Shares, ...]:
    """For each source, the equal mixture of all the others."""
    return tuple(equal_mixture([other for other in sources if other != source]) for source in sources)


POOL = FilteringDesign(
    only("alt_text"),
    junk_share=0.35,
    kept_shares=(0.5,),
    pool_sizes=(1152, 2304, 4608),
    scorers=(only("snapshots"), only("stock")),
)

DEFAULT_MIXTURES = (
    *(pair("snapshots", "stock", share) for share in RATIOS),
    pair("forum", "encyclopedia"),
    pair("forum", "stock"),
    pair("snapshots", "encyclopedia"),
    pair("web_crawl", "encyclopedia"),  # far apart on the reference: d′ 1.8 times at n = 1,024, 1.5 at 2,048
    pair("alt_text", "encyclopedia"),
    equal_mixture(ALL_SOURCES),
)

POOLS = tuple(
    FilteringDesign(
        shares,
        junk_share=junk,
        kept_shares=(0.15, 0.3, 0.5, 0.7, 0.85),
        pool_sizes=(2048, 8192),
        # Robust and brittle on sketches and renditions, and a mixture of both.
        scorers=(only("stock"), only("snapshots"), pair("snapshots", "stock")),
        num_seeds=3,
    )
    for shares, levels in (
        (only("alt_text"), (0.0, 0.2, 0.4, 0.6, 0.8)),
        (pair("snapshots", "stock"), (0.0, 0.4)),
    )
    for junk in levels
)
"""Pools of one source at every level of junk, and pools of two sources; kept shares from few to most."""

JUDGED_POOLS = tuple(
    FilteringDesign(
        shares,
        junk_share=junk,
        kept_shares=(0.2, 0.5, 0.8),
        pool_sizes=(1024, 4096),
        scorers=(only("stock"), only("snapshots")),
    )
    for shares, junk in (
        (only("alt_text"), 0.3),
        (only("web_crawl"), 0.6),
        (only("forum"), 0.45),
        (pair("web_crawl", "forum"), 0.3),
        (pair("snapshots", "encyclopedia"), 0.6),
        (pair("alt_text", "encyclopedia"), 0.45),
    )
)
"""Six pools that share no set of sources, at three levels of junk: what a rule for filtered pools is judged on."""

_FULL = Preset(
    description="every pair at three ratios, leave-one-out mixtures, five sizes, three seeds (CPU: overnight)",
    sources=ALL_SOURCES,
    sizes=(256, 512, 1024, 2048, 4096),
    num_seeds=3,
    mixtures=(*pairs_at_ratios(ALL_SOURCES), equal_mixture(ALL_SOURCES), *leave_one_out(ALL_SOURCES)),
    mixture_sizes=(1024, 2048, 4096),
    filtering=POOLS,
    test_images=5000,
    designed_sizes=(1024, 2048, 4096),
)

PRESETS = {
    "smoke": Preset(
        description="two sources, one mixture, one small pool: checks that everything works (under a minute)",
        sources=("snapshots", "stock"),
        sizes=(128, 256, 512),
        num_seeds=1,
        mixtures=(pair("snapshots", "stock"),),
        mixture_sizes=(512,),
        filtering=(replace(POOL, shares=only("snapshots"), pool_sizes=(512,), scorers=(only("stock"),)),),
        test_images=300,
        recipe=Recipe(epochs=16, batch_size=32),
    ),
    "default": Preset(
        description="six sources, eight pairs mixed and all six, ensembles, a noisy pool (5-10 minutes on 2 cores)",
        sources=ALL_SOURCES,
        sizes=(256, 512, 1024, 2048),
        num_seeds=2,
        mixtures=DEFAULT_MIXTURES,
        mixture_sizes=(1024, 2048),
        filtering=(POOL,),
        test_images=2500,
    ),
    "design": Preset(
        description="mixtures designed from single-source runs, ranked among every pair, six-way and leave-one-out (30 min)",
        sources=ALL_SOURCES,
        sizes=(512, 1024, 2048),
        num_seeds=3,
        mixtures=(
            *pairs_at_ratios(ALL_SOURCES, (0.5,)),
            equal_mixture(ALL_SOURCES),
            *leave_one_out(ALL_SOURCES),
        ),
        mixture_sizes=(2048,),
        filtering=(),
        test_images=2500,
        designed_sizes=(2048,),
    ),
    "filters": Preset(
        description="pools of three sources and of three pairs filtered by two CLIPs, no mixtures (15 min on 2 cores)",
        sources=ALL_SOURCES,
        sizes=(128, 256, 512, 1024, 2048, 4096),
        num_seeds=3,
        mixtures=(),
        mixture_sizes=(),
        filtering=JUDGED_POOLS,
        test_images=2500,
    ),
    "full": _FULL,
    "gpu": replace(
        _FULL, description="the full study on one GPU", num_seeds=6, sizes=(256, 512, 1024, 2048, 4096, 8192)
    ),
}


def preset_for_sources(preset: Preset, sources: Sequence[str]) -> Preset:
    """The preset's sizes and recipe for a user's own sources: the first pair at three ratios, every other pair at
    equal shares, and the equal mixture of all when there are more than two.
    """
    if not sources:
        raise StudyError("no source given: name at least one with --source NAME=SHARDS")
    pairs = list(itertools.combinations(sources, 2))
    mixtures = [pair(*pairs[0], share) for share in RATIOS] if pairs else []
    mixtures += [pair(*names) for names in pairs[1:]]
    if len(sources) > 2:
        mixtures.append(equal_mixture(sources))
    return replace(preset, sources=tuple(sources), mixtures=tuple(mixtures), filtering=(), designed_sizes=())
