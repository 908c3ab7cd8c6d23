"""A study of the linear K-class world: prototype classifiers, really sampled, with logits on sampled test sets.

Everything that the analysis measures has a closed form here. Features come in two blocks that carry the same K orthogonal class
directions; a source is (weight of block 1, weight of block 2), and so is a test set.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from empirical.plan import split_counts
from empirical.prediction import mixture_shares
from empirical.tables import accuracies_table

NUM_CLASSES = 6
WIDTH = 150
TEST_SETS = {"reference": (1.0, 1.0), "even": (1.1, 0.8), "odd": (0.8, 1.2)}
SOURCES = {"first": (2.4, 0.7), "second": (0.7, 2.4), "third": (1.77, 1.77)}  # of equal length


@dataclass
class LinearStudy:
    accuracies: pd.DataFrame
    logits: dict[tuple[str, str], np.ndarray]
    labels: dict[str, np.ndarray]
    temperatures: dict[str, float]
    classifiers: dict[str, np.ndarray] = field(default_factory=dict)

    def load(self, run: str, test_set: str) -> np.ndarray:
        return self.logits[run, test_set]


def prototypes(weights: tuple[float, float]) -> np.ndarray:
    """Class means (K, 2 WIDTH) of a source or test set."""
    directions = np.eye(NUM_CLASSES, WIDTH)
    return np.concatenate([weights[0] * directions, weights[1] * directions], axis=1)


def true_overlap(a: str, b: str) -> float:
    return float(np.dot(SOURCES[a], SOURCES[b]))


def noise(n: int) -> float:
    """T / n in the units of `true_overlap`: per feature variance K / n of a prototype, over all features."""
    return NUM_CLASSES * 2 * WIDTH / n


def linear_study(
    seed: int = 0,
    sizes: tuple[int, ...] = (256, 512),
    seeds: tuple[int, ...] = (0, 1, 2),
    mixtures: tuple[str, ...] = ("first:0.5+second:0.5",),
    sources: tuple[str, ...] = tuple(SOURCES),
    num_images: int = 1500,
) -> LinearStudy:
    rng = np.random.default_rng(seed)
    labels = {name: np.arange(num_images) % NUM_CLASSES for name in TEST_SETS}
    images = {
        name: prototypes(weights)[labels[name]] + rng.standard_normal((num_images, 2 * WIDTH))
        for name, weights in TEST_SETS.items()
    }
    records, logits, temperatures, classifiers = [], {}, {}, {}

    def add(kind: str, name: str, n: int, s: int, mean: np.ndarray) -> None:
        run = f"{kind}-{name.replace(':', '_')}-n{n}-seed{s}"
        if run in classifiers:
            return
        w = mean + np.sqrt(NUM_CLASSES / n) * rng.standard_normal(mean.shape)
        classifiers[run] = w
        temperatures[run] = float(rng.uniform(5, 20))
        results = {}
        for t, x in images.items():
            logits[run, t] = (temperatures[run] * x @ w.T).astype(np.float32)
            correct = int((logits[run, t].argmax(axis=1) == labels[t]).sum())
            results[t] = {"num_classes": NUM_CLASSES, "num_images": num_images, "num_correct": correct}
        records.append(
            {"run": run, "kind": kind, "sources": name, "n_train": n, "seed": s, "heads_n_train": "", "filter": "",
             "kept_share": 1.0, "results": results}
        )  # fmt: skip

    for s in seeds:
        for n in sizes:
            for source in sources:
                add("single", source, n, s, prototypes(SOURCES[source]))
        for mixture in mixtures:
            shares = mixture_shares(mixture)
            mean = np.sum([p * prototypes(SOURCES[name]) for name, p in shares.items()], axis=0)
            add("input_mixing", mixture, sizes[-1], s, mean)
            for name, count in zip(shares, split_counts(tuple(shares.items()), sizes[-1]), strict=True):
                add("single", name, count, s, prototypes(SOURCES[name]))
    return LinearStudy(accuracies_table(records), logits, labels, temperatures, classifiers)
