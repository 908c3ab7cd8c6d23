"""What a folder was asked to hold, kept as `request.json` so that the same command goes on where it stopped.

Use `open_request`: it writes the clean table for a new folder, and finds it again for an old one.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from empirical.errors import StudyError
from empirical.records import read_json, write_json
from empirical.sources.cleaning import CaptionRules
from empirical.sources.metadata import ReadOptions, metadata_files
from empirical.sources.specs import SOURCES, SourceSpec
from empirical.sources.table import write_table

FORMAT = 1


@dataclass(frozen=True)
class Selection:
    """Which rows of which metadata are asked for, and how they are stored: another selection needs another folder.

    None stands for the source's default. `longer_side` and `shorter_side` shrink larger images to that many pixels and never
    enlarge; 0 keeps them as served.
    """

    source: str
    reading: ReadOptions = field(default_factory=ReadOptions)
    captions: CaptionRules = field(default_factory=CaptionRules)
    subset: int | None = None
    seed: int = 0
    shuffle: bool | None = None
    longer_side: int | None = None
    shorter_side: int | None = None
    samples_per_shard: int = 1000

    @property
    def spec(self) -> SourceSpec:
        """What is known of the source; raises StudyError for an unknown one."""
        if self.source not in SOURCES:
            raise StudyError(f"there is no source {self.source!r}; there are {', '.join(SOURCES)}")
        return SOURCES[self.source]

    def resolved(self) -> "Selection":
        """With the source's defaults in place of None; raises StudyError for settings that contradict each other."""
        if self.longer_side and self.shorter_side:
            raise StudyError("--longer-side and --shorter-side contradict each other: give one of them")
        if self.samples_per_shard < 1 or self.samples_per_shard > 100_000:
            raise StudyError(f"--samples-per-shard {self.samples_per_shard}: 1 to 100,000")
        if min(self.longer_side or 0, self.shorter_side or 0) < 0:
            raise StudyError("--longer-side and --shorter-side are numbers of pixels")
        longer = self.longer_side
        if longer is None:
            longer = 0 if self.shorter_side else (self.spec.longer_side or 0)
        shuffle = self.spec.shuffle if self.shuffle is None else self.shuffle
        return replace(self, longer_side=longer, shorter_side=self.shorter_side or 0, shuffle=shuffle)


@dataclass
class Request:
    """An opened request: the selection, the account of its table, and the parts of the table in the order of download.

    `passes` lists the parts' names: the first pass asks for every row, each later one again for what failed for a passing
    reason.
    """

    folder: Path
    selection: Selection
    inputs: list[dict[str, Any]]
    account: dict[str, Any]
    passes: list[list[str]]

    @property
    def table(self) -> Path:
        """Folder of the table's parts."""
        return self.folder / "table"

    def parts(self) -> list[tuple[int, Path]]:
        """(pass, part) in the order of download."""
        return [(i, self.table / name) for i, names in enumerate(self.passes) for name in names]

    def save(self) -> None:
        """Write request.json."""
        value = {
            "format": FORMAT,
            "wanted": _wanted(self.selection, self.inputs),
            "inputs": self.inputs,
            "account": self.account,
            "passes": self.passes,
        }
        write_json(self.folder / "request.json", value)


def _wanted(selection: Selection, inputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    value = asdict(selection)
    value["inputs"] = [[entry["name"], entry["bytes"]] for entry in inputs]
    return _plain(value)


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def open_request(
    folder: Path,
    selection: Selection,
    metadata: Sequence[str | Path],
    progress: Callable[[int], None] = lambda rows: None,
) -> Request:
    """The request of `folder`: its own if it asks for the same, else a new one whose table is written now.

    Raises: StudyError when the folder holds another request, DataError when the metadata cannot be used.
    """
    selection = selection.resolved()
    files = metadata_files(metadata, selection.spec.suffixes)
    inputs: list[dict[str, Any]] = [{"name": path.name, "bytes": path.stat().st_size} for path in files]
    wanted, path = _wanted(selection, inputs), folder / "request.json"
    if path.exists():
        value = read_json(path)
        parts = {"wanted": dict, "inputs": list, "account": dict, "passes": list}
        if (
            not isinstance(value, dict)
            or value.get("format") != FORMAT
            or not all(isinstance(value.get(name), kind) for name, kind in parts.items())
        ):
            raise StudyError(f"{path}: not a request of format {FORMAT}; choose another --out")
        if value["wanted"] != wanted:
            other = [key for key in wanted if wanted[key] != value["wanted"].get(key)]
            raise StudyError(
                f"{folder} holds another request (different: {', '.join(other)}); repeat that command to go on with it, or "
                "choose another --out"
            )
        request = Request(folder, selection, value["inputs"], value["account"], value["passes"])
        for part in set(request.table.glob("*.parquet")) - {part for _, part in request.parts()}:
            part.unlink()  # of a pass that was about to begin
        return request
    if (folder / "shards").exists() and any((folder / "shards").iterdir()):
        raise StudyError(
            f"{folder}/shards is not empty and has no request.json beside it; choose another --out"
        )
    for entry, file in zip(inputs, files, strict=True):
        entry["sha256"] = _sha256(file)
    request = Request(folder, selection, inputs, {}, [[]])
    if request.table.exists():  # written, but killed before request.json was
        for part in request.table.iterdir():
            part.unlink()
        request.table.rmdir()
    parts, account = write_table(
        selection.spec,
        files,
        request.table,
        options=selection.reading,
        rules=selection.captions,
        shuffle=selection.shuffle,
        subset=selection.subset,
        seed=selection.seed,
        samples_per_shard=selection.samples_per_shard,
        progress=progress,
    )
    request.passes = [[part.name for part in parts]]
    request.account = {
        "rows_read": account.rows_read,
        "dropped": dict(sorted(account.reading.skipped.items(), key=lambda item: -item[1])),
        "examples": list(account.reading.examples),
        "usable": account.clean,
        "asked": account.asked,
        "repeated_urls": account.repeated_urls,
    }
    request.save()
    return request


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
