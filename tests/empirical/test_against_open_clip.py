"""Our trainer and open_clip's own, held against each other step by step and from shards to weights."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_clip import TOKENIZER, random_pairs

from empirical.benchmarks.evaluation_comparison import compare_evaluators, write_test_sets
from empirical.benchmarks.evaluation_task import EvaluationTask
from empirical.benchmarks.fresh_process import PeerEnvironment
from empirical.benchmarks.made_up_shards import write_rendered
from empirical.benchmarks.open_clip_driver import options
from empirical.benchmarks.training_comparison import compare_trainers, make_task, run_ours
from empirical.benchmarks.training_task import TrainingTask
from empirical.model import build_model, load_config, load_model
from empirical.recipe import Recipe
from empirical.shards import read_pairs
from empirical.tokenizer import from_json
from empirical.train import train
from empirical.trainer import Trainer

BATCH, SAMPLES, EPOCHS = 16, 96, 3


def small_task() -> TrainingTask:
    return TrainingTask(
        config="conv_tower.json", tokenizer=TOKENIZER.to_json(), shards="none.tar", num_samples=SAMPLES, image_size=32,
        epochs=EPOCHS, batch_size=BATCH, warmup=4,
    )  # fmt: skip


def test_open_clips_trainer_takes_the_same_steps(tmp_path: Path) -> None:
    """Given our batches, open_clip's epoch with our command line's options follows our losses and ends at our weights."""
    from open_clip import ClipLoss
    from open_clip_train.params import parse_args
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    task = small_task()
    images, tokens = random_pairs(SAMPLES, 0)
    steps = SAMPLES // BATCH
    recipe = Recipe(
        epochs=EPOCHS, batch_size=BATCH, warmup_fraction=task.warmup / (EPOCHS * steps), max_shift=0
    )
    ours = build_model(load_config("conv_tower"), TOKENIZER, 5)
    trainer = Trainer(ours, recipe, torch.device("cpu"))
    trainer.load(images, tokens, seed=2)
    ours.train()
    orders = []
    for _ in range(EPOCHS):
        trainer.start_epoch()
        orders.append(trainer.order_here.clone())
        for _ in range(steps):
            trainer.step()

    arguments = parse_args(options(task, tmp_path))
    for name, value in {
        "distill": False,
        "wandb": False,
        "rank": 0,
        "local_rank": 0,
        "world_size": 1,
    }.items():
        setattr(arguments, name, value)
    theirs = build_model(load_config("conv_tower"), TOKENIZER, 5)
    theirs.output_dict = True
    named = list(theirs.named_parameters())
    without_decay = [
        p for n, p in named if p.ndim < 2 or any(s in n for s in ("bn", "ln", "bias", "logit_scale"))
    ]
    with_decay = [p for n, p in named if not any(p is other for other in without_decay)]
    optimizer = torch.optim.AdamW(
        [{"params": without_decay, "weight_decay": 0.0}, {"params": with_decay, "weight_decay": arguments.wd}],
        lr=arguments.lr, betas=(arguments.beta1, arguments.beta2), eps=arguments.eps,
    )  # fmt: skip
    schedule = cosine_lr(optimizer, arguments.lr, arguments.warmup, EPOCHS * steps)
    pixels = (torch.from_numpy(images).float() / 255 - 0.5) / 0.25
    losses, plain = [], ClipLoss()

    def kept(**named):
        found = plain(**named)
        losses.append(float(found["contrastive_loss"].detach()))
        return found

    for epoch, order in enumerate(orders):

        class Batches(list):
            num_batches, num_samples = steps, SAMPLES

        batches = Batches((pixels[rows], tokens[rows]) for rows in order)
        data = {"train": SimpleNamespace(dataloader=batches, set_epoch=lambda epoch: None)}
        train_one_epoch(theirs, data, kept, epoch, optimizer, None, schedule, None, arguments)

    np.testing.assert_allclose(trainer.losses.numpy(), losses, rtol=2e-5)
    assert losses[-1] < losses[0] - 0.1  # they have gone somewhere
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4, msg=name)


def test_the_command_line_asks_for_the_task(tmp_path: Path) -> None:
    from open_clip_train.params import parse_args

    given = parse_args(options(replace(small_task(), bfloat16=True, workers=3, seed=7), tmp_path))
    assert (given.lr, given.wd, given.beta1, given.beta2, given.eps) == (1e-3, 0.1, 0.9, 0.98, 1e-8)
    assert (given.epochs, given.batch_size, given.warmup, given.train_num_samples) == (
        EPOCHS,
        BATCH,
        4,
        SAMPLES,
    )
    assert (given.precision, given.workers, given.seed, given.grad_clip_norm) == ("amp_bf16", 3, 7, 1.0)
    assert given.aug_cfg == {"scale": (1.0, 1.0)}
    assert (given.image_mean, given.image_std) == ([0.5] * 3, [0.25] * 3)


def test_a_crop_at_scale_one_is_the_whole_image() -> None:
    """What the driver says of the peer's augmentation."""
    from open_clip.transform import image_transform
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    transform: Any = image_transform(32, True, (0.5,) * 3, (0.25,) * 3, aug_cfg={"scale": (1.0, 1.0)})
    whole = torch.from_numpy((pixels / 255 - 0.5) / 0.25).permute(2, 0, 1).float()
    for _ in range(20):
        torch.testing.assert_close(transform(Image.fromarray(pixels)), whole)


