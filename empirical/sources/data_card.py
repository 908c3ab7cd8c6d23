"""What came of a download, as JSON, as a page to read, and as a picture. Use `write_data_card`.

Every row of the metadata is accounted for: rows read = dropped by reason + usable; asked for = fetched + failed by reason. A
row that was asked for in several passes counts once, with its last outcome.
"""

import importlib.metadata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from empirical.errors import StudyError
from empirical.records import environment, write_json, write_text
from empirical.sources.download import plan_shards
from empirical.sources.reasons import LOST, PLACEHOLDER, reason_of
from empirical.sources.request import Request
from empirical.sources.verify import read_outcomes

FORMAT = 1
_MOST_REPEATED = 10
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Measured:
    """Of every fetched pair: words and characters of the caption, width and height of the image as stored, in pixels."""

    words: np.ndarray
    characters: np.ndarray
    width: np.ndarray
    height: np.ndarray


@dataclass
class _Tally:
    failed: Counter[str] = field(default_factory=Counter)
    placeholders: Counter[str] = field(default_factory=Counter)
    columns: list[list[np.ndarray]] = field(default_factory=lambda: [[], [], [], []])
    hashes: list[np.ndarray] = field(default_factory=list)
    fetched: int = 0
    again: int = 0


def write_data_card(request: Request) -> tuple[dict[str, Any], list[Path]]:
    """Read every shard's table and write data_card.json, .md, .png and .pdf; returns the card and the paths.

    Raises: StudyError when fetched and failed do not add up to what was asked for.
    """
    from empirical.figures.data_card import draw_data_card

    card, measured = summarise(request)
    stem = request.folder / "data_card"
    write_json(stem.with_suffix(".json"), card)
    text = as_markdown(card)
    write_text(stem.with_suffix(".md"), text)
    return card, [stem.with_suffix(".json"), stem.with_suffix(".md"), *draw_data_card(card, measured, stem)]


def summarise(request: Request) -> tuple[dict[str, Any], Measured]:
    """The card, and the measurements behind its distributions."""
    import pyarrow.parquet as pq

    plans = plan_shards(request)
    retried = [
        np.sort(np.concatenate([pq.read_table(request.table / p, columns=["row"])["row"].to_numpy() for p in parts]))
        for parts in request.passes[1:]
    ]  # fmt: skip
    tally, size, shards = _Tally(), 0, 0
    for plan in plans:
        later = retried[plan.in_pass] if plan.in_pass < len(retried) else np.empty(0, np.int64)
        _count(read_outcomes(plan.files.table), later, plan.rows, tally)
        if plan.files.tar.exists():
            shards, size = shards + 1, size + plan.files.tar.stat().st_size
    asked, failed = request.account["asked"], sum(tally.failed.values())
    if asked != tally.fetched + failed:
        raise StudyError(
            f"{request.folder}: {asked} rows asked for, but {tally.fetched} fetched and {failed} failed: repeat the command"
        )
    measured = Measured(*(np.concatenate([np.empty(0, np.int64), *parts]) for parts in tally.columns))
    selection = request.selection
    return {
        "format": FORMAT,
        "source": selection.source,
        "layout": selection.spec.layout,
        "inputs": request.inputs,
        "selection": {
            "url_column": selection.reading.url_column,
            "caption_column": selection.reading.caption_column,
            "nsfw_kept": list(selection.reading.nsfw) if selection.source == "laion" else None,
            "language": selection.reading.language if selection.source == "wit" else None,
            "caption_rules": {**vars(selection.captions), "drop_containing": list(selection.captions.drop_containing)},
            "subset": selection.subset,
            "seed": selection.seed,
            "shuffled": selection.shuffle,
            "longer_side_at_most": selection.longer_side or None,
            "shorter_side_at_most": selection.shorter_side or None,
        },
        "metadata": request.account,
        "download": {
            "asked": asked,
            "fetched": tally.fetched,
            "failed": dict(tally.failed.most_common()),
            "asked_again": tally.again,
            "passes": len(request.passes),
        },
        "placeholders_by_sha256": dict(tally.placeholders.most_common()),
        "duplicates": _duplicates(request, tally),
        "captions": {"words": _spread(measured.words), "characters": _spread(measured.characters)},
        "images": {
            "width": _spread(measured.width),
            "height": _spread(measured.height),
            "shorter_side": _spread(np.minimum(measured.width, measured.height)),
        },
        "shards": {"count": shards, "bytes": size, "samples_per_shard": selection.samples_per_shard},
        "environment": _environment(),
    }, measured  # fmt: skip


