"""How documents are read by their words alone: what each is about, and how it is written.

Content is a sparse vector of word stems (counts to the power 1.5 times the fixed prior of
`common_words.txt`, which stands for the inverse document frequency). Manner is a few measurements
that need no dictionary. Both are functions of the text alone and are kept for texts that come
again, as most do in the verification of a round.
"""

import functools
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_WORDS_READ = 400  # of a document: enough to know its subject
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_SENTENCE_END = re.compile(r"[.!?\u3002\u0964]+(?:\s|$)")
_ENDINGS = ("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ed", "es", "ly", "s")
_LIST_LINE = re.compile(r"^\s*(?:[-*+\u2022]|\d{1,2}[.)])\s", re.MULTILINE)
_YOU = frozenset(("you", "your", "yours", "yourself", "yourselves"))
_I = frozenset(("i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "ourselves"))
_THEY = frozenset(("he", "him", "his", "she", "her", "hers", "they", "them", "their", "theirs"))
_MODAL = frozenset(("can", "could", "may", "might", "must", "shall", "should", "will", "would"))
_PAST_FORMS = """
    was were had did said went came saw knew took made found told thought became began left felt
    kept held brought ran gave got heard stood wrote led lost met sat spoke grew fell
"""
_PAST = frozenset(_PAST_FORMS.split())
# Without a last "s": kindness, abilities.
_ABSTRACT = ("tion", "sion", "ment", "nes", "ity", "itie", "ance", "ence", "ism", "ology")

# The measurements, each with the mean and spread that English prose of mixed kinds has.
MANNER = {
    "sentence length": (17.0, 8.0),  # words
    "word length": (4.7, 0.5),  # letters
    "vocabulary richness": (0.62, 0.12),  # different words among the first 100
    "figures and symbols": (0.03, 0.035),  # share of characters
    "address of the reader": (0.012, 0.018),  # share of words
    "first person": (0.02, 0.025),  # share of words
    "third persons": (0.025, 0.025),  # share of words
    "questions and exclamations": (0.1, 0.14),  # share of sentence ends
    "line breaks": (0.012, 0.015),  # share of characters
    "list lines": (0.05, 0.15),  # share of lines
    "function words": (0.45, 0.08),  # share of words
    "past tense": (0.045, 0.031),  # share of words
    "contractions": (0.013, 0.015),  # share of words
    "abstract nouns": (0.03, 0.023),  # share of words: those in -tion, -ness and the like
    "modal verbs": (0.011, 0.012),  # share of words
}
MANNER_NAMES = tuple(MANNER)
_CENTRE = np.array([centre for centre, _ in MANNER.values()])
_SPREAD = np.array([spread for _, spread in MANNER.values()])


@dataclass(frozen=True)
class Reading:
    """What the judge knows of a document.

    Attributes:
        stems: 32-bit hashes of its word stems, sorted, `[V]`.
        weights: unit vector of what they weigh, `[V]`; empty for a text without words.
        manner: measurements in units of their usual spread, `[len(MANNER)]`.
        words: how many there are, of those read.
        terms: its most telling words, the first ones most.
        telling: stems of its words that are not common.
        wording: all its words, function words too.
    """

    stems: np.ndarray
    weights: np.ndarray
    manner: np.ndarray
    words: int
    terms: tuple[str, ...]
    telling: frozenset[int]
    wording: frozenset[str]


@functools.cache
def _common_words() -> tuple[dict[str, float], frozenset[str]]:
    """Weight of each common word, and the function words among them."""
    weights: dict[str, float] = {}
    weight = 0.0
    path = Path(__file__).with_name("common_words.txt")
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            weight = float(line[1 : line.index("]")].split()[1])
        elif not line.startswith("#"):
            weights.update(dict.fromkeys(line.split(), weight))
    return weights, frozenset(word for word, weight in weights.items() if weight == 0)


def commonness_weight(word: str) -> float:
    """How much a lower-case word tells of a subject: 0 for function words, 1 if not common."""
    return _common_words()[0].get(word, 1.0)


def stem(word: str) -> str:
    """A word without its commonest endings, so that plural and singular meet."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


@functools.lru_cache(maxsize=200_000)
def _term(word: str) -> tuple[int, float]:
    """Hash of a word's stem, and the word's weight."""
    weight = commonness_weight(word)
    contraction = "'" in word or "\u2019" in word
    letters = len(word) < 3 and word.isascii()  # in many other scripts two characters are a word
    if contraction or letters:
        weight = 0.0
    return zlib.crc32(stem(word).encode("utf-8", "replace")), weight


@functools.lru_cache(maxsize=8192)
def read(text: str) -> Reading:
    """Reads a document."""
    head = text[: _WORDS_READ * 24]
    words = _WORD.findall(head.lower())[:_WORDS_READ]
    counts = Counter(words)
    content: dict[int, float] = {}
    ranked: list[tuple[float, str]] = []
    telling: set[int] = set()
    for word, count in counts.items():
        place, weight = _term(word)
        if weight:
            if weight == 1.0:
                telling.add(place)
            # More than proportional: what a text is about it says again and again, while texts of
            # one template share many words that each of them says once.
            weight *= count**1.5
            content[place] = content.get(place, 0.0) + weight
            ranked.append((weight, word))
    stems = np.array(sorted(content), np.int64)
    weights = np.array([content[s] for s in stems.tolist()])
    if len(weights):
        weights /= np.sqrt(weights @ weights)
    # Among equal weights the longer word tells more; the text itself breaks the ties that remain.
    ranked.sort(key=lambda w: (-w[0], -len(w[1])))
    terms = tuple(word for _, word in ranked[:12])
    manner = _manner(head, words, counts)
    return Reading(stems, weights, manner, len(words), terms, frozenset(telling), frozenset(counts))


def cosines(readings: Sequence[Reading]) -> np.ndarray:
    """Cosine of the content of each two documents, `[K, K]`; two without words are alike."""
    vocabulary, place = np.unique(np.concatenate([r.stems for r in readings]), return_inverse=True)
    content_KV = np.zeros((len(readings), len(vocabulary)))
    rows = np.repeat(np.arange(len(readings)), [len(r.stems) for r in readings])
    content_KV[rows, place] = np.concatenate([r.weights for r in readings])
    cosine_KK = content_KV @ content_KV.T
    empty = np.array([not len(r.stems) for r in readings])
    cosine_KK[np.ix_(empty, empty)] = 1.0
    return cosine_KK


def unshared(one: frozenset, other: frozenset) -> float:
    """1 - cosine of which words two texts have, however often: 1 if no common one."""
    if not one or not other:
        return float(len(one) != len(other))
    return 1.0 - len(one & other) / math.sqrt(len(one) * len(other))


def _manner(text: str, words: list[str], counts: Counter) -> np.ndarray:
    if not words:
        return np.zeros(len(MANNER))
    function_words = _common_words()[1]
    total = len(words)
    characters = max(len(text), 1)
    ends = _SENTENCE_END.findall(text)
    lines = text.count("\n") + 1
    letters = sum(len(w) * n for w, n in counts.items())
    spaces = text.count(" ")
    figures = sum(text.count(c) for c in "0123456789=+*/<>{}[]()_#%$&@|\\^~")
    measured = np.array(
        [
            total / max(len(ends), 1),
            letters / total,
            len(set(words[:100])) / min(total, 100),
            figures / max(characters - spaces, 1),
            sum(counts[w] for w in _YOU) / total,
            sum(counts[w] for w in _I) / total,
            sum(counts[w] for w in _THEY) / total,
            sum(e[0] in "?!" for e in ends) / max(len(ends), 1),
            (lines - 1) / characters,
            len(_LIST_LINE.findall(text)) / lines,
            sum(n for w, n in counts.items() if w in function_words) / total,
            sum(n for w, n in counts.items() if _is_past(w)) / total,
            sum(n for w, n in counts.items() if "'" in w or "\u2019" in w) / total,
            sum(n for w, n in counts.items() if _is_abstract(w)) / total,
            sum(counts[w] for w in _MODAL) / total,
        ]
    )
    return np.clip((measured - _CENTRE) / _SPREAD, -4.0, 4.0)


@functools.lru_cache(maxsize=200_000)
def _is_past(word: str) -> bool:
    return word in _PAST or (len(word) > 4 and word.endswith("ed"))


@functools.lru_cache(maxsize=200_000)
def _is_abstract(word: str) -> bool:
    return len(word) > 6 and word.removesuffix("s").endswith(_ABSTRACT)
