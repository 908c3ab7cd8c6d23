"""A study as a list of runs: which samples each run sees, named so that a finished run is never repeated.

`Study design -> plan_runs -> [RunSpec]`. Every run says exactly which positions of which source it draws:

* the single-source run of each size has its own samples (sizes are **not** nested subsets), so that two points of a
  line are independent;
* input mixtures draw samples that no single-source run saw, so that a prediction and the measurement that judges it
  share nothing but the test images;
* pools for filtering have samples of their own again.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from empirical.errors import StudyError

Kind = Literal["single", "input_mixing", "output_mixing", "filtered"]
Shares = tuple[tuple[str, float], ...]
"""Sources with their shares, in the order in which they are written."""
_EXACT, _ROUNDED = 1e-6, 1e-3
"""How far from 1 shares may sum: as they are, and as text, where digits are rounded away."""


@dataclass(frozen=True)
class Draw:
    """`count` consecutive samples of one source (in its seeded order), from position `start` on."""

    source: str
    start: int
    count: int


@dataclass(frozen=True)
class FilterSpec:
    """How a noisy pool is made and filtered.

    `pool_size` pairs, of which the share `junk_share` gets the caption of another pair; the CLIP of run `scorer`
    (None: no filter) scores them and the share `kept_share` with the highest scores is trained on.
    """

    junk_share: float
    kept_share: float
    pool_size: int
    scorer: str | None
    scorer_source: str


@dataclass(frozen=True)
class RunSpec:
    """One run: what it is trained on (or which heads it averages), at which size, with which seed."""

    kind: Kind
    shares: Shares
    n_train: int
    seed: int
    draws: tuple[Draw, ...] = ()
    heads: tuple[str, ...] = ()
    heads_n_train: str = ""
    filter: FilterSpec | None = None

    @property
    def sources(self) -> str:
        """The data in words: `stock`, `stock:0.5+snapshots:0.5` or `alt_text+junk:0.35`."""
        if self.filter is not None:
            return f"{format_shares(self.shares)}+junk:{self.filter.junk_share:g}"
        return format_shares(self.shares)

    @property
    def name(self) -> str:
        """Unique, file-safe name of the run."""
        parts = [self.kind, self.sources.replace(":", "_"), f"n{self.n_train}"]
        if self.heads_n_train:
            parts.append(f"heads_{self.heads_n_train}")
        if self.filter is not None:
            scorer, kept, pool = self.filter.scorer_source, self.filter.kept_share, self.filter.pool_size
            parts += [f"filter_{scorer.replace(':', '_')}", f"kept{kept:g}", f"pool{pool}"]
        return "-".join([*parts, f"seed{self.seed}"])

    @property
    def cost(self) -> int:
        """Training samples per epoch: what the time of a run is proportional to (0 for an ensemble)."""
        return 0 if self.heads else self.n_train

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the runs that must be finished first."""
        scorer = self.filter.scorer if self.filter is not None else None
        return self.heads + ((scorer,) if scorer else ())

    def as_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class FilteringDesign:
    """The filtering part of a study: a pool at several sizes, filtered by several CLIPs or not at all.

    `shares` say which sources the pool is drawn from, `scorers` on which data the CLIPs that filter were trained (one
    source: its largest single-source run; several: their mixture of the largest size, which the design must have).
    `num_seeds` is how many of the study's seeds have pools (0: all). Pools of the same sources and size hold the same
    pairs whatever their junk share: levels of junk are compared on equal data.
    """

    shares: Shares
    junk_share: float
    kept_shares: tuple[float, ...]
    pool_sizes: tuple[int, ...]
    scorers: tuple[Shares, ...]
    num_seeds: int = 0


@dataclass(frozen=True)
class Design:
    """What a study compares: sources x sizes x seeds, the mixtures with their sizes, and the filtered pools.

    `designed_sizes` are the budgets at which mixtures are designed once the single-source runs are finished, and samples
    are set aside for them; `designed` names those mixtures, each with its budget, once they are known.
    """

    sources: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    mixtures: tuple[Shares, ...] = ()
    mixture_sizes: tuple[int, ...] = ()
    filtering: tuple[FilteringDesign, ...] = field(default=())
    designed_sizes: tuple[int, ...] = ()
    designed: tuple[tuple[Shares, int], ...] = ()

    def __post_init__(self) -> None:
        for size in self.sizes + self.mixture_sizes:
            if size < 2:
                raise StudyError(f"size {size}: a run needs at least 2 training samples")
        for name, values in (("sizes", self.sizes), ("seeds", self.seeds), ("sources", self.sources)):
            if not values or len(set(values)) != len(values):
                raise StudyError(f"{name} {values}: at least one, and each only once")
        for shares in (*self.mixtures, *(shares for shares, _ in self.designed)):
            check_shares(shares, self.sources)
        for size in (*self.mixture_sizes, *self.designed_sizes):
            if size not in self.sizes:
                raise StudyError(
                    f"mixture size {size} is not among the single-source sizes {self.sizes}, which its prediction needs"
                )
        for filtering in self.filtering:
            for shares in (filtering.shares, *filtering.scorers):
                check_shares(shares, self.sources)
            for scorer in filtering.scorers:
                if len(scorer) > 1 and (scorer not in self.mixtures or not self.mixture_sizes):
                    raise StudyError(
                        f"filtering by {format_shares(scorer)}: add it to the mixtures that the study trains"
                    )
            shares_kept = [("kept share", share) for share in filtering.kept_shares]
            for name, share in (("junk share", filtering.junk_share), *shares_kept):
                if not 0 <= share <= 1:
                    raise StudyError(f"{name} {share}: must lie in [0, 1]")


