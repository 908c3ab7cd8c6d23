"""Download one of the paper's six web sources: from its published metadata to verified webdataset shards and a data card.

SOURCE is one of yfcc, laion, cc12m, wit, redcaps, shutterstock; METADATA are the files that its authors publish, or the folder
that holds them (.gz is read as it is):

    yfcc, cc12m, shutterstock   headerless TSV, URL in column 0, caption in column 1
    laion                       parquet with URL, TEXT, NSFW, similarity; kept where NSFW is UNLIKELY
    wit                         TSV with a header: image_url, caption_reference_description; kept where language is en
    redcaps                     JSON with annotations[]: url, caption; shuffled over all files; longer side at most 1000 px

Defaults are the paper's. Stop it whenever you like: the same command goes on where it stopped. OUT/shards/ can be read while it
grows, since a shard appears when it is whole. Many URLs are dead by now (of CC12M's, 36-40% in 2025-26): --subset N asks for N
rows, and the data card says how many came.

Needs img2dataset: pip install -e ".[download]", with Python 3.11 or 3.12.

Examples:
    python experiments/download_sources.py cc12m cc12m.tsv --out data/cc12m --subset 100000
    python experiments/download_sources.py redcaps annotations/ --out data/redcaps
    python experiments/download_sources.py wit wit_v1.train.all-*.tsv.gz --out data/wit --contact you@lab.org
    python experiments/download_sources.py laion laion/part-*.parquet --out data/laion --shorter-side 256 --table-only
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from empirical.command import Command, print_next, print_written
from empirical.options import Repeated
from empirical.sources.cleaning import CaptionRules
from empirical.sources.http import PLACEHOLDER_URLS
from empirical.work_progress import CountedWork

if TYPE_CHECKING:
    from empirical.sources.download import Progress, Settings
    from empirical.sources.request import Selection

SourceName = Literal["yfcc", "laion", "cc12m", "wit", "redcaps", "shutterstock"]


@dataclass
class Arguments:
    """A web source, from metadata to verified shards."""

    source: tyro.conf.Positional[SourceName]
    """Which of the paper's sources, and so which format and defaults."""
    metadata: tyro.conf.Positional[tuple[Path, ...]]
    """Its metadata: files, or folders of them."""
    out: Path
    """Folder for shards/ and data_card.json, .md, .png. Images kept as served take much room: --shorter-side 256 saves most."""

    subset: int | None = None
    """Ask for this many rows, a uniform sample drawn from --seed (a smaller one is part of a larger one). Default: all."""
    seed: int = 0
    """Seed of the shuffle and the subset."""
    shuffle: bool | None = None
    """Download in a random order over all files. Default: the paper's, for redcaps alone."""
    captions: Annotated[CaptionRules, tyro.conf.arg(name="caption")] = field(default_factory=CaptionRules)
    url_column: str | None = None
    """Column (field) of the URL: a number from 0 for headerless TSV, else a name. Default: the source's."""
    caption_column: str | None = None
    """Column of the caption, for example caption_alt_text_description for wit. Default: the source's."""
    nsfw: tuple[str, ...] = ("UNLIKELY",)
    """laion: ratings that are kept; without a value, all."""
    language: str = "en"
    """wit: language that is kept; '' for all."""

    longer_side: int | None = None
    """Shrink images whose longer side is larger, never enlarge; 0 keeps them as served. Default: 1000 for redcaps, else 0."""
    shorter_side: int | None = None
    """Shrink images whose shorter side is larger, instead."""
    samples_per_shard: int = 1000
    """Rows per shard; those that fail leave it smaller."""
    max_pixels: int = 89_478_485
    """Images of more pixels are not decoded (decompression bombs); readers refuse them too."""
    placeholder: Repeated = ()
    """sha256 of an image that stands for a missing one, besides imgur's; repeat. It is taken out, also from shards that
    are finished: the data card lists the most frequent images."""
    placeholder_url: tuple[str, ...] = PLACEHOLDER_URLS
    """Drop images whose URL, after redirects, holds one of these."""

    processes: int | None = None
    """Processes that download and resize. Default: one per core up to 16; 1 for wit, whose server throttles."""
    threads: int | None = None
    """Connections per process. Default: 32; 4 for wit."""
    timeout: float = 10.0
    """Seconds that a server may be silent."""
    total_timeout: float = 60.0
    """Seconds that a reply may take in all."""
    max_megabytes: int = 64
    """Larger replies are refused."""
    tries: int = 3
    """How often a server that says 429 or 503 is asked in all, each time after its Retry-After."""
    longest_wait: float = 60.0
    """Seconds of Retry-After that are waited for; a longer one ends the attempt."""
    retry_passes: int = 1
    """How often rows that failed for a passing reason (busy, slow or unreachable servers) are asked for again at the end."""
    user_agent: str = ""
    """What servers are told about who asks. Default: img2dataset's (a browser's); for wit this project's name."""
    contact: str = ""
    """Mail or web address that is added to the user agent; Wikimedia asks for one."""
    honour_noai: bool = False
    """Leave out images whose server forbids use for AI (X-Robots-Tag: noai and its kin), counted by reason."""

    table_only: bool = False
    """Only write the clean table of URLs and captions (OUT/table/*.parquet) and say what was dropped; needs no img2dataset."""
    quiet: bool = False
    """Print only warnings and the summary."""

    def selection(self) -> "Selection":
        """Which rows are asked for, and how they are stored."""
        from empirical.sources.metadata import ReadOptions
        from empirical.sources.request import Selection

        return Selection(
            self.source,
            ReadOptions(self.url_column, self.caption_column, self.nsfw, self.language),
            self.captions,
            self.subset,
            self.seed,
            self.shuffle,
            self.longer_side,
            self.shorter_side,
            self.samples_per_shard,
        )

    def settings(self) -> "Settings":
        """How they are downloaded."""
        from empirical.sources.download import IMGUR_REMOVED, Settings
        from empirical.sources.http import HttpRules, user_agent
        from empirical.sources.specs import SOURCES

        rules = HttpRules(
            self.timeout,
            self.total_timeout,
            self.tries,
            self.longest_wait,
            self.max_megabytes << 20,
            self.placeholder_url,
            user_agent(self.user_agent, self.contact, honest=SOURCES[self.source].polite),
        )
        return Settings(
            rules,
            self.processes,
            self.threads,
            self.max_pixels,
            self.honour_noai,
            self.retry_passes,
            (IMGUR_REMOVED, *self.placeholder),
        )


