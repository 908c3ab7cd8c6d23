"""Sources and test sets: reproducible image by image, with the shares that their specifications state."""

import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from empirical.arrays import Pairs
from empirical.world import (
    SOURCE_NAMES,
    TEST_SET_NAMES,
    WORLD_HASH,
    class_names,
    render_source,
    render_test_set,
    templates,
    vocabulary,
)
from empirical.world.constants import BLOCK_SIZE, STYLE_NAMES, VIEW_NAMES, WORLD
from empirical.world.silhouettes import HELD_OUT_VARIANTS, TRAINING_VARIANTS

SEED = 1000  # below 1000: reserved for shown results
N = 2048


@pytest.fixture(scope="module")
def pairs() -> dict[str, Pairs]:
    return {name: render_source(name, SEED, 0, N) for name in SOURCE_NAMES}


@pytest.fixture(scope="module")
def test_sets():
    return {name: render_test_set(name, 400, seed=SEED) for name in TEST_SET_NAMES}


def assert_share(count: int, n: int, share: float) -> None:
    """Within 4.5 standard errors of a binomial share."""
    assert abs(count / n - share) <= 4.5 * math.sqrt(share * (1 - share) / n) + 1e-12


def test_the_world_is_frozen():
    assert WORLD_HASH == "709f86545bc5d91df457b2f2da69ef3631d7bcdba65ba2acde9a742140798861", (
        "The world's constants or silhouettes changed, so every rendered image does. If that is meant: pin the new hash "
        "here, draw new seeds for every shown study, and add a CHANGELOG line with the results that this discards."
    )


def test_names_follow_the_specification():
    assert SOURCE_NAMES == ("snapshots", "web_crawl", "alt_text", "encyclopedia", "forum", "stock")
    assert TEST_SET_NAMES == ("reference", "v2", "sketch", "rendition", "odd_view")
    assert len(class_names()) == len(set(class_names())) == 20


