"""Word hashes stand for exactly the words that Python's own splitting gives."""

import random
import string

import numpy as np
import pytest

from synthdiv.baselines import words

ODD = [
    "",
    " ",
    "  two  spaces ",
    "a\u00a0b\u2003c\u3000d\u2028e\u0085f\u1680g\u202fh",
    "tab\tline\nfeed\x0bv\x0cf\rr\x1cfs\x1fus",
    "zero\u200bwidth is no space \u00c2\u00a0 but \u00c2 is a letter",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d \U0001f600 \U0001f600",
    "half \ud800 pair \udfff",
    "\x00\x01 binary \x7f \x00",
    "same same same",
]


def python_words(texts):
    return [word for text in texts for word in text.split()]


def groups(values):
    """The partition of places that equal values make, whatever the values are."""
    first: dict = {}
    return [first.setdefault(value, len(first)) for value in values]


def check(texts):
    batch = words.hash_batch(0, texts)
    assert batch.lengths.tolist() == [len(text.split()) for text in texts]
    assert groups(batch.words.tolist()) == groups(python_words(texts))
    pieces = " ".join(texts).split(" ")
    assert groups(batch.pieces.tolist()) == groups(pieces)


def test_odd_texts_split_as_python_splits_them():
    check(ODD)
    for text in ODD:
        check([text])


@pytest.mark.parametrize("seed", range(20))
def test_random_texts_split_as_python_splits_them(seed):
    generator = random.Random(seed)
    alphabet = string.ascii_lowercase[:4] + "  \n\t\u00a0\u2009\u00e9\u4e16"
    texts = [
        "".join(generator.choices(alphabet, k=generator.choice([0, 1, 7, 60, 400])))
        for _ in range(30)
    ]
    check(texts)


def test_every_white_space_character_of_unicode_separates_and_no_other_does():
    for start in range(0, 0x11000, 0x400):
        text = "".join(f"x{chr(c)}y " for c in range(start, start + 0x400))
        batch = words.hash_batch(0, [text])
        assert groups(batch.words.tolist()) == groups(text.split()), hex(start)


def test_words_are_the_same_wherever_they_stand_and_across_blocks(monkeypatch):
    texts = ["alpha beta " * 50, "x" * 3000, "", "beta alpha\n" * 40, "y" * 900 + " alpha"]
    whole = words.hash_batch(0, texts)
    monkeypatch.setattr(words, "BLOCK_BYTES", 64)
    in_blocks = words.hash_batch(0, texts)
    assert np.array_equal(whole.words, in_blocks.words)
    assert np.array_equal(whole.pieces, in_blocks.pieces)
    assert np.array_equal(whole.lengths, in_blocks.lengths)
    check(texts)


def test_batches_keep_every_text_in_order_and_fit_twelve_bits():
    texts = [str(i) for i in range(10_000)]
    cut = list(words.batches(texts))
    assert [text for _, held in cut for text in held] == texts
    assert [first for first, _ in cut] == [0, 4096, 8192]
    assert all(len(held) <= 4096 for _, held in cut)


def test_a_long_text_makes_a_batch_of_its_own():
    long = "word " * 1_000_000
    cut = list(words.batches(["a", long, "b"]))
    assert [len(held) for _, held in cut] == [2, 1]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngrams_stay_inside_documents(order):
    texts = ["a b c d e", "", "a b", "c d e f", "x"]
    batch = words.hash_batch(0, texts)
    expected = [
        tuple(t[i : i + order])
        for t in (text.split() for text in texts)
        for i in range(len(t) - order + 1)
    ]
    assert groups(batch.ngrams(order).tolist()) == groups(expected)
    owners = [
        place for place, text in enumerate(texts) for _ in range(len(text.split()) - order + 1)
    ]
    assert batch.documents_of(order).tolist() == owners


def test_order_of_words_matters_to_an_ngram():
    batch = words.hash_batch(0, ["a b", "b a", "a b"])
    left, right, again = batch.ngrams(2)
    assert left == again != right


def test_distinct_sorted():
    values = np.array([5, 1, 5, 2, 1], np.uint64)
    assert words.distinct_sorted(values).tolist() == [1, 2, 5]
    assert words.distinct_sorted(np.empty(0, np.uint64)).tolist() == []


def test_mix_is_a_bijection_on_what_it_is_given():
    values = np.arange(100_000, dtype=np.uint64)
    assert len(np.unique(words.mix(values))) == len(values)
