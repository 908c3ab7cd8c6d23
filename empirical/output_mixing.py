r"""Output mixing in its three kinds, from saved logits, each against the input mixture that it should predict (Theorem 2b).

An ensemble scores $\sum_s\alpha_sz_s/\ell_s$ with the logits $z_s$ of single-source models ("heads") and a length $\ell_s$:

| mixing | length $\ell_s$ | weights $\alpha_s$ |
|---|---|---|
| logits | 1 | $p_s$ |
| embeddings | the head's inverse temperature, so that cosines are averaged | $p_s$ |
| normalised | the head's within-class spread on the reference set (`empirical.overlap.within_class_spread`) | theory's |

*embeddings*: averaged cosines are **exactly** the cosines of the concatenated unit embeddings $(\sqrt{\alpha_s}f_s)_s$,
$(\sqrt{\alpha_s}g_s)_s$, so logits and temperatures suffice. Averaging the vectors themselves (`average_embeddings`) adds cross
terms $f_s\cdot g_u$ between spaces that separately trained networks do not share; it needs the embeddings.

*normalised, theory's weights*: the input mixture is $\sum_sp_s\hat w_s$ with heads on $p_sn$ samples each. In the units of
`empirical.measured_sources` such a head has length $\sqrt{r_{ss}+(1-r_{ss})/p_s}$, hence $\alpha_s\propto
p_s\sqrt{r_{ss}+(1-r_{ss})/p_s}$ for heads "share" and $\alpha_s=p_s$ for heads on n samples "each".

Use `mix_outputs` on logits at hand, `measure_ensembles` for all ensembles of a study and `compare_with_input` for the verdict.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from empirical.errors import DataError, StudyError
from empirical.overlap import within_class_spread
from empirical.plan import split_counts
from empirical.prediction import mixture_shares
from empirical.tables import accuracies_table

MIXINGS = ("logits", "embeddings", "normalised")
HEADS = ("each", "share")


def mix_outputs(
    logits: Sequence[Float[np.ndarray, "n k"]],
    weights: Sequence[float] | np.ndarray,
    lengths: Sequence[float] | np.ndarray | None = None,
) -> Float[np.ndarray, "n k"]:
    r"""$\sum_s\alpha_sz_s/\ell_s$, float32 (n, K); lengths of 1 by default.

    Raises StudyError for lengths that are not > 0, and as `empirical.zero_shot.average_logits` for logits and weights.
    """
    from empirical.zero_shot import average_logits

    if lengths is None:
        return average_logits(logits, list(weights))
    scale = np.asarray(lengths, dtype=np.float64)
    if scale.shape != (len(logits),) or not np.all(np.isfinite(scale) & (scale > 0)):
        raise StudyError(f"lengths are {scale.tolist()}; {len(logits)} finite numbers > 0 are needed")
    return average_logits(
        [np.asarray(z) / length for z, length in zip(logits, scale, strict=True)], list(weights)
    )


def average_embeddings(
    images: Sequence[Float[np.ndarray, "n _"]],
    classifiers: Sequence[Float[np.ndarray, "_ k"]],
    weights: Sequence[float],
) -> Float[np.ndarray, "n k"]:
    """Cosines of averaged embeddings: unit image embeddings and unit class embeddings, each averaged and renormalised.

    The literal average of vectors, with the cross terms between the heads' spaces; heads need a common width d. For heads
    that share no space use averaged cosines (`mix_outputs` with the temperatures as lengths).

    Raises StudyError for heads of different widths, or weights that do not fit.
    """
    alpha = np.asarray(weights, dtype=np.float64)
    widths = {np.shape(f)[1] for f in images} | {np.shape(g)[0] for g in classifiers}
    if len(widths) != 1 or not len(images) == len(classifiers) == len(alpha) or abs(alpha.sum() - 1) > 1e-6:
        raise StudyError(
            f"embeddings of {len(images)} heads and {len(classifiers)} classifiers of one width, with weights that sum to 1, are "
            f"needed; got widths {sorted(widths)} and weights {alpha.tolist()}"
        )
    f = sum(a * _unit(np.asarray(each, float), 1) for a, each in zip(alpha, images, strict=True))
    g = sum(a * _unit(np.asarray(each, float), 0) for a, each in zip(alpha, classifiers, strict=True))
    return (_unit(np.asarray(f), 1) @ _unit(np.asarray(g), 0)).astype(np.float32)


def _unit(vectors: np.ndarray, axis: int) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=axis, keepdims=True)


def input_mixing_weights(
    shares: Sequence[float] | np.ndarray, own_overlaps: Sequence[float] | np.ndarray
) -> Float[np.ndarray, " s"]:
    r"""$\alpha_s\propto p_s\sqrt{r_{ss}+(1-r_{ss})/p_s}$: normalised heads on $p_sn$ samples add up to the input mixture.

    Args:
        shares: $p_s>0$, (S,).
        own_overlaps: $r_{ss}$ of models of n samples on the reference set, (S,).
    """
    p, r = np.asarray(shares, dtype=np.float64), np.clip(np.asarray(own_overlaps, dtype=np.float64), 0.0, 1.0)
    alpha = p * np.sqrt(r + (1 - r) / p)
    return alpha / alpha.sum()


def measure_ensembles(
    accuracies: pd.DataFrame,
    logits: Callable[[str, str], np.ndarray],
    labels: Mapping[str, np.ndarray],
    inverse_temperatures: Mapping[str, float],
    overlaps: pd.DataFrame,
    reference: str = "reference",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Every ensemble that stands for a trained input mixture: all kinds of mixing, heads on n each and on their share.

    One row per ensemble and test set: the columns of accuracies.csv (kind output_mixing), and mixing, mixture (the run of the
    input mixture of the same sources, shares, size and seed) and both_correct (images that both get right). An ensemble has
    rows once all of its heads are there; "embeddings" needs the temperatures of all heads, "normalised" on shares two seeds of
    every source at n.

    Args:
        accuracies: a study's table.
        logits: run and test set -> logits.
        labels: test set -> labels.
        inverse_temperatures: run -> exp(logit scale); runs may be missing.
        overlaps: the study's overlaps.
        reference: the test set on which heads are normalised.
        on_progress: called with (mixtures done, mixtures in all).

    Raises DataError for logits or labels that cannot be read.
    """
    single = accuracies[accuracies["kind"] == "single"].drop_duplicates("run")
    runs = {
        (s, n, seed): run
        for s, n, seed, run in single[["sources", "n_train", "seed", "run"]].itertuples(index=False)
    }
    own = overlaps[(overlaps["first"] == overlaps["second"]) & (overlaps["test_set"] == reference)]
    own_overlap = own.groupby(["first", "n_train"])["correlation"].mean().to_dict()
    mixtures = accuracies[accuracies["kind"] == "input_mixing"].drop_duplicates("run")
    test_sets = [str(name) for name in pd.unique(accuracies["test_set"])]
    spreads: dict[str, float] = {}
    records, extra = [], []
    done = 0
    # Mixtures of one size and seed share their heads: each file is read once.
    for (n, seed), group in mixtures.groupby(["n_train", "seed"], sort=False):
        n, seed = int(str(n)), int(str(seed))
        plan: list[tuple[str, str, list[_Job]]] = []
        for run, sources in zip(group["run"], group["sources"], strict=True):
            shares = mixture_shares(str(sources))
            sizes = {"each": [n] * len(shares), "share": split_counts(tuple(shares.items()), n)}
            jobs: list[_Job] = []
            for heads in HEADS:
                names = [
                    runs.get((source, size, seed)) for source, size in zip(shares, sizes[heads], strict=True)
                ]
                found = [name for name in names if name is not None]
                if len(found) == len(names):
                    jobs += _jobs(
                        heads,
                        found,
                        shares,
                        n,
                        inverse_temperatures,
                        own_overlap,
                        spreads,
                        logits,
                        labels,
                        reference,
                    )
            plan.append((str(run), str(sources), jobs))
        results = [[{} for _ in jobs] for _, _, jobs in plan]
        for test_set in test_sets:
            truth, loaded = labels[test_set], {}
            for (run, _, jobs), counts in zip(plan, results, strict=True):
                if jobs:
                    for head in {head for job in jobs for head in job[2]} - loaded.keys():
                        loaded[head] = np.asarray(logits(head, test_set), dtype=np.float64)
                    _count(jobs, loaded, np.asarray(logits(run, test_set)), truth, test_set, counts)
        for (mixture, sources, jobs), counts in zip(plan, results, strict=True):
            for (mixing, heads, *_), result in zip(jobs, counts, strict=True):
                run = f"{mixing}-{heads}-{mixture}"
                extra += [(run, t, mixing, mixture, found.pop("both_correct")) for t, found in result.items()]
                records.append(
                    {"run": run, "kind": "output_mixing", "sources": sources, "n_train": n, "seed": seed,
                     "heads_n_train": heads, "filter": "", "kept_share": 1.0, "results": result}
                )  # fmt: skip
        done += len(plan)
        on_progress(done, len(mixtures))
    more = pd.DataFrame(extra, columns=["run", "test_set", "mixing", "mixture", "both_correct"])
    return accuracies_table(records).merge(more, on=["run", "test_set"], how="left")


