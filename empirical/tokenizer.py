"""Captions to token ids: use `build_tokenizer`, or `WordTokenizer` directly for a known vocabulary.

Both tokenizers follow open_clip's contract: 0 pads, each row is start, words, end-of-text, and end-of-text is the
largest id, because open_clip's text tower pools at the argmax of the ids (a row's only largest entry, even when
it was truncated). Importing this module loads neither torch nor open_clip.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from empirical.errors import DataError, StudyError

if TYPE_CHECKING:
    import torch

PAD, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 3
_WORD = re.compile(r"\w+(?:['’]\w+)*")


@runtime_checkable
class Tokenizer(Protocol):
    """What models, training and zero-shot evaluation need of a tokenizer."""

    context_length: int

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    @property
    def end_of_text(self) -> int:
        """The largest id, vocab_size - 1."""
        ...

    def __call__(self, texts: str | Sequence[str]) -> torch.Tensor:
        """Token ids, int64 (n, context_length)."""
        ...

    def to_json(self) -> str:
        """A JSON text from which `from_json` restores the tokenizer."""
        ...


def split_words(text: str) -> list[str]:
    """Lower-case words of a text; punctuation separates (an apostrophe inside a word does not)."""
    return _WORD.findall(text.lower())


def _token_table(
    texts: str | Sequence[Any], encode: Callable[[str], list[int]], context_length: int, ends: tuple[int, int]
):
    """Rows of ids; equal captions are encoded once, since a data set repeats its captions."""
    if isinstance(texts, str):
        texts = [texts]
    row_of: dict[str, int] = {}
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"caption {position} is {text!r} ({type(text).__name__}), not text: repair or drop that pair"
            )
        row_of.setdefault(text, len(row_of))
    start, end = ends
    table = np.full((len(row_of), context_length), PAD, dtype=np.int64)
    for text, row in row_of.items():
        ids = [start, *encode(text)[: context_length - 2], end]
        table[row, : len(ids)] = ids
    return table[[row_of[text] for text in texts]] if len(row_of) < len(texts) else table


def _checked_context(context_length: int) -> int:
    if context_length < 3:
        raise StudyError(
            f"context_length is {context_length}; a caption needs at least 3 (start, a word, end)"
        )
    return context_length


class WordTokenizer:
    """One id per word of a fixed vocabulary; every other word becomes the unknown token.

    Ids: 0 pad, 1 start, 2 unknown, 3.. the words in the order given, len(words) + 3 end-of-text.

    Raises:
        DataError: a word is empty, repeated or is not a single lower-case word; a caption is not text.
        StudyError: context_length < 3.
    """

    def __init__(self, words: Iterable[str], context_length: int) -> None:
        self.words = tuple(words)
        self.context_length = _checked_context(context_length)
        for word, count in Counter(self.words).items():
            if count > 1:
                raise DataError(f"the vocabulary holds {word!r} {count} times: each word once")
            if split_words(word) != [word]:
                raise DataError(
                    f"{word!r} is not a single lower-case word, so no caption would ever match it: "
                    f"use {split_words(word)}"
                )
        self._ids = {word: number for number, word in enumerate(self.words, start=FIRST_WORD)}

    @property
    def vocab_size(self) -> int:
        """Number of ids: the words and four special tokens."""
        return len(self.words) + FIRST_WORD + 1

    @property
    def end_of_text(self) -> int:
        """The largest id."""
        return self.vocab_size - 1

    def encode(self, text: str) -> list[int]:
        """Ids of the words of one text, without start and end."""
        return [self._ids.get(word, UNKNOWN) for word in split_words(text)]

    def token_array(self, texts: str | Sequence[str]) -> Int64[np.ndarray, "n context"]:
        """Token ids as numpy, (n, context_length); see the class for their meaning."""
        return _token_table(texts, self.encode, self.context_length, (START, self.end_of_text))

    def __call__(self, texts: str | Sequence[str]) -> torch.Tensor:
        """Token ids, int64 (n, context_length); long captions lose their last words, never their end-of-text."""
        import torch

        return torch.from_numpy(self.token_array(texts))

    def decode(self, ids: Iterable[int]) -> str:
        """The words of one row, `<unk>` for unknown ones; everything after end-of-text is ignored."""
        words = []
        for number in map(int, ids):
            if number == self.end_of_text:
                break
            if number not in (PAD, START):
                words.append("<unk>" if number == UNKNOWN else self.words[number - FIRST_WORD])
        return " ".join(words)

    def to_json(self) -> str:
        """A JSON text from which `from_json` restores the tokenizer."""
        return json.dumps({"kind": "words", "context_length": self.context_length, "words": self.words})

    @classmethod
    def from_json(cls, text: str) -> WordTokenizer:
        """The tokenizer that `to_json` described."""
        restored = from_json(text)
        if not isinstance(restored, cls):
            raise DataError("this JSON describes open_clip's tokenizer: use empirical.tokenizer.from_json")
        return restored


@lru_cache(maxsize=1)
def _byte_pairs() -> Any:
    """open_clip's tokenizer, built once per process (0.1 s)."""
    from open_clip import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    if tokenizer.vocab_size != OpenClipTokenizer.vocab_size:
        raise StudyError(
            f"open_clip's tokenizer has {tokenizer.vocab_size} ids, expected {OpenClipTokenizer.vocab_size}"
        )
    return tokenizer


