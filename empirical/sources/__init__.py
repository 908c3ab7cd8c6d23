"""The six web sources of the paper: from their published metadata to verified webdataset shards and a data card.

Use `empirical.sources.download.download_source` for all of it, `write_table` for the clean table of URLs and captions alone,
`SOURCES` for what is known of each source.
"""

from empirical.sources.cleaning import CaptionRules, UnusableRow, clean_url
from empirical.sources.metadata import ReadOptions, metadata_files
from empirical.sources.specs import SOURCES, SourceSpec
from empirical.sources.table import TableAccount, write_table

__all__ = [
    "SOURCES",
    "CaptionRules",
    "ReadOptions",
    "SourceSpec",
    "TableAccount",
    "UnusableRow",
    "clean_url",
    "metadata_files",
    "write_table",
]
