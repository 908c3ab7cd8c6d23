"""Which shards are whole. Use `Settled`, which checks shards as they are finished and remembers those that were whole.

`verified.json` keeps them with the size and time of their files, so that a later start does not read them again; a file
that has changed since is checked again.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from empirical.records import fingerprint, read_json, write_json
from empirical.sources.verify import DamagedShard, ShardCheck, ShardFiles, check_shard, drop_placeholders

_SAVE_SECONDS = 15.0


@dataclass(frozen=True)
class Plan:
    """One shard to be: its files, which pass it belongs to, and the numbers of its rows."""

    files: ShardFiles
    in_pass: int
    rows: np.ndarray


@dataclass
class Progress:
    """What a caller sees while shards come in: shards checked, and of how many; rows they were asked for; images in them."""

    shards: int = 0
    num_shards: int = 0
    rows: int = 0
    fetched: int = 0


class Settled:
    """The planned shards of a download, of which `todo` are not whole yet; `damage` says what is wrong with some of them."""

    def __init__(self, path: Path, plans: Sequence[Plan], placeholders: Collection[str]) -> None:
        self.path = path
        self.plans = plans
        self.placeholders = placeholders
        self.todo = dict(enumerate(plans))
        self.damage: dict[int, str] = {}
        self.progress = Progress(num_shards=len(plans))
        value = read_json(path) if path.exists() else {}
        self._entries: dict[str, dict[str, Any]] = {
            k: v for k, v in dict(value).items() if isinstance(v, dict)
        }
        self._looked_for = fingerprint(sorted(placeholders))
        self._damaged_stamps: dict[int, Any] = {}
        self._saved = time.monotonic()

    def settle(self, allow_lost: bool = False) -> None:
        """Take every whole shard off the list; of the others that claim to be finished, note what is wrong."""
        for i, plan in list(self.todo.items()):
            files = plan.files
            entry = self._entries.get(files.name, {})
            if not entry and not files.stats.exists():
                continue
            stamp = _stamp(files)
            known = entry.get("stamp") == stamp and files.table.exists()
            if not known and self._damaged_stamps.get(i) == [stamp, allow_lost]:
                continue
            try:
                if known:
                    check = ShardCheck(int(entry["fetched"]), int(entry["lost"]))
                else:
                    check = check_shard(files, plan.rows.tolist(), allow_lost=allow_lost)
                if not known or entry.get("placeholders") != self._looked_for:
                    dropped = drop_placeholders(files, self.placeholders)
                    check = ShardCheck(check.fetched - dropped, check.lost)
            except DamagedShard as error:
                self.damage[i], self._damaged_stamps[i] = str(error), [stamp, allow_lost]
                continue
            self._entries[files.name] = {
                "stamp": _stamp(files),
                "fetched": check.fetched,
                "lost": check.lost,
                "placeholders": self._looked_for,
            }
            self.progress.shards += 1
            self.progress.rows += len(plan.rows) if plan.in_pass == 0 else 0
            self.progress.fetched += check.fetched
            del self.todo[i]
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self.save()

    def remove_damaged(self) -> list[str]:
        """Remove what there is of every shard that is not whole; returns their names."""
        return [plan.files.name for plan in self.todo.values() if plan.files.remove()]

    def save(self) -> None:
        """Write verified.json."""
        write_json(self.path, self._entries)
        self._saved = time.monotonic()


def _stamp(files: ShardFiles) -> list[Any]:
    """Size and time of each file, None where there is none."""
    return [
        [path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else None
        for path in (files.tar, files.table, files.stats)
    ]