class OpenClipTokenizer:
    """open_clip's byte-pair tokenizer (49,408 ids, shipped inside the open_clip package) with the same interface."""

    vocab_size = 49408
    end_of_text = 49407
    _start = 49406

    def __init__(self, context_length: int = 77) -> None:
        self.context_length = _checked_context(context_length)

    def encode(self, text: str) -> list[int]:
        """Byte-pair ids of one text, without start and end."""
        return _byte_pairs().encode(text)

    def token_array(self, texts: str | Sequence[str]) -> Int64[np.ndarray, "n context"]:
        """Token ids as numpy, (n, context_length)."""
        return _token_table(texts, self.encode, self.context_length, (self._start, self.end_of_text))

    def __call__(self, texts: str | Sequence[str]) -> torch.Tensor:
        """Token ids, int64 (n, context_length); equal to open_clip's own tokenizer's."""
        import torch

        return torch.from_numpy(self.token_array(texts))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of one row, as far as byte pairs keep it."""
        special = {PAD, self._start}
        kept = []
        for number in map(int, ids):
            if number == self.end_of_text:
                break
            if number not in special:
                kept.append(number)
        return _byte_pairs().decode(kept).strip()

    def to_json(self) -> str:
        """A JSON text from which `from_json` restores the tokenizer."""
        return json.dumps({"kind": "open_clip", "context_length": self.context_length})


def from_json(text: str) -> WordTokenizer | OpenClipTokenizer:
    """Restore a tokenizer that `to_json` described.

    Raises:
        DataError: the text is not such a description.
    """
    try:
        described = json.loads(text)
        kind, context_length = described["kind"], int(described["context_length"])
        words = list(described["words"]) if kind == "words" else []
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a tokenizer's JSON ({error!r}): {text[:80]!r}") from error
    if kind == "words":
        return WordTokenizer(words, context_length)
    if kind == "open_clip":
        return OpenClipTokenizer(context_length)
    raise DataError(f"tokenizer kind {kind!r} is unknown: one of 'words', 'open_clip'")


def check_class_names(tokenizer: Tokenizer, class_names: Sequence[str], template: str, test_set: str) -> None:
    """Make sure that the tokenizer tells classes apart: different names, different rows of tokens.

    Args: template, a prompt with `{}` or `{c}` where the class name goes; test_set, the name that errors speak of.

    Raises:
        DataError: two different class names give the same tokens (words outside the vocabulary, or cut off).
    """
    names = list(dict.fromkeys(class_names))
    first: dict[bytes, str] = {}
    prompts = [template.replace("{}", name).replace("{c}", name) for name in names]
    for name, row in zip(names, tokenizer(prompts), strict=True):
        other = first.setdefault(row.numpy().tobytes(), name)
        if other != name:
            raise DataError(
                f"test set {test_set}: the classes {other!r} and {name!r} are the same to the tokenizer (words outside its "
                "vocabulary are all alike, and what exceeds its context is cut): use --tokenizer open_clip, a larger N in "
                "captions:N, or other names in classnames.txt"
            )


def most_frequent_words(captions: Iterable[str], number: int) -> list[str]:
    """The `number` most frequent words of the captions (fewer if there are fewer), ties in alphabetical order."""
    counts: Counter[str] = Counter()
    for caption, times in Counter(captions).items():
        for word in split_words(caption):
            counts[word] += times
    return sorted(counts, key=lambda word: (-counts[word], word))[:number]


def build_tokenizer(
    name: str, captions: Sequence[str] | None = None, context_length: int = 77
) -> WordTokenizer | OpenClipTokenizer:
    """The tokenizer that `name` asks for.

    `world`: one id per word of the embedded world; `open_clip`: open_clip's own; `captions:N`: the N most frequent
    words of `captions`.

    Raises:
        StudyError: the name is unknown, N is not a positive number, or `captions:N` came without captions.
        DataError: the captions hold no word.
    """
    if name == "world":
        from empirical.world import vocabulary

        return WordTokenizer(vocabulary(), context_length)
    if name == "open_clip":
        return OpenClipTokenizer(context_length)
    kind, _, number = name.partition(":")
    if kind != "captions" or not number.isdecimal() or int(number) < 1:
        raise StudyError(
            f"vocabulary {name!r} is unknown: one of 'world', 'open_clip', 'captions:N' with N >= 1"
        )
    if captions is None:
        raise StudyError(f"vocabulary {name!r} is built from captions, but none were given")
    words = most_frequent_words(captions, int(number))
    if not words:
        raise DataError(
            f"none of the {len(captions)} captions holds a word: vocabulary {name!r} would be empty"
        )
    return WordTokenizer(words, context_length)
