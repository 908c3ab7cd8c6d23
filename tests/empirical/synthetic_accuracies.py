"""Tables of accuracies drawn from a known model, so that fits, predictions and their errors can be checked."""

import numpy as np
import pandas as pd

from theory.links import dprime, dprime_inverse, probit

SHIFTS = ("v2", "sketch")


def accuracies_from_dprime(
    rows: list[dict], num_images: int, num_classes: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Rows with `true_dprime` become counts of correct images, independent between rows, and their links."""
    table = pd.DataFrame(rows)
    accuracy = np.asarray(dprime_inverse(table.pop("true_dprime").to_numpy(float), num_classes))
    table["num_classes"], table["num_images"] = num_classes, num_images
    table["num_correct"] = rng.binomial(num_images, accuracy)
    table["accuracy"] = table["num_correct"] / num_images
    table["accuracy_low"], table["accuracy_high"] = table["accuracy"] - 0.02, table["accuracy"] + 0.02
    table["probit"] = np.asarray(probit(table["accuracy"].to_numpy()))
    table["dprime"] = np.asarray(dprime(table["accuracy"].to_numpy(), num_classes))
    for column, value in (("heads_n_train", ""), ("filter", ""), ("kept_share", np.nan)):
        if column not in table:
            table[column] = value
    return table


def synthetic_study(
    seed: int = 0,
    sizes: tuple[int, ...] = (256, 512, 1024, 2048),
    seeds: tuple[int, ...] = (0, 1),
    sources: tuple[str, ...] = ("stock", "snapshots", "forum"),
    mixtures: tuple[str, ...] = ("stock:0.5+snapshots:0.5", "forum:0.2+stock:0.8"),
    shifts: tuple[str, ...] = SHIFTS,
    scatter: float = 0.05,
    num_images: int = 1500,
    num_classes: int = 20,
    mixture_sizes: tuple[int, ...] | None = None,
) -> pd.DataFrame:
    """Sources on rays d'_shift = ratio d'_ref with d'_ref = strength sqrt(n); mixtures obey the mediant exactly.

    Source s has strength 0.06 + 0.01 s and ratio 0.35 + 0.5 ((s + shift index) mod 3) / 2; d' of every run and test set
    gets independent Gaussian scatter.
    """
    rng = np.random.default_rng(seed)
    sets = ("reference", *shifts)
    strength = {source: 0.06 + 0.01 * i for i, source in enumerate(sources)}

    def mean(source: str, n: int) -> np.ndarray:
        i = sources.index(source)
        ratios = [1.0, *(0.35 + 0.25 * ((i + j) % 3) for j in range(len(shifts)))]
        return strength[source] * np.sqrt(n) * np.asarray(ratios)

    def parts(mixture: str) -> list[tuple[str, float]]:
        return [
            (name, float(share)) for name, _, share in (part.partition(":") for part in mixture.split("+"))
        ]

    rows = []

    def add(kind: str, name: str, n: int, s: int, values: np.ndarray, heads: str = "") -> None:
        values = values + scatter * rng.standard_normal(len(sets))
        rows.extend(
            {"run": f"{kind}-{name}-{n}-{heads}-{s}", "kind": kind, "sources": name, "n_train": n, "seed": s,
             "test_set": t, "true_dprime": v, "heads_n_train": heads}
            for t, v in zip(sets, values, strict=True)
        )  # fmt: skip

    for n in sizes:
        for s in seeds:
            for source in sources:
                add("single", source, n, s, mean(source, n))
    for n in mixture_sizes or sizes[-2:]:
        for s in seeds:
            for mixture in mixtures:
                value = np.sum([share * mean(source, n) for source, share in parts(mixture)], axis=0)
                add("input_mixing", mixture, n, s, value)
                add("output_mixing", mixture, n, s, 1.2 * value, "each")
                add("output_mixing", mixture, n, s, 0.9 * value, "share")
    return accuracies_from_dprime(rows, num_images, num_classes, rng)