TESTBED_TABLE = {
    "snapshots": ((0.88, 0.05, 0.06, 0.01), (0.45, 0.25, 0.30), 0.6, (0.25, 0.05, 0.20)),
    "stock": ((0.62, 0.11, 0.19, 0.08), (0.93, 0.06, 0.01), 0.3, (0.05, 0.02, 0.20)),
    "alt_text": ((0.75, 0.05, 0.15, 0.05), (0.75, 0.20, 0.05), 0.6, (0.15, 0.10, 0.40)),
    "encyclopedia": ((0.55, 0.35, 0.10, 0.0), (1.0, 0.0, 0.0), 0.8, (0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("name", TESTBED_TABLE)
def test_sources_have_the_stated_numbers(name):
    spec = next(s for s in WORLD.sources if s.name == name)
    mistakes = (spec.mistakes.omitted, spec.mistakes.wrong, spec.mistakes.synonym)
    assert (spec.styles, spec.views, spec.typical_color, mistakes) == TESTBED_TABLE[name]


@pytest.mark.parametrize("spec", [*WORLD.sources, *WORLD.test_sets], ids=lambda s: s.name)
def test_shares_are_distributions(spec):
    assert sum(spec.styles) == pytest.approx(1, abs=1e-12)
    assert sum(spec.views) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", SOURCE_NAMES)
def test_drawn_styles_views_and_colors_follow_their_shares(pairs, name):
    spec = next(s for s in WORLD.sources if s.name == name)
    metadata = pairs[name].metadata
    styles, views = Counter(m["style"] for m in metadata), Counter(m["view"] for m in metadata)
    for style, share in zip(STYLE_NAMES, spec.styles, strict=True):
        assert_share(styles[style], N, share)
    for view, share in zip(VIEW_NAMES, spec.views, strict=True):
        assert_share(views[view], N, share)
    typical = {c.name: c.typical_color for c in WORLD.classes}
    expected = spec.typical_color + (1 - spec.typical_color) / len(WORLD.colors)
    assert_share(sum(typical[m["class"]] == m["color"] for m in metadata), N, expected)
    for label in range(20):
        assert_share(int((pairs[name].labels == label).sum()), N, 1 / 20)


@pytest.mark.parametrize("name", SOURCE_NAMES)
def test_captions_make_the_stated_mistakes(pairs, name):
    spec = next(s for s in WORLD.sources if s.name == name)
    names = {c.name: c.name for c in WORLD.classes} | {c.synonym: c.name for c in WORLD.classes}
    synonyms = {c.synonym for c in WORLD.classes}
    omitted = wrong = synonym = 0
    for caption, meta in zip(pairs[name].captions, pairs[name].metadata, strict=True):
        named = [w for w in caption.split() if w in names]
        assert len(named) <= 1
        omitted += not named
        wrong += bool(named) and names[named[0]] != meta["class"]
        synonym += bool(named) and named[0] in synonyms
    mistakes = spec.mistakes
    assert_share(omitted, N, mistakes.omitted)
    assert_share(wrong, N, (1 - mistakes.omitted) * mistakes.wrong)
    assert_share(synonym, N, (1 - mistakes.omitted) * mistakes.synonym)


def test_captions_stay_inside_the_vocabulary_and_the_context(pairs):
    words = vocabulary()
    assert words == sorted(set(words))
    for name in SOURCE_NAMES:
        for caption in pairs[name].captions:
            assert set(caption.split()) <= set(words)
            assert 1 <= len(caption.split()) <= 8  # a context of 10 with start and end
            assert caption == caption.strip()
            assert "{" not in caption
            assert not any(a == "a" and b[0] in "aeiou" for a, b in pairwise(caption.split()))
    for template in templates():
        assert set(template.replace("{}", "").split()) <= set(words)
        assert template.count("{}") == 1


@pytest.mark.parametrize("bounds", [(0, 1), (255, 257), (300, 301), (511, 769), (1, 700), (5, 5)])
def test_any_range_gives_the_same_images(pairs, bounds):
    start, stop = bounds
    part, whole = render_source("web_crawl", SEED, start, stop), pairs["web_crawl"]
    assert np.array_equal(part.images, whole.images[start:stop])
    assert part.captions == whole.captions[start:stop]
    assert part.keys == whole.keys[start:stop]
    assert part.metadata == whole.metadata[start:stop]
    assert part.labels is not None
    assert np.array_equal(part.labels, whole.labels[start:stop])


def test_another_process_draws_the_same_images(pairs):
    code = (
        "import hashlib; from empirical.world import render_source; p = render_source('stock', 1000, 250, 270);"
        "print(hashlib.sha256(p.images.tobytes() + repr(p.captions).encode()).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    import hashlib

    here = pairs["stock"]
    text = here.images[250:270].tobytes() + repr(here.captions[250:270]).encode()
    assert printed.strip() == hashlib.sha256(text).hexdigest()


def test_test_sets_do_not_depend_on_their_size(test_sets):
    short = render_test_set("rendition", 37, seed=SEED)
    assert np.array_equal(short.images, test_sets["rendition"].images[:37])
    assert short.metadata == test_sets["rendition"].metadata[:37]


def test_seeds_sources_and_blocks_differ(pairs):
    other_seed = render_source("stock", SEED + 1, 0, BLOCK_SIZE)
    stock = pairs["stock"]
    assert not np.array_equal(other_seed.images, stock.images[:BLOCK_SIZE])
    assert not np.array_equal(stock.images[BLOCK_SIZE : 2 * BLOCK_SIZE], stock.images[:BLOCK_SIZE])
    for name, p in pairs.items():
        distinct = {image.tobytes() for image in p.images}
        assert len(distinct) == N, f"{name} repeats images"


def test_classes_are_balanced_and_labels_name_them(test_sets):
    for t in test_sets.values():
        assert np.bincount(t.labels, minlength=20).tolist() == [20] * 20
        assert [t.class_names[k] for k in t.labels] == [m["class"] for m in t.metadata]


def test_test_sets_show_their_styles_and_views(test_sets):
    expected = {
        "reference": ({"photo"}, {"canonical"}),
        "v2": ({"photo"}, {"v2"}),
        "sketch": ({"sketch"}, {"canonical"}),
        "rendition": ({"cartoon", "neon"}, {"canonical"}),
        "odd_view": ({"photo"}, {"odd"}),
    }
    for name, t in test_sets.items():
        assert ({m["style"] for m in t.metadata}, {m["view"] for m in t.metadata}) == expected[name]


def test_no_test_silhouette_is_a_training_silhouette(pairs, test_sets):
    trained = {(m["class"], m["variant"]) for p in pairs.values() for m in p.metadata}
    tested = {(m["class"], m["variant"]) for t in test_sets.values() for m in t.metadata}
    assert trained == {(c, v) for c in class_names() for v in TRAINING_VARIANTS}
    assert tested == {(c, v) for c in class_names() for v in HELD_OUT_VARIANTS}
    assert not trained & tested
    assert all(m["held_out"] for t in test_sets.values() for m in t.metadata)
    assert not any(m["held_out"] for p in pairs.values() for m in p.metadata)


def test_bad_requests_say_what_is_wrong():
    with pytest.raises(ValueError, match="unknown source 'stok'; the world has snapshots"):
        render_source("stok", SEED, 0, 1)
    with pytest.raises(ValueError, match="unknown test set 'v3'"):
        render_test_set("v3", 1)
    with pytest.raises(ValueError, match="start 3, stop 2"):
        render_source("stock", SEED, 3, 2)
    with pytest.raises(ValueError, match="seed -1"):
        render_test_set("v2", 1, seed=-1)


def test_nothing_asked_for_gives_empty_arrays():
    empty = render_source("stock", SEED, 7, 7)
    assert empty.images.shape == (0, 3, 32, 32)
    assert empty.captions == []
    assert render_test_set("v2", 0).images.shape == (0, 3, 32, 32)


def test_progress_counts_every_pair():
    seen = []
    render_source("stock", SEED, 100, 600, progress=seen.append)
    assert sum(seen) == 500
    assert len(seen) == 3
