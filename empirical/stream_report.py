"""Tables of a training from a stream: what was asked and seen of each source, what was skipped, and the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from empirical.recipe import Recipe, learning_rate

ACCOUNT_COLUMNS = (
    "source", "requested", "drawn", "realised", "samples", "distinct", "seen", "repeats", "replaced", "skipped",
    "skipped_in_index", "reasons",
)  # fmt: skip


def account_table(account: Mapping[str, Any]) -> pd.DataFrame:
    """One row per source of `SampleStream.account()`.

    requested, drawn (of an epoch's whole samples) and realised (of the samples seen) are shares; samples and distinct count an
    epoch's, seen, repeats and replaced those of all epochs; skipped and skipped_in_index count samples that could not be
    read in training and when the shards were indexed, and reasons names both, as `count x reason`.
    """
    rows = []
    for source in account["sources"]:
        reasons = Counter(source["skipped"]) + Counter(source["skipped_in_index"])
        rows.append(
            {name: source[name] for name in ACCOUNT_COLUMNS[:9]}
            | {name: sum(source[name].values()) for name in ("skipped", "skipped_in_index")}
            | {"reasons": "; ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items()))}
        )
    return pd.DataFrame(rows, columns=list(ACCOUNT_COLUMNS))


def describe_account(table: pd.DataFrame) -> str:
    """The account in words, one line per source."""
    lines = []
    for _, row in table.iterrows():
        line = (
            f"{row['source']}: share {row['realised']:.4f} (asked {row['requested']:.4f}), {row['seen']:,} samples seen, "
            f"{row['distinct']:,} different ones in an epoch, {row['repeats']:,} repeats within epochs"
        )
        if row["reasons"]:
            line += f"; skipped: {row['reasons']} ({row['replaced']:,} samples stood in)"
        lines.append(line)
    return "\n".join(lines)


def loss_table(losses: Sequence[float], steps_per_epoch: int, recipe: Recipe) -> pd.DataFrame:
    """One row per step: step and epoch from 1, learning rate, contrastive loss of the global batch (nats)."""
    steps = range(len(losses))
    return pd.DataFrame(
        {
            "step": [step + 1 for step in steps],
            "epoch": [step // steps_per_epoch + 1 for step in steps],
            "learning_rate": [learning_rate(step, recipe.epochs * steps_per_epoch, recipe) for step in steps],
            "loss": list(losses),
        }
    )