def check_shares(shares: Shares, sources: Sequence[str]) -> None:
    """Raise `StudyError` unless the shares are positive, sum to 1 and name known sources, each once."""
    names = [source for source, _ in shares]
    for source, share in shares:
        if source not in sources:
            raise StudyError(f"mixture names the source {source!r}; the study has {', '.join(sources)}")
        if not (share > 0 and math.isfinite(share)):
            raise StudyError(
                f"share {share} of {source} in a mixture: every share must be positive (leave the source out instead)"
            )
    if len(set(names)) != len(names):
        raise StudyError(f"mixture {format_shares(shares)} names a source twice")
    total = sum(share for _, share in shares)
    if not names:
        raise StudyError("a mixture without a source: name at least one")
    if abs(total - 1) > _EXACT:
        raise StudyError(f"shares of mixture {format_shares(shares)} sum to {total:.6g}; they must sum to 1")


def format_shares(shares: Shares) -> str:
    """`stock:0.5+snapshots:0.5`; a single source is its bare name."""
    if len(shares) == 1:
        return shares[0][0]
    return "+".join(f"{source}:{share:.6g}" for source, share in shares)


def parse_shares(text: str) -> Shares:
    """Inverse of `format_shares`, for the command line: `stock:0.2+snapshots:0.8`, or a bare name for one source.

    Shares rounded as tables write them (0.333333 three times, a sum within 0.001 of 1) are divided by their sum.
    """
    if text and ":" not in text and "+" not in text:
        return ((text.strip(), 1.0),)
    parts = []
    for part in text.split("+"):
        source, _, share = part.partition(":")
        try:
            parts.append((source.strip(), float(share)))
        except ValueError:
            raise StudyError(
                f"mixture {text!r}: expected SOURCE:SHARE+SOURCE:SHARE, for example stock:0.5+snapshots:0.5"
            ) from None
    total = sum(share for _, share in parts)
    if _EXACT < abs(total - 1) <= _ROUNDED:
        return tuple((source, share / total) for source, share in parts)
    return tuple(parts)


def split_counts(shares: Shares, total: int) -> tuple[int, ...]:
    """Whole numbers of samples that add up to `total`, closest to the shares asked (largest remainders first)."""
    exact = [share * total for _, share in shares]
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    for (source, share), count in zip(shares, counts, strict=True):
        if count < 1:
            raise StudyError(
                f"share {share:g} of {source} is less than one sample of {total}: use a larger size"
            )
    return tuple(counts)