def _environment() -> dict[str, Any]:
    """The project's usual one and the packages that fetched and stored the images."""
    value = environment()
    for package in ("img2dataset", "opencv-python-headless", "pillow", "pyarrow"):
        try:
            value["versions"][package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            value["versions"][package] = "not installed"
    return value


def _count(outcomes: Any, later: np.ndarray, rows: np.ndarray, tally: _Tally) -> None:
    """Add one shard; rows that a later pass asked for again are counted there."""
    row = outcomes["row"].to_numpy()
    good = (outcomes["status"] == "success").to_numpy()
    again = np.isin(row, later) & ~good
    tally.again += int(again.sum())
    for message in outcomes["error_message"][~good & ~again]:
        tally.failed[reason_of(message)] += 1
    lost = len(rows) - len(row)
    if lost:
        tally.failed[LOST] += lost
    for sha256 in outcomes["sha256"][(outcomes["error_message"] == PLACEHOLDER).to_numpy() & ~good]:
        tally.placeholders[sha256] += 1
    kept = outcomes[good]
    tally.fetched += len(kept)
    values = (
        [len(caption.split()) for caption in kept["caption"]],
        [len(caption) for caption in kept["caption"]],
        kept["width"],
        kept["height"],
    )
    for parts, value in zip(tally.columns, values, strict=True):
        parts.append(np.array(value, np.int64))
    tally.hashes.append(np.array([int(sha256[:16], 16) for sha256 in kept["sha256"]], np.uint64))


def _duplicates(request: Request, tally: _Tally) -> dict[str, Any]:
    """Images that equal an earlier one byte for byte as served, and the most frequent of them: new placeholders stand out."""
    hashes = np.concatenate([np.empty(0, np.uint64), *tally.hashes])
    values, counts = np.unique(hashes, return_counts=True)
    most = sorted(zip(counts.tolist(), values.tolist(), strict=True), reverse=True)[:_MOST_REPEATED]
    wanted = {f"{value:016x}": count for count, value in most if count > 1}
    examples: dict[str, dict[str, Any]] = {}
    for plan in plan_shards(request):
        if len(examples) == len(wanted):
            break
        outcomes = read_outcomes(plan.files.table, ("status", "sha256", "url"))
        for sha256, url in outcomes.loc[outcomes["status"] == "success", ["sha256", "url"]].itertuples(
            index=False
        ):
            if sha256[:16] in wanted and sha256[:16] not in examples:
                examples[sha256[:16]] = {"sha256": sha256, "count": wanted[sha256[:16]], "url": url}
    return {
        "images": int((counts - 1).sum()),
        "groups": int((counts > 1).sum()),
        "most_frequent": sorted(examples.values(), key=lambda entry: -entry["count"]),
    }


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    quantiles = {f"q{100 * q:02.0f}": float(np.quantile(values, q)) for q in _QUANTILES}
    return {"mean": float(values.mean()), "min": float(values.min()), **quantiles, "max": float(values.max())}


# ---------------------------------------------------------------- to read


def as_markdown(card: dict[str, Any]) -> str:
    """The card as a page."""
    download, metadata, repeats = card["download"], card["metadata"], card["duplicates"]
    asked = max(download["asked"], 1)
    chosen = {k: v for k, v in card["selection"].items() if v not in (None, "", [])}
    rules = chosen.pop("caption_rules")
    lines = [
        f"# {card['source']}: {download['fetched']:,} pairs in {card['shards']['count']:,} shards "
        f"({card['shards']['bytes'] / 1e9:,.2f} GB)",
        "",
        f"Metadata: {card['layout']}.",
        "",
        "![what became of the rows, caption lengths, image sizes](data_card.png)",
        "",
        "## Rows",
        "",
        *_rows(
            ("", "rows", "share"),
            [
                ("read from the metadata", f"{metadata['rows_read']:,}", ""),
                *((f"dropped: {why}", f"{n:,}", _percent(n, metadata["rows_read"])) for why, n in metadata["dropped"].items()),
                ("usable", f"{metadata['usable']:,}", _percent(metadata["usable"], metadata["rows_read"])),
                ("asked for", f"{download['asked']:,}", _percent(download["asked"], metadata["usable"])),
                ("**fetched**", f"**{download['fetched']:,}**", f"**{_percent(download['fetched'], asked)}** of asked"),
                *((f"failed: {why}", f"{n:,}", _percent(n, asked)) for why, n in download["failed"].items()),
            ],
        ),
        "",
        f"{download['asked_again']:,} rows were asked for again after they had failed for a passing reason "
        f"({download['passes']} passes).",
        "",
        "## Distributions of what was fetched",
        "",
        *_rows(
            ("", "mean", "min", *(f"{100 * q:.0f}%" for q in _QUANTILES), "max"),
            [
                (name, *(f"{value:,.0f}" for value in spread.values()))
                for name, spread in (
                    ("words of the caption", card["captions"]["words"]),
                    ("characters of the caption", card["captions"]["characters"]),
                    ("image width, px", card["images"]["width"]),
                    ("image height, px", card["images"]["height"]),
                    ("shorter side, px", card["images"]["shorter_side"]),
                )
                if spread
            ],
        ),
        "",
        "## Repetitions and placeholders",
        "",
        f"{metadata['repeated_urls']:,} usable rows repeat an earlier URL. {repeats['images']:,} fetched images equal an earlier "
        f"one byte for byte ({repeats['groups']:,} groups); nothing is removed for it.",
        "",
    ]  # fmt: skip
    if repeats["most_frequent"]:
        lines += [
            "Most frequent (look at them: `--placeholder SHA256` takes one out, also from these shards):",
            "",
            *_rows(
                ("times", "sha256", "first URL"),
                [
                    (f"{e['count']:,}", f"`{e['sha256']}`", f"`{e['url'][:100]}`")
                    for e in repeats["most_frequent"]
                ],
            ),
            "",
        ]
    if card["placeholders_by_sha256"]:
        lines += [
            "Taken out as placeholders:",
            "",
            *_rows(
                ("times", "sha256"),
                [(f"{n:,}", f"`{sha256}`") for sha256, n in card["placeholders_by_sha256"].items()],
            ),
            "",
        ]
    lines += ["## How it was made", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in chosen.items()]
    lines += [
        "- captions: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in rules.items())
    ]
    lines += [f"- `{e['name']}`, {e['bytes']:,} bytes, sha256 `{e['sha256']}`" for e in card["inputs"]]
    versions = card["environment"]["versions"]
    lines += [f"- versions: {', '.join(f'{name} {version}' for name, version in versions.items())}"]
    if metadata["examples"]:
        lines += ["", "Dropped rows, for example:", ""]
        lines += ["- `" + example.replace("`", "'") + "`" for example in metadata["examples"]]
    return "\n".join(lines) + "\n"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else ""


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = "|".join(["---", *["---:"] * (len(head) - 1)])
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in cells)]
