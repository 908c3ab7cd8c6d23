"""The contract with open_clip: end-of-text is the largest id and a row's only maximum, whatever the caption."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical.errors import DataError, StudyError
from empirical.tokenizer import (
    PAD,
    START,
    UNKNOWN,
    OpenClipTokenizer,
    WordTokenizer,
    build_tokenizer,
    check_class_names,
    from_json,
    most_frequent_words,
    split_words,
)

WORDS = ["a", "photo", "of", "star", "tree", "don't"]
TOKENIZERS = [WordTokenizer(WORDS, 6), WordTokenizer([], 3), OpenClipTokenizer(6), OpenClipTokenizer()]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: f"{type(t).__name__}-{t.context_length}")
@settings(max_examples=40)
@given(texts=st.lists(st.one_of(st.text(max_size=40), st.sampled_from(WORDS)), min_size=1, max_size=5))
def test_laws_of_every_tokenizer(tokenizer: WordTokenizer | OpenClipTokenizer, texts: list[str]) -> None:
    tokens = tokenizer(texts).numpy()
    assert tokens.shape == (len(texts), tokenizer.context_length)
    assert tokens.dtype == np.int64
    assert tokenizer.end_of_text == tokenizer.vocab_size - 1
    assert np.all((tokens == tokenizer.end_of_text).sum(axis=1) == 1), (
        "one end-of-text, also after truncation"
    )
    assert np.all(tokens.max(axis=1) == tokenizer.end_of_text)
    ends = tokens.argmax(axis=1)
    for row, end in zip(tokens, ends, strict=True):
        assert np.all(row[end + 1 :] == PAD)
        assert np.all(row[:end] > PAD)
    restored = from_json(tokenizer.to_json())
    np.testing.assert_array_equal(restored(texts).numpy(), tokens)
    np.testing.assert_array_equal(np.concatenate([tokenizer(text).numpy() for text in texts]), tokens)


def test_word_ids() -> None:
    tokenizer = WordTokenizer(WORDS, 7)
    assert tokenizer.vocab_size == 10
    np.testing.assert_array_equal(
        tokenizer(["A photo, of: a STAR!", "one tree", "", "a a a a a a a a"]),
        [
            [START, 3, 4, 5, 3, 6, 9],
            [START, UNKNOWN, 7, 9, PAD, PAD, PAD],
            [START, 9, PAD, PAD, PAD, PAD, PAD],
            [START, 3, 3, 3, 3, 3, 9],
        ],
    )


@given(st.lists(st.sampled_from(WORDS), max_size=5))
def test_known_words_survive_the_round_trip(words: list[str]) -> None:
    tokenizer = WordTokenizer(WORDS, 7)
    assert tokenizer.decode(tokenizer(" ".join(words))[0].tolist()).split() == words
    assert tokenizer.decode(tokenizer("a whale")[0].tolist()) == "a <unk>"


def test_open_clip_tokens_are_open_clips_own() -> None:
    import open_clip

    captions = ["a photo of a dog", "naïve café — 3 kids", "long " * 100, "", "&amp; <end_of_text> x"]
    for length in (12, 77):
        expected = open_clip.tokenize(captions, context_length=length).numpy()
        tokenizer = OpenClipTokenizer(length)
        plain = [i for i, caption in enumerate(captions) if "<end" not in caption]
        np.testing.assert_array_equal(tokenizer(captions).numpy()[plain], expected[plain])
    assert (
        OpenClipTokenizer().decode(OpenClipTokenizer()("a photo of a dog")[0].tolist()) == "a photo of a dog"
    )


def test_vocabulary_from_captions() -> None:
    captions = ["the tree", "the star", "The sea", "a tree"]
    assert most_frequent_words(captions, 3) == ["the", "tree", "a"]
    assert most_frequent_words(captions, 99) == ["the", "tree", "a", "sea", "star"]
    tokenizer = build_tokenizer("captions:2", captions, context_length=5)
    assert isinstance(tokenizer, WordTokenizer)
    assert (tokenizer.words, tokenizer.context_length) == (("the", "tree"), 5)
    assert isinstance(build_tokenizer("open_clip"), OpenClipTokenizer)
    assert split_words("Don't STOP—it's 3 o'clock") == ["don't", "stop", "it's", "3", "o'clock"]


def test_bad_input_gets_a_clear_message() -> None:
    for name in ("captions", "captions:", "captions:0", "captions:-1", "captions:x", "words", ""):
        with pytest.raises(StudyError, match="unknown"):
            build_tokenizer(name, ["a tree"])
    with pytest.raises(StudyError, match="none were given"):
        build_tokenizer("captions:5")
    with pytest.raises(DataError, match="none of the 2 captions"):
        build_tokenizer("captions:5", ["!!", ""])
    with pytest.raises(StudyError, match="context_length is 2"):
        WordTokenizer(["a"], 2)
    with pytest.raises(DataError, match="'a' 2 times"):
        WordTokenizer(["a", "b", "a"], 5)
    with pytest.raises(DataError, match="'Red Car' is not a single"):
        WordTokenizer(["Red Car"], 5)
    for text in (
        "",
        "[]",
        "{}",
        '{"kind": "words", "context_length": 5}',
        '{"kind": "x", "context_length": 5}',
    ):
        with pytest.raises(DataError):
            from_json(text)
    with pytest.raises(DataError, match="open_clip's tokenizer"):
        WordTokenizer.from_json(OpenClipTokenizer().to_json())


def test_a_caption_that_is_not_text_is_named() -> None:
    from empirical.tokenizer import _token_table

    with pytest.raises(DataError, match=r"caption 1 is None \(NoneType\)"):
        _token_table(["a", None], lambda text: [3], 5, (1, 9))


def test_ten_thousand_captions_take_less_than_half_a_second() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(300)]
    captions = [" ".join(row) for row in rng.choice(words, size=(10_000, 8))]
    tokenizer = WordTokenizer(words, 10)
    started = time.process_time()
    tokenizer(captions)
    assert time.process_time() - started < 0.5


def test_importing_it_or_the_recipe_loads_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys, empirical.tokenizer, empirical.recipe; "
        "print([m for m in ('torch', 'open_clip', 'timm') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_class_names_that_the_tokenizer_cannot_tell_apart_are_refused() -> None:
    words = WordTokenizer(["a", "photo", "of", "star", "tree"], 8)
    check_class_names(words, ["star", "tree", "zebra", "star"], "a photo of a {}", "mine")
    with pytest.raises(
        DataError, match=r"test set mine: the classes 'zebra' and 'yak'.*--tokenizer open_clip"
    ):
        check_class_names(words, ["star", "zebra", "tree", "yak"], "a photo of a {}", "mine")
    short = WordTokenizer(["a", "photo", "of", "star", "tree"], 6)
    with pytest.raises(DataError, match="'star' and 'tree'"):  # cut off
        check_class_names(short, ["star", "tree"], "a photo of a {c}", "mine")
    check_class_names(OpenClipTokenizer(), ["zebra", "yak", "missile", "missile"], "a photo of a {c}", "mine")
