"""What a stream was asked for and what it delivered, source by source; use `StreamAccount`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from empirical.errors import StudyError
from empirical.shard_index import Location

_NUM_EXAMPLES = 5  # per source


@dataclass
class SourceAccount:
    """One source: its share as asked, its samples per epoch and how many of them are different ones; what was seen.

    `seen` counts delivered samples; `repeats` those of them that were a further draw of one sample, `replaced` those
    that stood in for a sample that could not be read (`unreadable`: row -> reason).
    """

    source: str
    requested: float
    samples: int
    distinct: int
    skipped_in_index: dict[str, int]
    seen: int = 0
    repeats: int = 0
    replaced: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


class StreamAccount:
    """Counts what a stream delivers; `summary` for records, `state` and `restore` for checkpoints."""

    def __init__(self, sources: Sequence[SourceAccount]) -> None:
        self.sources = list(sources)

    def delivered(self, seen: Sequence[int], repeats: Sequence[int]) -> None:
        """Count one batch: samples and repeated samples by source."""
        for source, count, again in zip(self.sources, seen, repeats, strict=True):
            source.seen += count
            source.repeats += again

    def unreadable(self, number: int, row: int, reason: str, location: Location) -> None:
        """Count a sample that cannot be read, once however often it is met."""
        source = self.sources[number]
        if row not in source.unreadable:
            source.unreadable[row] = reason
            if len(source.examples) < _NUM_EXAMPLES:
                source.examples.append(f"{reason}: {location.path}: {location.key}")

    def replaced(self, number: int) -> None:
        """Count a sample that stood in for an unreadable one."""
        self.sources[number].replaced += 1

    def summary(self) -> dict[str, Any]:
        """Per source: share requested, drawn (of an epoch's samples) and realised (of those seen, None before any);
        samples per epoch, distinct ones among them, seen, repeats, replaced; skipped samples by reason, when the index
        was built and since; examples."""
        total, seen = sum(s.samples for s in self.sources), sum(s.seen for s in self.sources)
        return {
            "samples_seen": seen,
            "sources": [
                {
                    "source": s.source,
                    "requested": s.requested,
                    "drawn": s.samples / total,
                    "realised": s.seen / seen if seen else None,
                    "samples": s.samples,
                    "distinct": s.distinct,
                    "seen": s.seen,
                    "repeats": s.repeats,
                    "replaced": s.replaced,
                    "skipped": dict(Counter(s.unreadable.values())),
                    "skipped_in_index": s.skipped_in_index,
                    "examples": list(s.examples),
                }
                for s in self.sources
            ],
        }

    def state(self) -> dict[str, Any]:
        """Everything counted so far, as JSON values."""
        return {
            s.source: {
                "samples": s.samples,
                "seen": s.seen,
                "repeats": s.repeats,
                "replaced": s.replaced,
                "unreadable": [[row, reason] for row, reason in s.unreadable.items()],
                "examples": list(s.examples),
            }
            for s in self.sources
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`. Raises: StudyError when it is that of other sources or sizes."""
        expected = {s.source: s.samples for s in self.sources}
        if {source: counts["samples"] for source, counts in state.items()} != expected:
            raise StudyError(f"the checkpoint's stream is not this one, which has {expected}")
        for s in self.sources:
            counts = state[s.source]
            s.seen, s.repeats, s.replaced = counts["seen"], counts["repeats"], counts["replaced"]
            s.unreadable = dict(counts["unreadable"])
            s.examples = list(counts["examples"])


def merged_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of one account that counted what several processes' accounts counted."""
    merged: dict[str, Any] = {}
    for source, first in states[0].items():
        parts = [state[source] for state in states]
        unreadable = {row: reason for part in parts for row, reason in part["unreadable"]}
        examples = dict.fromkeys(example for part in parts for example in part["examples"])
        merged[source] = {
            "samples": first["samples"],
            **{name: sum(part[name] for part in parts) for name in ("seen", "repeats", "replaced")},
            "unreadable": [[row, reason] for row, reason in unreadable.items()],
            "examples": list(examples)[:_NUM_EXAMPLES],
        }
    return merged
