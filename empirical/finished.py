"""When a run counts as finished: `is_finished` is asked at every start, and by every worker before it begins a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from empirical.errors import StudyError
from empirical.records import load_record

if TYPE_CHECKING:
    from empirical.execution import StudyContext
    from empirical.plan import RunSpec


def is_finished(
    context: "StudyContext",
    spec: "RunSpec",
    record: Mapping[str, Any] | None,
    *,
    record_suffices: bool = False,
) -> bool:
    """Whether `record` is this run's, made with these settings, and all that it speaks of is on disk.

    `record_suffices`: whatever became of its logits and weights.
    Raises `StudyError` for a record of other settings: the folder belongs to another study.
    """
    if record is None:
        return False
    if record.get("fingerprint") != context.run_fingerprint(spec):
        theirs = record.get("settings", {})
        keys = {*context.settings, *theirs}
        changed = sorted(key for key in keys if context.settings.get(key) != theirs.get(key))
        raise StudyError(
            f"{context.record_path(spec.name)} was made with other settings "
            f"({', '.join(changed) or 'other samples'}); choose another --out, or the settings of that study"
        )
    files = [context.logits_path(spec.name, name) for name in context.test_sets]
    if spec.draws:
        files.append(context.weights_path(spec.name))
    return record_suffices or all(path.exists() for path in files)


def finished_record(context: "StudyContext", spec: "RunSpec") -> dict[str, Any] | None:
    """The record of a finished run, or None: a damaged one counts as none."""
    record = load_record(context.record_path(spec.name))
    return record if is_finished(context, spec, record) else None