_Job = tuple[str, str, list[str], np.ndarray, np.ndarray | None]


def _count(
    jobs: Sequence[_Job],
    loaded: Mapping[str, np.ndarray],
    of_mixture: np.ndarray,
    truth: np.ndarray,
    test_set: str,
    results: Sequence[dict[str, dict[str, int]]],
) -> None:
    """Evaluate all ensembles of one mixture on one test set: `mix_outputs` of each, in one matrix product."""
    heads = list(dict.fromkeys(head for job in jobs for head in job[2]))
    weights = np.zeros((len(jobs), len(heads)))
    for row, (_, _, names, alpha, lengths) in zip(weights, jobs, strict=True):
        row[[heads.index(name) for name in names]] = alpha if lengths is None else alpha / lengths
    stacked = np.stack([loaded[head] for head in heads])
    scores = np.tensordot(weights, stacked, axes=1).astype(np.float32)
    right = scores.argmax(axis=2) == truth
    by_mixture = of_mixture.argmax(axis=1) == truth
    for row, result in zip(right, results, strict=True):
        result[test_set] = {
            "num_classes": scores.shape[2], "num_images": len(truth), "num_correct": int(row.sum()),
            "both_correct": int((row & by_mixture).sum()),
        }  # fmt: skip


def _jobs(
    heads: str,
    runs: list[str],
    shares: Mapping[str, float],
    n: int,
    inverse_temperatures: Mapping[str, float],
    own_overlap: Mapping[tuple[str, int], float],
    spreads: dict[str, float],
    logits: Callable[[str, str], np.ndarray],
    labels: Mapping[str, np.ndarray],
    reference: str,
) -> list[_Job]:
    """(mixing, heads, runs, weights, lengths) of the ensembles that can be made of these heads."""
    p = np.array(list(shares.values()))
    jobs: list[_Job] = [("logits", heads, runs, p, None)]
    if all(run in inverse_temperatures for run in runs):
        jobs.append(("embeddings", heads, runs, p, np.array([inverse_temperatures[run] for run in runs])))
    own = [own_overlap.get((source, n), np.nan) for source in shares]
    alpha = p if heads == "each" else input_mixing_weights(p, own)
    if np.isfinite(alpha).all():
        for run in runs:
            if run not in spreads:
                spreads[run] = within_class_spread(logits(run, reference), labels[reference])
        if min(spreads[run] for run in runs) > 0:
            jobs.append(("normalised", heads, runs, alpha, np.array([spreads[run] for run in runs])))
    return jobs


def check_ensembles(ensembles: pd.DataFrame) -> None:
    """Raise DataError unless the table has the columns that `measure_ensembles` writes."""
    for column in ("mixing", "mixture", "both_correct", "heads_n_train", "dprime"):
        if column not in ensembles:
            raise DataError(f"the ensembles table lacks the column {column!r}; measure_ensembles writes it")