def test_our_driver_trains_as_train_does(tmp_path: Path) -> None:
    pattern = write_rendered(tmp_path / "shards", 128, 2)
    task = make_task(tmp_path, "conv_tower", "world", pattern, 128, epochs=2, seed=3)
    outcome = run_ours(task, tmp_path / "ours")
    pairs, tokenizer = read_pairs(pattern, 32), from_json(task.tokenizer)
    model = build_model(load_config(task.config), tokenizer, 3)
    recipe = Recipe(epochs=2, warmup_fraction=task.warmup / 4, max_shift=0)
    log = train(model, pairs.images, tokenizer(pairs.captions), recipe, 3)
    assert outcome.losses == pytest.approx(log.loss, rel=1e-5)
    assert outcome.samples_per_epoch == 128
    assert len(outcome.epoch_seconds) == 2
    assert sum(outcome.epoch_seconds) < outcome.seconds
    saved, _ = load_model(tmp_path / "ours" / "model_3.safetensors")
    for (name, a), b in zip(model.named_parameters(), saved.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4, msg=name)


def peer(variable: str, way: str) -> PeerEnvironment:
    path = os.environ.get(variable)
    if path is None:
        pytest.skip(f"the peer has no environment here: `{way}`, and set {variable}=FOLDER")
    return PeerEnvironment(path=path)


@pytest.mark.slow
def test_both_trainers_learn_alike_from_shards_to_weights(tmp_path: Path) -> None:
    environment = peer("OPEN_CLIP_TRAIN_PATH", "pip install --no-deps --target FOLDER webdataset==0.2.86")
    pattern = write_rendered(tmp_path / "shards", 512, 2)
    task = make_task(tmp_path, "conv_tower", "world", pattern, 512, epochs=4)
    found = compare_trainers("small", task, tmp_path / "runs", environment, seeds=(0, 1))
    for ours, theirs in zip(found.ours, found.peer, strict=True):
        assert ours.samples_per_epoch == theirs.samples_per_epoch == 512
        assert theirs.losses[-1] < theirs.losses[0] - 0.3
        np.testing.assert_allclose(ours.losses, theirs.losses, atol=0.3)
        assert theirs.versions["webdataset"] == "0.2.86"


@pytest.mark.slow
def test_both_evaluators_find_the_same_accuracies(tmp_path: Path) -> None:
    way = 'pip install --no-deps --target FOLDER clip-benchmark "numpy<2.4"'
    environment = peer("CLIP_BENCHMARK_PATH", way)
    pattern = write_rendered(tmp_path / "shards", 512, 2)
    task = make_task(tmp_path, "conv_tower", "world", pattern, 512, epochs=4)
    run_ours(task, tmp_path / "model")
    weights = str(tmp_path / "model" / "model.safetensors")
    evaluation = EvaluationTask(weights, task.config, task.tokenizer, write_test_sets(tmp_path / "sets", 200))
    found = compare_evaluators(evaluation, 200, tmp_path / "turns", environment, repeats=1)
    assert found.num_images == 1000
    assert found.ours[0].accuracy["reference"] > 0.1  # chance is .05
