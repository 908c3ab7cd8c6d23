"""CLIP scores of all samples of indexed shards, and filtered indexes made of them: `score_index`, `filter_index`.

Scores are kept shard by shard, so that a scoring that was stopped goes on where it was. Nothing is copied: a filtered
index names the samples of the same shards.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32

from empirical.arrays import ReadAccount
from empirical.checkpoints import side_of
from empirical.errors import DataError, StudyError
from empirical.filtering import clip_scores, keep_share, keep_threshold
from empirical.indexed_reader import decode_batch
from empirical.model_inputs import ClipModel
from empirical.read_ahead import ahead
from empirical.records import fingerprint, write_atomically
from empirical.shard_index import ShardIndex
from empirical.tables import write_table
from empirical.tokenizer import Tokenizer

COLUMNS = ("row", "shard", "key", "score", "skipped")
Format = Literal["auto", "parquet", "csv"]
_BATCHES_AHEAD = 2  # per worker


def score_index(
    index: ShardIndex,
    model: ClipModel,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    model_name: str,
    device: str = "cpu",
    batch_size: int = 64,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Cosine (float32) of image and caption of every sample, COLUMNS in the order of the index's rows.

    Args: finished shards are kept in `folder` under a name made of the shard's sha256 and `model_name`, which must tell
    models apart (the sha256 of the weights' file, and their config where it is named apart); workers decode ahead; progress is
    called with rows done and of all.
    A sample that cannot be read has no score (NaN) and its reason in `skipped`.
    Raises: DataError when a shard is gone, the index is damaged, or a score is not a number.
    """
    image_size = side_of(model)
    shard_of = np.asarray(index.samples["shard"])
    tables, done = [], 0
    with ThreadPoolExecutor(max(1, workers), "decode") as pool:
        for number, shard in enumerate(index.shards):
            rows = np.flatnonzero(shard_of == number)
            keys = [index.key(row) for row in rows.tolist()]
            name = fingerprint([shard.sha256, model_name, image_size, keys])
            table = _load_part(folder / f"{name}.csv", keys)
            if table is None:
                batches = np.array_split(rows, max(1, -(-len(rows) // batch_size)))
                located = ([index.locate(row) for row in part.tolist()] for part in batches)
                decoded = ahead(
                    pool, lambda part: decode_batch(part, image_size), located, _BATCHES_AHEAD * workers
                )
                parts = [_score(*batch, model, tokenizer, device, batch_size) for batch in decoded]
                table = pd.DataFrame(
                    {
                        "key": keys,
                        "score": np.concatenate([scores for scores, _ in parts]),
                        "skipped": [reason for _, reasons in parts for reason in reasons],
                    }
                )
                wrong = table.index[table["score"].isna() & (table["skipped"] == "")]
                if len(wrong):
                    raise DataError(
                        f"{shard.path}: the score of {keys[wrong[0]]} is not a number: the model has diverged"
                    )
                write_table(table, folder / f"{name}.csv")
            done += len(rows)
            if progress is not None:
                progress(done, len(index))
            tables.append(table.assign(row=rows, shard=shard.path))
    joined = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    return joined.sort_values("row", kind="stable", ignore_index=True)


def _load_part(path: Path, keys: list[str]) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        types: dict[str, Any] = {"key": str, "score": np.float32, "skipped": str}
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"score": [""]})
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError):
        return None  # damaged: scored again
    return (
        table
        if list(table.columns) == ["key", "score", "skipped"] and table["key"].tolist() == keys
        else None
    )


def _score(
    images: np.ndarray,
    captions: list[str],
    failures: list[tuple[int, str]],
    model: ClipModel,
    tokenizer: Tokenizer,
    device: str,
    batch_size: int,
) -> tuple[Float32[np.ndarray, " n"], list[str]]:
    scores, reasons = np.full(len(images), np.nan, np.float32), [""] * len(images)
    for at, reason in failures:
        reasons[at] = reason
    read = [at for at, reason in enumerate(reasons) if not reason]
    if read:
        tokens = tokenizer([captions[at] for at in read])
        scores[read] = clip_scores(model, torch.from_numpy(images[read]), tokens, device, batch_size)
    return scores, reasons


def filter_index(
    index: ShardIndex,
    scores: pd.DataFrame,
    *,
    share: float | None = None,
    threshold: float | None = None,
    note: str = "",
) -> ShardIndex:
    """The index of the samples with the highest scores: a share of those that have one, or all from a threshold on.

    Raises: StudyError unless one of share and threshold is given, or when nothing is kept; DataError without any score.
    """
    if (share is None) == (threshold is None):
        raise StudyError("give either a share to keep or a threshold")
    scored = scores[scores["skipped"] == ""]
    if not len(scored):
        raise DataError(f"no sample has a score: {summarise_skipped(scores)}")
    values = scored["score"].to_numpy(float)
    kept = keep_share(values, share) if share is not None else keep_threshold(values, float(threshold or 0.0))
    if not len(kept):
        raise StudyError(f"no sample reaches {threshold}; the largest score is {values.max():.4f}")
    rule: dict[str, Any] = {"share": share} if share is not None else {"threshold": threshold}
    told = {
        "filtered_by": note,
        **rule,
        "kept": len(kept),
        "scored": len(scored),
        "lowest_score": float(values[kept].min()),
    }
    return index.subset(scored["row"].to_numpy(np.int64)[kept], told)


def summarise_skipped(scores: pd.DataFrame) -> str:
    """How many samples were scored and skipped, and why."""
    account = ReadAccount(samples_read=int((scores["skipped"] == "").sum()))
    for reason, group in scores[scores["skipped"] != ""].groupby("skipped", sort=False):
        account.skip(str(reason), f"{group['shard'].iloc[0]}: {group['key'].iloc[0]}", len(group))
    return account.summary()


def write_scores(scores: pd.DataFrame, folder: Path, form: Format = "auto") -> Path:
    """Write scores.parquet, or scores.csv where pyarrow is not installed (`auto`); returns the path.

    Raises: StudyError for parquet without pyarrow.
    """
    has_parquet = importlib.util.find_spec("pyarrow") is not None
    if form == "parquet" and not has_parquet:
        raise StudyError('parquet needs pyarrow: pip install ".[download]", or write csv')
    if form == "csv" or not has_parquet:
        write_table(scores, folder / "scores.csv")
        return folder / "scores.csv"
    write_atomically(folder / "scores.parquet", lambda path: scores.to_parquet(path, index=False))
    return folder / "scores.parquet"