class _Positions:
    """Hands out disjoint ranges of a source's samples, by purpose; the same purpose always gets the same range."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._given: dict[tuple[str, Any], tuple[int, int]] = {}

    def take(self, source: str, purpose: Any, count: int) -> Draw:
        key = (source, purpose)
        if key not in self._given:
            start = self._next.get(source, 0)
            self._given[key] = (start, count)
            self._next[source] = start + count
        start, reserved = self._given[key]
        if count > reserved:
            raise AssertionError(f"{purpose} of {source} reserved {reserved} samples, asked for {count}")
        return Draw(source, start, count)

    def reserved(self) -> dict[str, int]:
        """Samples handed out or set aside, by source."""
        return dict(self._next)


def plan_runs(design: Design) -> list[RunSpec]:
    """All runs of a study, in the order in which they are worth doing: the first pair and its mixtures come first."""
    return _plan(design)[0]


def samples_needed(design: Design) -> dict[str, int]:
    """How many samples of each source (per seed) the study draws, or sets aside for mixtures still to be designed."""
    return _plan(design)[1]


def _plan(design: Design) -> tuple[list[RunSpec], dict[str, int]]:
    positions = _Positions()
    head_sizes: dict[str, set[int]] = {source: set(design.sizes) for source in design.sources}
    mixture_reserve: dict[tuple[str, int], int] = {}
    for shares, size in itertools.product(design.mixtures, design.mixture_sizes):
        for (source, _), count in zip(shares, split_counts(shares, size), strict=True):
            head_sizes[source].add(count)
            mixture_reserve[source, size] = max(mixture_reserve.get((source, size), 0), count)
    # Reserve in a fixed order, so that positions do not depend on the order in which runs are listed.
    for source in design.sources:
        for size in sorted(head_sizes[source]):
            positions.take(source, ("single", size), size)
        for size in sorted(design.mixture_sizes):
            if (source, size) in mixture_reserve:
                positions.take(source, ("mixture", size), mixture_reserve[source, size])

    def single(source: str, size: int, seed: int) -> RunSpec:
        draw = positions.take(source, ("single", size), size)
        return RunSpec("single", ((source, 1.0),), size, seed, draws=(draw,))

    runs: dict[str, RunSpec] = {}

    def add(spec: RunSpec) -> None:
        if runs.setdefault(spec.name, spec) != spec:
            raise AssertionError(f"two different runs are called {spec.name}")

    def add_mixture(shares: Shares, size: int, seed: int) -> None:
        counts = split_counts(shares, size)
        names = [source for source, _ in shares]
        draws = tuple(
            positions.take(s, ("mixture", size), count) for s, count in zip(names, counts, strict=True)
        )
        add(RunSpec("input_mixing", shares, size, seed, draws=draws))
        for label, head_counts in (("each", (size,) * len(names)), ("share", counts)):
            heads = [single(source, count, seed) for source, count in zip(names, head_counts, strict=True)]
            for head in heads:
                add(head)
            add(
                RunSpec(
                    "output_mixing",
                    shares,
                    size,
                    seed,
                    heads=tuple(h.name for h in heads),
                    heads_n_train=label,
                )
            )

    first_pair = {source for source, _ in design.mixtures[0]} if design.mixtures else set()
    ordered = [s for s in design.sources if s in first_pair] + [
        s for s in design.sources if s not in first_pair
    ]
    mixtures_now = [shares for shares in design.mixtures if {s for s, _ in shares} == first_pair]
    mixtures_later = [shares for shares in design.mixtures if shares not in mixtures_now]
    sizes, mixture_sizes = (sorted(values, reverse=True) for values in (design.sizes, design.mixture_sizes))
    for seed in design.seeds:  # the pair's first seed is whole before its second begins
        for size, source in itertools.product(sizes, ordered[: len(first_pair)]):
            add(single(source, size, seed))
        for shares, size in itertools.product(mixtures_now, mixture_sizes):
            add_mixture(shares, size, seed)
    for seed, size, source in itertools.product(design.seeds, sizes, ordered[len(first_pair) :]):
        add(single(source, size, seed))
    for shares, seed, size in itertools.product(mixtures_later, design.seeds, mixture_sizes):
        add_mixture(shares, size, seed)
    for filtering in design.filtering:
        for seed in design.seeds[: filtering.num_seeds or None]:
            for run in _filtered_runs(filtering, design, seed, positions, single, runs):
                add(run)
    # Last, so that what was designed changes nobody else's samples.
    for source, size in itertools.product(design.sources, sorted(design.designed_sizes)):
        positions.take(source, ("designed", size), size)
    for (shares, size), seed in itertools.product(design.designed, design.seeds):
        counts = split_counts(shares, size)
        draws = tuple(
            positions.take(source, ("designed", size), count)
            for (source, _), count in zip(shares, counts, strict=True)
        )
        kind: Kind = "input_mixing" if len(shares) > 1 else "single"
        run = RunSpec(kind, shares, size, seed, draws=draws)
        runs.setdefault(run.name, run)  # the study may have trained just this mixture anyhow
    return list(runs.values()), positions.reserved()


def _filtered_runs(
    filtering: FilteringDesign,
    design: Design,
    seed: int,
    positions: _Positions,
    single: Callable[[str, int, int], RunSpec],
    runs: Mapping[str, RunSpec],
) -> Iterator[RunSpec]:
    for pool_size in sorted(filtering.pool_sizes, reverse=True):
        names = [source for source, _ in filtering.shares]
        counts = split_counts(filtering.shares, pool_size)
        purpose = ("pool", pool_size, *names[1:], *counts[1:])
        draws = tuple(positions.take(name, purpose, count) for name, count in zip(names, counts, strict=True))
        for scorer in (None, *filtering.scorers):
            name = None
            if scorer is not None and len(scorer) == 1:
                name = single(scorer[0][0], max(design.sizes), seed).name
            elif scorer is not None:
                name = RunSpec("input_mixing", scorer, max(design.mixture_sizes), seed).name
                if name not in runs:
                    raise AssertionError(f"the filter {name} is not planned")
            label = format_shares(scorer) if scorer is not None else "none"
            for kept_share in filtering.kept_shares if scorer is not None else (1.0,):
                spec = FilterSpec(filtering.junk_share, kept_share, pool_size, name, label)
                n_train = round(kept_share * pool_size)
                yield RunSpec("filtered", filtering.shares, n_train, seed, draws=draws, filter=spec)
