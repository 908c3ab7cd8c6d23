"""Training on a stream is training: bit for bit what the resident data give, and checkpoints that hold all of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shard_cases import coloured, image_file, make_source, write_tar
from small_clip import TOKENIZER, same_weights, small_model

from empirical.errors import DataError, StudyError, TrainingError
from empirical.index_building import build_index
from empirical.indexed_reader import read_captions, read_indexed_pairs
from empirical.plan import split_counts
from empirical.process_group import ALONE, World
from empirical.recipe import Recipe
from empirical.shard_index import ShardIndex
from empirical.stream_account import merged_states
from empirical.stream_plan import most_samples
from empirical.stream_trainer import StreamTrainer
from empirical.streams import SampleStream
from empirical.train import training
from empirical.trainer import Trainer
from empirical.training_checkpoint import (
    TrainingCheckpoint,
    continue_training,
    refuse_other_settings,
    setting_differences,
)

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return build_index(make_source(tmp_path_factory.mktemp("source"), "s", 40, 32))


def stream_of(index: ShardIndex, samples: int = 36, **options: Any) -> SampleStream:
    settings: dict[str, Any] = {"image_size": 32, "batch_size": 8, "seed": 3} | options
    return SampleStream.mixture({"s": index}, (("s", 1.0),), samples, **settings)


def trainer_on(
    stream: SampleStream, seed: int = 7, world: World = ALONE, recipe: Recipe = RECIPE
) -> StreamTrainer:
    return StreamTrainer(small_model(), recipe, CPU, stream, TOKENIZER, seed, world=world)


class OrderedTrainer(Trainer):
    """Resident data, taken in a stream's order and shifted as on a stream."""

    like: StreamTrainer

    def start_epoch(self) -> None:
        epoch = self.steps_done // self.steps_per_epoch
        self.order_here = torch.from_numpy(self.like.stream.epoch_order(epoch))
        self.order[: self.steps_per_epoch] = self.order_here
        shifts = [self.like.shifts_of(epoch, step) for step in range(self.steps_per_epoch)]
        self.shifts[: self.steps_per_epoch] = torch.stack(shifts)
        self.counter[0] = 0


def test_a_stream_trains_the_weights_that_resident_data_train(index: ShardIndex) -> None:
    """Only where a batch comes from differs: losses and weights are equal, bit for bit."""
    stream = stream_of(index, workers=2)
    streamed = trainer_on(stream)
    log = continue_training(streamed)
    stream.close()
    pairs = read_indexed_pairs(index, 32, stream.rows)
    resident = OrderedTrainer(small_model(), RECIPE, CPU)
    resident.like = streamed
    resident.load(pairs.images, TOKENIZER(pairs.captions), 0)
    for _ in training(resident):
        pass
    assert torch.equal(streamed.losses, resident.losses)
    assert same_weights(streamed.model, resident.model)
    assert log.loss == resident.mean_losses()
    assert (log.steps, log.samples_seen, streamed.model.training) == (8, 64, False)


def test_shifts_follow_from_seed_epoch_and_step(index: ShardIndex) -> None:
    trainer, other = trainer_on(stream_of(index)), trainer_on(stream_of(index), seed=8)
    drawn = torch.stack([trainer.shifts_of(epoch, step) for epoch in range(40) for step in range(4)])
    assert torch.equal(drawn[5], trainer.shifts_of(1, 1))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], other.shifts_of(0, 0))
    counts = torch.bincount(drawn.flatten(), minlength=5).double()
    assert len(counts) == 5
    expected = drawn.numel() / 5  # chi-squared with 4 degrees of freedom: 23.5 once in 10,000
    assert float(((counts - expected) ** 2 / expected).sum()) < 23.5


def test_each_process_reads_and_shifts_its_own_rows(index: ShardIndex) -> None:
    whole = stream_of(index)
    halves = [stream_of(index, share=World(rank, 2).share(8)) for rank in range(2)]
    (batch, *_), *parts = [list(stream.batches(0)) for stream in (whole, *halves)]
    np.testing.assert_array_equal(batch.images, np.concatenate([part[0].images for part in parts]))
    with pytest.raises(StudyError, match=r"rows 4 to 8 of each batch, this process trains on 0 to 8"):
        trainer_on(halves[1])
    with pytest.raises(StudyError, match="batches of 8, the recipe asks for 16"):
        trainer_on(whole, recipe=Recipe(epochs=1, batch_size=16))
    with pytest.raises(StudyError, match="images are 16 x 16 px"):
        trainer_on(stream_of(index, image_size=16))


