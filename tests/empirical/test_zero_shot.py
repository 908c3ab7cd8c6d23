"""Classifier, logits and their averages against naive references."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_clip import COLOURS, TEMPLATES, TOKENIZER, random_pairs, small_model

from empirical import world
from empirical.errors import DataError, StudyError
from empirical.model import build_model, context_length, load_config
from empirical.recipe import Recipe
from empirical.tokenizer import UNKNOWN, build_tokenizer, split_words
from empirical.train import train
from empirical.zero_shot import (
    average_logits,
    load_logits,
    num_correct,
    prompt_builders,
    save_logits,
    zero_shot_classifier,
    zero_shot_logits,
)

NAMES = list(COLOURS)


def naive_classifier(model: open_clip.CLIP, names: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
    """Mean over the templates of unit-length prompt embeddings, renormalised, one class after another."""
    columns = []
    with torch.no_grad():
        for name in names:
            prompts = [model.encode_text(TOKENIZER(t.replace("{}", name)))[0] for t in templates]
            mean = torch.stack([p / p.norm() for p in prompts]).mean(0)
            columns.append(mean / mean.norm())
    return torch.stack(columns, dim=1)


def model_with_statistics() -> open_clip.CLIP:
    """BatchNorm with statistics of its own, so that training mode would be noticed."""
    model = small_model()
    with torch.no_grad():
        for module in model.visual.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)  # pyright: ignore[reportOptionalMemberAccess]
                module.running_var.uniform_(0.5, 2)  # pyright: ignore[reportOptionalMemberAccess]
    return model.train()


def test_classifier() -> None:
    model = model_with_statistics()
    classifier = zero_shot_classifier(model, TOKENIZER, NAMES, TEMPLATES)
    assert classifier.shape == (64, 4)
    torch.testing.assert_close(classifier, naive_classifier(model, NAMES, TEMPLATES), rtol=1e-5, atol=1e-6)
    clip_benchmark = zero_shot_classifier(
        model, TOKENIZER, NAMES, [t.replace("{}", "{c}") for t in TEMPLATES]
    )
    torch.testing.assert_close(clip_benchmark, classifier, rtol=0, atol=0)


def test_many_classes_go_through_in_groups() -> None:
    names = [f"thing{i} {name}" for i in range(6) for name in NAMES]
    model = small_model()
    classifier = zero_shot_classifier(model, TOKENIZER, names, TEMPLATES)
    torch.testing.assert_close(classifier, naive_classifier(model, names, TEMPLATES), rtol=1e-5, atol=1e-6)


def test_a_builder_that_calls_the_model_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later releases of open_clip call model(text=...) where 3.3.0 calls encode_text."""
    model = small_model()
    expected = zero_shot_classifier(model, TOKENIZER, NAMES, TEMPLATES)

    def later(
        model, tokenizer, classnames, templates, num_classes_per_batch=10, device="cpu", use_tqdm=False
    ):
        del num_classes_per_batch, use_tqdm
        texts = tokenizer([template(name) for name in classnames for template in templates]).to(device)
        with torch.no_grad():
            output = model(text=texts)
        features = output["text_features"] if isinstance(output, dict) else output[1]
        mean = features.reshape(len(classnames), len(templates), -1).mean(dim=1)
        return (mean / mean.norm(dim=1, keepdim=True)).T

    monkeypatch.setattr(open_clip, "build_zero_shot_classifier", later)
    torch.testing.assert_close(zero_shot_classifier(model, TOKENIZER, NAMES, TEMPLATES), expected)


def test_logits_are_scaled_cosines_in_evaluation_mode() -> None:
    model = model_with_statistics()
    images, _ = random_pairs(150, 0)
    classifier = zero_shot_classifier(model, TOKENIZER, NAMES, TEMPLATES)
    logits = zero_shot_logits(model, classifier, images)
    assert model.training, "the mode is the caller's"
    assert (logits.dtype, logits.shape) == (np.float32, (150, 4))
    model.eval()
    with torch.no_grad():
        features = model.visual((torch.from_numpy(images) / 255 - 0.5) / 0.25)
        naive = model.logit_scale.exp() * (features / features.norm(dim=-1, keepdim=True)) @ classifier
    np.testing.assert_allclose(logits, naive.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        zero_shot_logits(model, classifier, images, batch_size=7), logits, rtol=1e-4, atol=1e-4
    )


