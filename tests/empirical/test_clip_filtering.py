"""Scores against a naive reference; exact shares; junk that is exactly as much as was asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_clip import TOKENIZER, coloured_squares, random_pairs, small_model

from empirical.errors import DataError, StudyError
from empirical.filtering import clip_scores, keep_share, keep_threshold, shuffled_captions
from empirical.recipe import Recipe
from empirical.train import train


def test_scores_are_the_cosines_of_each_pair() -> None:
    model = small_model()
    images, tokens = random_pairs(90, 0)
    scores = clip_scores(model, images, tokens)
    model.eval()
    naive = []
    with torch.no_grad():
        for image, row in zip(images, tokens, strict=True):
            x = model.visual((torch.from_numpy(image)[None] / 255 - 0.5) / 0.25)[0]
            t = model.encode_text(row[None])[0]
            naive.append(float(x @ t / x.norm() / t.norm()))
    np.testing.assert_allclose(scores, naive, atol=1e-5)
    assert scores.dtype == np.float32
    with pytest.raises(StudyError, match="90 images but 3 captions"):
        clip_scores(model, images, tokens[:3])


@settings(max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.floats(0.01, 1))
def test_share_kept(values: list[int], share: float) -> None:
    scores = np.array(values, dtype=np.float32)
    wanted = round(share * len(scores))
    if wanted == 0:
        with pytest.raises(StudyError, match="at least one pair"):
            keep_share(scores, share)
        return
    naive = sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:wanted])
    np.testing.assert_array_equal(keep_share(scores, share), naive)


@given(st.lists(st.integers(-3, 3), max_size=20), st.integers(-4, 4))
def test_threshold(values: list[int], threshold: int) -> None:
    kept = keep_threshold(np.array(values, dtype=np.float32), float(threshold))
    assert kept.tolist() == [i for i, value in enumerate(values) if value >= threshold]


def test_filters_that_make_no_sense_are_refused() -> None:
    scores = np.array([0.1, 0.2], np.float32)
    for share in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(StudyError, match="share to keep"):
            keep_share(scores, share)
    with pytest.raises(StudyError, match="threshold is nan"):
        keep_threshold(scores, float("nan"))
    broken = np.array([0.1, np.nan], np.float32)
    for keep in (keep_share, keep_threshold):
        with pytest.raises(DataError, match="pair 1 is not a number"):
            keep(broken, 0.5)


@settings(max_examples=80)
@given(st.integers(0, 200), st.floats(0, 1), st.integers(0, 2**31))
def test_junk_is_exact_and_comes_from_other_junk_pairs(num_pairs: int, share: float, seed: int) -> None:
    chosen = round(share * num_pairs)
    if chosen == 1:
        with pytest.raises(StudyError, match="single pair"):
            shuffled_captions(num_pairs, share, seed)
        return
    donors = shuffled_captions(num_pairs, share, seed)
    junk = np.flatnonzero(donors != np.arange(num_pairs))
    assert len(junk) == chosen
    assert sorted(donors[junk]) == junk.tolist(), "captions only change places"
    np.testing.assert_array_equal(donors, shuffled_captions(num_pairs, share, seed))


def test_junk_depends_on_the_seed_and_the_share_is_checked() -> None:
    assert not np.array_equal(shuffled_captions(50, 0.5, 0), shuffled_captions(50, 0.5, 1))
    for share in (-0.1, 1.01, float("nan")):
        with pytest.raises(StudyError, match="junk share"):
            shuffled_captions(50, share, 0)


def test_a_shuffled_caption_is_right_once_in_k() -> None:
    """The second component of Theorem 3's junk: labels of K = 5 classes agree with probability 1/5."""
    labels = np.random.default_rng(0).integers(5, size=20_000)
    donors = shuffled_captions(len(labels), 0.5, 1)
    junk = donors != np.arange(len(labels))
    agree = np.mean(labels[donors[junk]] == labels[junk])
    assert abs(agree - 0.2) < 5 * np.sqrt(0.2 * 0.8 / junk.sum())


def test_a_trained_clip_finds_the_junk() -> None:
    images, captions, _ = coloured_squares(96, 0)
    model = small_model()
    train(model, images, TOKENIZER(captions), Recipe(epochs=12, batch_size=32), 0)
    images, captions, labels = coloured_squares(300, 1)
    donors = shuffled_captions(300, 0.4, 2)
    tokens = TOKENIZER([captions[i] for i in donors])
    kept = keep_share(clip_scores(model, images, tokens), 0.6)
    wrong = labels[donors] != labels
    assert wrong.mean() > 0.2
    assert wrong[kept].mean() < 0.05