def test_a_resumed_training_equals_an_undisturbed_one(index: ShardIndex, tmp_path: Path) -> None:
    """Stopped after every step in turn; the caller's random numbers are left alone."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    undisturbed = trainer_on(stream_of(index))
    log = continue_training(undisturbed)
    checkpoint = TrainingCheckpoint(tmp_path / "checkpoint.pt", {"a": 1})
    resumed, starts, log_again = None, 0, None
    while log_again is None:
        resumed = trainer_on(stream_of(index))
        checkpoint.restore(resumed)
        assert resumed.steps_done == starts
        starts += 1

        def stop(trainer: StreamTrainer = resumed, at: int = starts) -> None:
            if trainer.steps_done > at:
                raise InterruptedError

        try:
            log_again = continue_training(resumed, checkpoint, every=1, on_step=stop)
        except InterruptedError:
            continue
    assert starts == 8
    assert resumed is not None
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same_weights(undisturbed.model, resumed.model)
    assert torch.equal(undisturbed.losses, resumed.losses)
    assert log_again.loss == log.loss
    assert resumed.stream.account() == undisturbed.stream.account()


def test_a_checkpoint_of_other_settings_is_refused_and_says_what_differs(
    index: ShardIndex, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    there = {"seed": 1, "recipe": {"batch_size": 8, "epochs": 2}, "mixture": "s"}
    trainer = trainer_on(stream_of(index))
    TrainingCheckpoint(path, there).save(trainer)
    here = {"seed": 1, "recipe": {"batch_size": 8, "epochs": 3}, "mixture": "s:0.5+t:0.5"}
    with pytest.raises(StudyError) as refused:
        TrainingCheckpoint(path, here).restore(trainer)
    for words in (str(path), "recipe epochs is 2 there and 3 here", "mixture is s there and s:0.5", "--out"):
        assert words in str(refused.value)
    assert "seed" not in str(refused.value)
    assert setting_differences(there, there) == []
    refuse_other_settings(path, there, {"mixture": "s", "seed": 1, "recipe": {"epochs": 2, "batch_size": 8}})
    assert TrainingCheckpoint(path, there).restore(trainer)
    assert not TrainingCheckpoint(tmp_path / "none.pt", there).restore(trainer)
    with pytest.raises(StudyError, match="the checkpoint is that of another model"):
        TrainingCheckpoint(path, there).restore(
            StreamTrainer(small_model(name="modified_resnet"), RECIPE, CPU, stream_of(index), TOKENIZER, 0)
        )


@pytest.mark.parametrize("damage", ["cut", "pickle", "other"])
def test_a_damaged_checkpoint_is_an_error_and_nothing_is_unpickled(
    index: ShardIndex, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    trainer = trainer_on(stream_of(index))
    checkpoint = TrainingCheckpoint(path, {})
    checkpoint.save(trainer)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "pickle":
        torch.save({"format": 1, "settings": "{}", "account": "{}", "code": Path("x")}, path)
    else:
        torch.save({"weights": 1}, path)
    with pytest.raises(DataError, match=r"checkpoint\.pt is not a readable checkpoint .* delete it"):
        checkpoint.restore(trainer)


def test_a_loss_that_is_not_a_number_never_reaches_a_checkpoint(index: ShardIndex, tmp_path: Path) -> None:
    trainer = trainer_on(stream_of(index))
    checkpoint = TrainingCheckpoint(tmp_path / "checkpoint.pt", {})

    def spoil() -> None:
        if trainer.steps_done == 3:
            with torch.no_grad():
                next(trainer.model.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingError, match="weights became NaN or infinite by step 3"):
        continue_training(trainer, checkpoint, every=1, on_step=spoil)
    fresh = trainer_on(stream_of(index))
    assert checkpoint.restore(fresh)
    assert fresh.steps_done == 2
    trainer = trainer_on(stream_of(index))
    with pytest.raises(TrainingError, match="the loss became nan at step 3"):
        continue_training(trainer, TrainingCheckpoint(tmp_path / "late.pt", {}), every=0, on_step=spoil)
    assert not (tmp_path / "late.pt").exists()


def test_accounts_of_several_processes_add_up(tmp_path: Path) -> None:
    """Two halves of every batch, one of them with an unreadable sample: the account of the whole."""
    members = [m for i in range(24) for m in coloured(f"s{i:03d}", i, 32)]
    members[10] = ("s005.png", image_file()[:40])
    index = build_index(str(write_tar(tmp_path / "0.tar", members)))
    whole = stream_of(index, 24)
    halves = [stream_of(index, 24, share=World(rank, 2).share(8)) for rank in range(2)]
    for stream in (whole, *halves):
        for epoch in range(2):
            list(stream.batches(epoch))
    states = [half.state() for half in halves]
    expected = whole.account()
    assert expected["sources"][0]["skipped"]
    whole.restore(merged_states(states))
    assert whole.account() == expected
    # one process carries the sum on, the other begins anew: still the same sum
    fresh = stream_of(index, 24, share=World(0, 2).share(8))
    assert merged_states([merged_states(states), fresh.state()]) == merged_states(states)


@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(1, 60)), min_size=1, max_size=4),
)
def test_the_largest_epoch_fits_and_no_larger_one_does(sources: list[tuple[int, int]]) -> None:
    weights = sum(weight for weight, _ in sources)
    shares = tuple((f"s{i}", weight / weights) for i, (weight, _) in enumerate(sources))
    available = {f"s{i}": count for i, (_, count) in enumerate(sources)}

    def fits(total: int) -> bool:
        try:
            counts = split_counts(shares, total)
        except StudyError:
            return False
        return all(c <= a for c, a in zip(counts, available.values(), strict=True))

    naive = [total for total in range(1, weights * 62) if fits(total)]
    try:
        found = most_samples(shares, available)
    except StudyError:
        assert not naive
        return
    assert found == max(naive)


def test_captions_are_read_without_images(index: ShardIndex, tmp_path: Path) -> None:
    assert read_captions(index, np.array([3, 0])) == ["a photo of s003", "a photo of s000"]
    lone = build_index(str(write_tar(tmp_path / "0.tar", [("a.png", image_file()), ("b.txt", b"words")])))
    assert read_captions(lone, np.arange(2)) == ["words"]