def test_counts() -> None:
    logits = np.array([[1.0, 2.0, 0.0], [3.0, 3.0, 1.0], [0.0, 0.0, 5.0]], dtype=np.float32)
    assert num_correct(logits, np.array([1, 0, 1])) == 2, "equal logits: the first class"
    assert num_correct(logits[:0], np.array([], dtype=np.int64)) == 0
    for labels, message in (
        (np.array([1, 0]), "3 rows of logits but 2 labels"),
        (np.array([1, 3, 0]), "image 1 is 3; there are classes 0 to 2"),
        (np.array([-1, 0, 0]), "image 0 is -1"),
        (np.array([0.0, 1.0, 2.0]), "float64"),
    ):
        with pytest.raises(DataError, match=message):
            num_correct(logits, labels)
    with pytest.raises(DataError, match="image 1 are not numbers"):
        num_correct(np.array([[0.0, 1.0], [np.nan, 0.0]]), np.array([0, 0]))


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_average(number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = list(rng.normal(0, 30, (number, 6, 3)).astype(np.float32))
    alpha = rng.dirichlet(np.ones(number))
    naive = sum(a * each.astype(float) for a, each in zip(alpha, logits, strict=True))
    np.testing.assert_allclose(average_logits(logits, alpha.tolist()), naive, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(average_logits(logits), np.mean(logits, axis=0), rtol=1e-5, atol=1e-5)
    one = [0.0] * number
    one[seed % number] = 1.0
    np.testing.assert_array_equal(average_logits(logits, one), logits[seed % number])


def test_averages_that_make_no_sense_are_refused() -> None:
    two = [np.zeros((3, 2), np.float32)] * 2
    for weights in ([0.5], [0.5, 0.6], [1.5, -0.5], [np.nan, 1.0]):
        with pytest.raises(StudyError, match="sum to 1"):
            average_logits(two, weights)
    with pytest.raises(StudyError, match="common shape"):
        average_logits([two[0], two[0][:2]])
    with pytest.raises(StudyError, match="common shape"):
        average_logits([])


def test_templates_and_names_that_make_no_sense_are_refused() -> None:
    assert [build("{odd}") for build in prompt_builders(["a {c}", "{} in {braces}"])] == [
        "a {odd}",
        "{odd} in {braces}",
    ]
    with pytest.raises(DataError, match="template 1 is 'a photo'"):
        prompt_builders(["a {}", "a photo"])
    with pytest.raises(DataError, match="no prompt template"):
        zero_shot_classifier(small_model(), TOKENIZER, NAMES, [])
    with pytest.raises(DataError, match="no class names"):
        zero_shot_classifier(small_model(), TOKENIZER, [], TEMPLATES)


def test_classes_may_share_a_name() -> None:
    """ImageNet's names in open_clip repeat 'missile' and 'sunglasses'; the labels number the columns."""
    model = small_model()
    classifier = zero_shot_classifier(model, TOKENIZER, ["red", "blue", "red"], TEMPLATES)
    torch.testing.assert_close(
        classifier, naive_classifier(model, ["red", "blue", "red"], TEMPLATES), rtol=1e-5, atol=1e-6
    )


def test_the_rendered_world_trains_and_is_told_apart() -> None:
    """Source, tokenizer, config, training and evaluation of the embedded testbed fit together."""
    pairs = world.render_source("stock", 123, 0, 256)
    test_set = world.render_test_set("reference", 300)
    config = load_config("conv_tower")
    tokenizer = build_tokenizer("world", context_length=context_length(config))
    prompts = [template.replace("{}", name) for template in world.templates() for name in world.class_names()]
    for texts in (list(pairs.captions), prompts):
        assert not (tokenizer(texts) == UNKNOWN).any(), "the world knows its own words"
        assert max(len(split_words(text)) for text in texts) <= config["text_cfg"]["context_length"] - 2, (
            "none is cut"
        )
    model = build_model(config, tokenizer, 0)
    log = train(model, pairs.images, tokenizer(pairs.captions), Recipe(epochs=12), 0)
    assert log.loss[-1] < 0.8 * log.loss[0]
    classifier = zero_shot_classifier(model, tokenizer, world.class_names(), world.templates())
    correct = num_correct(zero_shot_logits(model, classifier, test_set.images), test_set.labels)
    chance = 300 / len(world.class_names())
    assert correct > chance + 5 * np.sqrt(chance)


def test_logits_survive_a_file(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    path = save_logits(logits, tmp_path / "new" / "reference.npy")
    np.testing.assert_array_equal(load_logits(path), logits)
    assert [p.name for p in path.parent.iterdir()] == ["reference.npy"]
    for content in (b"", b"junk", path.read_bytes()[:100]):
        (tmp_path / "broken.npy").write_bytes(content)
        with pytest.raises(DataError, match="delete it and evaluate again"):
            load_logits(tmp_path / "broken.npy")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "vector.npy", np.zeros(3, np.float32))
    for name in ("objects.npy", "vector.npy", "missing.npy"):
        with pytest.raises(DataError, match="delete it"):
            load_logits(tmp_path / name)
