"""The training loop against naive references: loss, schedule, shifts, and what it promises about seeds."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import ClipLoss
from small_clip import (
    COLOURS,
    TEMPLATES,
    TOKENIZER,
    coloured_squares,
    random_pairs,
    same_weights,
    small_model,
)

from empirical import trainer as trainer_module
from empirical.errors import StudyError, TrainingError
from empirical.model import build_model, load_config
from empirical.recipe import Recipe, learning_rate
from empirical.train import TrainingLog, train
from empirical.trainer import Images
from empirical.zero_shot import num_correct, zero_shot_classifier, zero_shot_logits

QUICK = Recipe(epochs=2, batch_size=16)


def trained_state(
    seed: int, n: int = 48, recipe: Recipe = QUICK
) -> tuple[dict[str, torch.Tensor], TrainingLog]:
    model = small_model()
    images, tokens = random_pairs(n, 0)
    log = train(model, images, tokens, recipe, seed)
    return model.state_dict(), log


def test_the_loss_is_the_symmetric_contrastive_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(7, 5, generator=generator), dim=-1) for _ in "ab")
    scale = 9.0
    logits = scale * (a.double() @ b.double().T)
    naive = 0.0
    for i in range(7):
        naive -= float(logits[i, i] - torch.logsumexp(logits[i], 0)) / 14
        naive -= float(logits[i, i] - torch.logsumexp(logits[:, i], 0)) / 14
    assert float(ClipLoss()(a, b, torch.tensor(scale))) == pytest.approx(naive, rel=1e-5)


def test_the_first_loss_is_that_of_the_model_as_built() -> None:
    """Equal captions share one embedding; the loss is still the one open_clip computes pair by pair."""
    images, captions, _ = coloured_squares(32, 0)
    tokens = TOKENIZER(captions)
    assert len(set(captions)) < 10
    model = small_model()
    log = train(small_model(), images, tokens, Recipe(epochs=1, batch_size=32, max_shift=0), 0)
    pixels = (torch.from_numpy(images) / 255 - 0.5) / 0.25
    expected = ClipLoss()(*model.train()(pixels, tokens))
    assert log.loss[0] == pytest.approx(expected.item(), rel=1e-5)


def test_steps_are_clipped_adamw_on_open_clips_own_forward_pass() -> None:
    """Every parameter after three steps, written out; whole batches, so that their order does not matter."""
    images, captions, _ = coloured_squares(24, 0)
    tokens = TOKENIZER(captions)
    recipe = Recipe(epochs=3, batch_size=24, max_shift=0, learning_rate=1e-2, beta1=0.8, beta2=0.9)
    ours, naive = small_model().double(), small_model().double().train()
    pixels = (torch.from_numpy(images).double() / 255 - 0.5) / 0.25
    first = {name: torch.zeros_like(p) for name, p in naive.named_parameters()}
    second, smallest = (
        {name: p.clone() for name, p in first.items()},
        {name: p + 1 for name, p in first.items()},
    )
    for step in range(3):
        naive.zero_grad()
        ClipLoss()(*naive(pixels, tokens)).backward()
        gradients = {name: p.grad for name, p in naive.named_parameters() if p.grad is not None}
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
        rate = learning_rate(step, 3, recipe)
        with torch.no_grad():
            for name, p in naive.named_parameters():
                smallest[name] = torch.minimum(smallest[name], gradients[name].abs())
                g = gradients[name] * min(1, recipe.gradient_clip / (norm + 1e-6))
                first[name] = recipe.beta1 * first[name] + (1 - recipe.beta1) * g
                second[name] = recipe.beta2 * second[name] + (1 - recipe.beta2) * g**2
                p.mul_(1 - rate * (recipe.weight_decay if p.ndim >= 2 else 0))
                mean, square = (
                    moment / (1 - beta ** (step + 1))
                    for moment, beta in ((first[name], recipe.beta1), (second[name], recipe.beta2))
                )
                p.sub_(rate * mean / (square.sqrt() + 1e-8))
    train_in_double(ours, images, tokens, recipe)
    noise = 0
    for (name, expected), actual in zip(naive.named_parameters(), ours.parameters(), strict=True):
        # the gradient of the keys' bias is 0 in exact arithmetic; Adam steps by the sign of what rounding leaves
        rounding = (smallest[name] != 0) & (smallest[name] < 1e-9)
        noise += int(rounding.sum())
        worst = (actual - expected)[~rounding].abs().max()
        assert worst < 1e-8, name
    assert noise <= 80


def train_in_double(model: torch.nn.Module, images: np.ndarray, tokens: torch.Tensor, recipe: Recipe) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "normalise", lambda pixels, model: (pixels.double() / 255 - 0.5) / 0.25)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        train(model, images, tokens, recipe, 0)  # pyright: ignore[reportArgumentType]


@settings(max_examples=50)
@given(st.integers(1, 300), st.floats(0, 1))
def test_schedule(num_steps: int, warmup_fraction: float) -> None:
    recipe = Recipe(learning_rate=2e-3, warmup_fraction=warmup_fraction)
    w = max(1, round(warmup_fraction * num_steps))
    rates = [learning_rate(step, num_steps, recipe) for step in range(num_steps)]
    naive = [
        2e-3 * ((k + 1) / w if k < w else 0.5 * (1 + math.cos(math.pi * (k - w) / (num_steps - w))))
        for k in range(num_steps)
    ]
    np.testing.assert_allclose(rates, naive, rtol=1e-9)
    assert max(rates) <= 2e-3 * (1 + 1e-12)
    assert min(rates) > 0
    assert rates[w - 1] == pytest.approx(2e-3)
    assert all(later <= earlier for earlier, later in zip(rates[w - 1 :], rates[w:], strict=False))


def test_shifts_are_crops_of_the_reflected_image() -> None:
    images, _ = random_pairs(5, 3)
    store = Images(len(images), (32, 32), 2, torch.device("cpu"))
    store.load(images)
    shifts = torch.tensor([[0, 0], [4, 4], [2, 2], [1, 3]])
    batch = store.batch(torch.tensor([4, 0, 0, 2]), shifts).numpy()
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    for picture, i, (dy, dx) in zip(batch, (4, 0, 0, 2), shifts.tolist(), strict=True):
        np.testing.assert_array_equal(picture, padded[i, :, dy : dy + 32, dx : dx + 32])
    np.testing.assert_array_equal(batch[2], images[0])


def test_training_is_repeatable_bit_for_bit_and_the_seed_matters() -> None:
    torch.manual_seed(1)
    first, log = trained_state(7)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    again, log_again = trained_state(7)
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is the caller's"
    other, _ = trained_state(8)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert log.loss == log_again.loss
    assert not torch.equal(first["text_projection"], other["text_projection"])


def test_a_read_only_memory_map_trains_like_the_array_it_shows() -> None:
    images, tokens = random_pairs(20, 0)
    models = [small_model(), small_model(), small_model()]
    frozen = images.copy()
    frozen.flags.writeable = False
    fixed_tokens = tokens.numpy().copy()
    fixed_tokens.flags.writeable = False
    train(models[0], images, tokens, QUICK, 0)
    train(models[1], frozen, fixed_tokens, QUICK, 0)
    train(models[2], torch.from_numpy(images), tokens, QUICK, 0)
    for other in models[1:]:
        assert same_weights(models[0], other)


def test_the_log_counts_what_was_done() -> None:
    calls: list[tuple[int, float]] = []
    images, tokens = random_pairs(70, 0)
    log = train(
        small_model(), images, tokens, Recipe(epochs=3, batch_size=32), 0, on_epoch=lambda *a: calls.append(a)
    )
    assert (log.steps, log.samples_seen) == (6, 192)
    assert [epoch for epoch, _ in calls] == [1, 2, 3]
    assert [loss for _, loss in calls] == log.loss
    assert log.samples_per_second == pytest.approx(log.samples_seen / log.seconds)
    assert 1 <= log.logit_scale <= 100


def test_fewer_samples_than_a_batch_make_a_smaller_batch() -> None:
    log = trained_state(0, n=5, recipe=Recipe(epochs=3, batch_size=64))[1]
    assert (log.steps, log.samples_seen) == (3, 15)


def test_the_logit_scale_stays_in_its_range() -> None:
    images, tokens = random_pairs(16, 0)
    for start, bound in ((math.log(100) + 3, 100.0), (-2.0, 1.0)):
        model = small_model()
        with torch.no_grad():
            model.logit_scale.fill_(start)
        log = train(model, images, tokens, Recipe(epochs=1, batch_size=16, learning_rate=1e-9), 0)
        assert log.logit_scale == pytest.approx(bound, rel=1e-5)


def test_a_small_model_learns_to_name_colours() -> None:
    images, captions, _ = coloured_squares(128, 0)
    model = small_model()
    log = train(model, images, TOKENIZER(captions), Recipe(epochs=12, batch_size=32), 0)
    assert log.loss[-1] < 0.75 * log.loss[0]
    assert not model.training
    test_images, _, labels = coloured_squares(200, 1)
    classifier = zero_shot_classifier(model, TOKENIZER, list(COLOURS), TEMPLATES)
    correct = num_correct(zero_shot_logits(model, classifier, test_images), labels)
    assert correct > 180, "chance is 50, with a standard deviation of 6"


@pytest.mark.parametrize("change", [{"custom_text": True}, {"init_logit_bias": -1.0}])
def test_other_kinds_of_open_clip_models_train(change: dict) -> None:
    model = build_model(load_config("conv_tower") | change, TOKENIZER, 0)
    images, tokens = random_pairs(16, 0)
    log = train(model, images, tokens, QUICK, 0)
    assert np.all(np.isfinite(log.loss))


def test_modified_resnet_trains() -> None:
    images, captions, _ = coloured_squares(32, 0)
    log = train(
        small_model(name="modified_resnet"), images, TOKENIZER(captions), Recipe(epochs=6, batch_size=16), 0
    )
    assert log.loss[-1] < log.loss[0]


def test_a_loss_that_is_not_a_number_stops_the_run() -> None:
    images, tokens = random_pairs(64, 0)
    model = small_model()
    stepped = []

    def poison(*_: object) -> None:
        stepped.append(None)
        if len(stepped) == 3:
            with torch.no_grad():
                model.logit_scale.fill_(float("nan"))

    model.visual.register_forward_hook(poison)
    with pytest.raises(TrainingError, match=r"nan at step 2 \(epoch 1 of 2\)"):
        train(model, images, tokens, Recipe(epochs=2, batch_size=16), 0)


def test_data_that_do_not_fit_are_refused() -> None:
    images, tokens = random_pairs(8, 0)
    other_vocabulary = tokens.clone()
    other_vocabulary[3, 2] = TOKENIZER.vocab_size
    for bad_images, bad_tokens, message in (
        (images[:1], tokens[:1], "at least 2"),
        (images[:0], tokens[:0], "at least 2"),
        (images, tokens[:5], "8 images but 5 captions"),
        (images[:, :, :16, :16], tokens, "16 x 16 px.*image_size"),
        (images.astype(np.float32), tokens, "float32"),
        (images[:, 0], tokens, r"uint8 \(n, 3, 32, 32\)"),
        (images, tokens[:, :7], r"int64 \(n, 10\)"),
        (images, tokens.float(), "float32"),
        (images, other_vocabulary, "0 to 11"),
    ):
        with pytest.raises(StudyError, match=message):
            train(small_model(), bad_images, bad_tokens, QUICK, 0)
    with pytest.raises(StudyError, match="max_shift is 40"):
        train(small_model(), images, tokens, Recipe(max_shift=40), 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("learning_rate", float("nan")),
        ("warmup_fraction", 1.5),
        ("max_shift", -1),
    ],
)
def test_recipes_are_checked(name: str, value: float) -> None:
    with pytest.raises(StudyError, match=f"{name} is {value}"):
        dataclasses.replace(Recipe(), **{name: value})