def run(arguments: Arguments) -> int:
    """Download, write the card, print the summary; returns the exit status: 1 when nothing could be fetched."""
    from empirical.next_commands import command, own_data
    from empirical.sources.data_card import write_data_card
    from empirical.sources.download import download_source, index_shards
    from empirical.sources.specs import SOURCES

    if SOURCES[arguments.source].polite and not (arguments.contact or arguments.user_agent):
        print(
            f"warning: the server of {arguments.source} asks for a contact in the user agent: add --contact you@lab.org",
            file=sys.stderr,
        )
    shown = CountedWork(
        None, unit="shards", first="reading the metadata", quiet=arguments.quiet, seconds_between_lines=30.0
    )

    def tell(progress: "Progress") -> None:
        text = f"{progress.fetched:,} pairs of {progress.rows:,} rows"
        shown.report(text, progress.shards, progress.num_shards)

    with shown:
        request = download_source(
            arguments.metadata,
            arguments.out,
            arguments.selection(),
            arguments.settings(),
            say=shown.say,
            tell=tell,
            rows_read=lambda rows: shown.report(f"{rows:,} rows of metadata read"),
            table_only=arguments.table_only,
        )
    if arguments.table_only:
        print(f"{request.account['asked']:,} rows in {request.table}")
        kept = [word for word in sys.argv[1:] if word not in ("--table-only", "--no-table-only")]
        print_next(command("download_sources", *kept), "downloads the images")
        return 0
    shown.say("summing up")
    card, written = write_data_card(request)
    index = index_shards(request)
    download = card["download"]
    print(
        f"{download['fetched']:,} of {download['asked']:,} pairs fetched, in {card['shards']['count']:,} shards"
    )
    for reason, count in list(download["failed"].items())[:8]:
        print(f"  {count:>10,} x {reason}")
    if len(download["failed"]) > 8:
        print(f"  ... and {len(download['failed']) - 8} other reasons")
    print_written((arguments.out / "shards", *([index] if index else []), *written))
    if not download["fetched"]:
        print(
            "error: nothing could be fetched: is the network (or a proxy in https_proxy) set up?",
            file=sys.stderr,
        )
        return 1
    sources = {arguments.source: arguments.out / "shards", "OTHER": "SHARDS"}
    print_next(command("clip_mixtures", *own_data(sources, {"imagenet": "PATH", "sketch": "PATH"})))
    return 0


main = Command(
    Arguments,
    run,
    __doc__,
    stopped=lambda arguments: f"what is finished is in {arguments.out}, the same command goes on with it",
)

if __name__ == "__main__":
    main.exit()
