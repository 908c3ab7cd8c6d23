"""The six sources of the paper: the format of their metadata and the settings that the paper's own downloads used.

Use `SOURCES[name]`. Another source in one of these formats needs one more entry here.
"""

from dataclasses import dataclass

from empirical.sources import laion, redcaps, tsv, wit
from empirical.sources.metadata import Adapter


@dataclass(frozen=True)
class SourceSpec:
    """One source: its adapter, and the defaults of a download.

    `extra` names the columns of the metadata that go into the shards besides URL and caption, with their type. `shuffle`:
    over all rows before anything is downloaded. `longer_side`: larger images are shrunk to it, never enlarged; None keeps
    images as served. `processes` (None: one per core, at most 16) and `threads` per process bound the number of connections.
    """

    name: str
    layout: str
    suffixes: tuple[str, ...]
    read: Adapter
    extra: tuple[tuple[str, str], ...] = ()
    shuffle: bool = False
    longer_side: int | None = None
    processes: int | None = None
    threads: int = 32
    polite: bool = False
    """Its server throttles parallel downloads and asks for an honest user agent."""


_TSV = (".tsv", ".tsv.gz", ".txt", ".txt.gz")
_HEADERLESS = "headerless TSV: URL in column 0, caption in column 1"

SOURCES: dict[str, SourceSpec] = {
    spec.name: spec
    for spec in (
        SourceSpec("yfcc", f"{_HEADERLESS} (OpenAI's 15M subset)", _TSV, tsv.read_headerless_tsv),
        SourceSpec(
            "laion",
            "parquet with URL, TEXT, NSFW and similarity; kept where NSFW is UNLIKELY",
            (".parquet",),
            laion.read_laion,
            extra=tuple(zip(laion.EXTRA_COLUMNS, ("string", "float64"), strict=True)),
        ),
        SourceSpec("cc12m", _HEADERLESS, _TSV, tsv.read_headerless_tsv),
        SourceSpec(
            "wit",
            "TSV with a header: image_url and caption_reference_description; kept where language is en",
            _TSV,
            wit.read_wit,
            extra=tuple((name, "string") for name in wit.EXTRA_COLUMNS),
            processes=1,
            threads=4,
            polite=True,
        ),
        SourceSpec(
            "redcaps",
            "JSON with annotations[]: url and caption; shuffled over all files",
            (".json", ".json.gz"),
            redcaps.read_redcaps,
            extra=tuple((name, "string") for name in redcaps.EXTRA_COLUMNS),
            shuffle=True,
            longer_side=1000,
        ),
        SourceSpec("shutterstock", _HEADERLESS, _TSV, tsv.read_headerless_tsv),
    )
}
