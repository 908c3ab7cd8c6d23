"""Training that survives being killed: `continue_training(trainer, TrainingCheckpoint(path, settings), every=N)`.

A checkpoint holds weights, optimizer, place, losses and the stream's account. It is written every N steps and after
each epoch, beside its place and then renamed, and read with weights_only=True. Killed anywhere, the run goes on in
mid-epoch; on a CPU its weights are bit for bit those of an undisturbed run. Asked to stop by a signal, it writes one more
and goes on from exactly there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from empirical.errors import DataError, StudyError, TrainingError
from empirical.interruption import Interrupted, StopSignals
from empirical.model import private_random_stream
from empirical.process_group import ask_all, gather_json
from empirical.records import write_atomically
from empirical.stream_account import merged_states
from empirical.stream_trainer import StreamTrainer
from empirical.train import TrainingLog, training

FORMAT = 1


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The checkpoint file of one run; `settings` (JSON) are what must not change while it is trained."""

    path: Path
    settings: Mapping[str, Any]

    def save(self, trainer: StreamTrainer) -> None:
        """Write the checkpoint, atomically, from the first process; every process calls this at the same step.

        Raises:
            TrainingError: a loss of this epoch, or a weight, is NaN or infinite; the older checkpoint stays.
        """
        # A step of the next epoch may not have been taken yet: look at the last one that has.
        trainer.mean_losses(max(0, trainer.steps_done - 1) // trainer.steps_per_epoch)
        if not all(bool(value.isfinite().all()) for value in trainer.model.parameters()):
            raise TrainingError(
                f"weights became NaN or infinite by step {trainer.steps_done}; lower learning_rate"
            )
        account = merged_states(gather_json(trainer.world, trainer.stream.state()))
        if trainer.world.rank:
            return
        content = {
            "format": FORMAT,
            "settings": json.dumps(dict(self.settings)),
            "account": json.dumps(account),
            **trainer.state(),
        }
        write_atomically(self.path, lambda temporary: torch.save(content, temporary))

    def restore(self, trainer: StreamTrainer) -> bool:
        """Put a fresh trainer where the checkpoint stands; False where there is none.

        Raises:
            DataError: the file cannot be read. StudyError: it belongs to a run of other settings; says which.
        """
        if not self.path.is_file():
            return False
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["format"] != FORMAT:
                raise ValueError(f"not a checkpoint of format {FORMAT}")
            theirs, account = json.loads(content["settings"]), json.loads(content["account"])
        except Exception as error:  # zipfile and the restricted unpickler raise a dozen types
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise DataError(
                f"{self.path} is not a readable checkpoint ({reason}); delete it to train from the start"
            ) from error
        refuse_other_settings(self.path, theirs, self.settings)
        trainer.restore(content)
        # One process carries the account on, the others count from 0: their sum is the whole, however many there are.
        if trainer.world.rank == 0:
            trainer.stream.restore(account)
        return True


def refuse_other_settings(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise StudyError unless what made `path` is what is asked for; names each setting that differs, with both values."""
    differences = setting_differences(theirs, json.loads(json.dumps(dict(ours))))
    if differences:
        raise StudyError(
            f"{path} was made with other settings: {'; '.join(differences)}. Give those settings, or choose another --out"
        )


def setting_differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], within: str = "") -> list[str]:
    """`batch_size is 64 there and 32 here`, for every setting (of every nested group) that differs."""
    found = []
    for name in dict.fromkeys([*theirs, *ours]):
        there, here = theirs.get(name, "not set"), ours.get(name, "not set")
        if there == here:
            continue
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            found += setting_differences(there, here, f"{within}{name} ")
        else:
            found.append(f"{within}{name} is {_short(there)} there and {_short(here)} here")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def continue_training(
    trainer: StreamTrainer,
    checkpoint: TrainingCheckpoint | None = None,
    *,
    every: int = 0,
    on_step: Callable[[], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    stop: StopSignals | None = None,
) -> TrainingLog:
    """Train to the end from where the trainer stands (`checkpoint.restore` it first); leaves it in evaluation mode.

    Args:
        checkpoint: where to save; nowhere if None.
        every: save after so many steps of an epoch (0: after each epoch only).
        on_step: called after each step, before that step's checkpoint is written.
        on_epoch: called as on_epoch(epochs done, that epoch's mean loss).
        stop: signals noted there end the training after the step it is in; in a group, after the first step at whose
            beginning any process had one, so that all of them stop at the same step.

    Raises:
        TrainingError: the loss became NaN or infinite. DataError, StudyError: see `SampleStream.batches`.
        Interrupted: a signal asked for it; what was trained is in the checkpoint.
    """
    with private_random_stream(trainer.seed, trainer.device), stop.noted() if stop else nullcontext():
        loop = training(trainer, on_epoch, pause_every=1)
        told = saved = trainer.steps_done
        try:
            while True:
                # Asked before the step and answered after it, the question costs a group no time of its own.
                answer = ask_all(trainer.world, lambda: stop.asked) if stop else _nobody
                try:
                    next(loop)  # a step, or the end of an epoch
                except StopIteration as end:
                    if stop and (asked := answer()):  # while the last checkpoint was written
                        stop.asked = asked
                        raise Interrupted(asked, _where(trainer, checkpoint)) from None
                    if stop:
                        stop.let_act()
                    return end.value
                asked = answer()
                if on_step is not None and trainer.steps_done > told:
                    on_step()
                told = trainer.steps_done
                step = trainer.place[1]
                due = step == 0 or asked or (every > 0 and step % every == 0)
                if checkpoint is not None and due and trainer.steps_done > saved:
                    checkpoint.save(trainer)
                    saved = trainer.steps_done
                if stop and asked:
                    stop.asked = asked  # it may have reached another process only
                    raise Interrupted(asked, _where(trainer, checkpoint))
        finally:
            trainer.close()


def _nobody() -> int:
    return 0


def _where(trainer: StreamTrainer, checkpoint: TrainingCheckpoint | None) -> str:
    kept = "" if checkpoint is None else f", which {checkpoint.path} holds"
    return f"after step {trainer.steps_done:,} of {trainer.num_steps:,}{kept}"
