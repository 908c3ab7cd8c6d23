"""Small metadata files in the six formats."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from empirical.arrays import ReadAccount
from empirical.sources import SOURCES, ReadOptions
from empirical.sources.metadata import RawRow

WIT_COLUMNS = (
    "language", "page_url", "image_url", "page_title", "section_title", "hierarchical_section_title",
    "caption_reference_description", "caption_attribution_description", "caption_alt_text_description", "mime_type",
    "original_height", "original_width", "is_main_image", "attribution_passes_lang_id", "page_changed_recently",
    "context_page_description", "context_section_description",
)  # fmt: skip


def write_headerless(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_bytes(
        "".join(f"{url}\t{caption}\n" for url, caption in pairs).encode("utf-8", "surrogatepass")
    )
    return path


def write_laion(
    path: Path, pairs: Sequence[tuple[str | None, str | None]], nsfw: Sequence[str | None] | None = None
) -> Path:
    table = {
        "SAMPLE_ID": list(range(len(pairs))),
        "URL": [url for url, _ in pairs],
        "TEXT": [caption for _, caption in pairs],
        "NSFW": list(nsfw or ["UNLIKELY"] * len(pairs)),
        "similarity": [0.3 + i / 100 for i in range(len(pairs))],
    }
    pq.write_table(pa.table(table), path)
    return path


def write_redcaps(path: Path, pairs: list[tuple[object, object]]) -> Path:
    annotations = [
        {"url": url, "caption": caption, "subreddit": "pics", "image_id": str(i)}
        for i, (url, caption) in enumerate(pairs)
    ]
    path.write_text(json.dumps({"info": {}, "annotations": annotations}), encoding="utf-8")
    return path


def wit_row(url: str, caption: str, language: str = "en", **fields: str) -> str:
    values = dict.fromkeys(WIT_COLUMNS, "") | {"image_url": url, "caption_reference_description": caption}
    values |= {"language": language, "page_title": "A page", **fields}
    return "\t".join(values[name] for name in WIT_COLUMNS)


def write_wit(path: Path, rows: list[str]) -> Path:
    path.write_bytes("".join(row + "\n" for row in ["\t".join(WIT_COLUMNS), *rows]).encode())
    return path


def read(source: str, path: Path, options: ReadOptions | None = None) -> tuple[list[RawRow], ReadAccount]:
    account = ReadAccount()
    return list(SOURCES[source].read(path, options or ReadOptions(), account)), account


def pairs_of(rows: list[RawRow]) -> list[tuple[object, object]]:
    return [(row.url, row.caption) for row in rows]
