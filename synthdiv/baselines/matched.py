"""Corpora cut to equal documents, equal lengths and so equal tokens, before they are compared.

Every lexical baseline moves with the number and the length of documents, whatever is in them.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from synthdiv.baselines.compute import BaselineConfig, compare_baselines
from synthdiv.baselines.lengths import match_lengths
from synthdiv.engine import LOCAL, Engine
from synthdiv.files import Corpus


@dataclasses.dataclass(frozen=True)
class MatchedTexts:
    """Some documents of a corpus, each cut to its own number of words; read as a stream.

    Attributes:
        corpus: where they are.
        indices: int64 [documents], rising.
        limits: int64 [documents], words that are left of each.
    """

    corpus: Corpus
    indices: np.ndarray
    limits: np.ndarray

    @property
    def words(self) -> int:
        """Words in all."""
        return int(self.limits.sum())

    def __iter__(self) -> Iterator[str]:
        wanted = zip(self.indices.tolist(), self.limits.tolist(), strict=True)
        index, limit = next(wanted, (None, 0))
        for place, document in enumerate(self.corpus):
            if place == index:
                yield first_words(document.text, limit)
                index, limit = next(wanted, (None, 0))
                if index is None:
                    return


def first_words(text: str, count: int) -> str:
    """The beginning of a text that holds its first `count` words, as they stand."""
    parts = text.split(None, count)
    return text[: len(text) - len(parts[count])].rstrip() if len(parts) > count else text


def match(corpora: Sequence[Corpus], most: int | None = None, seed: int = 0) -> list[MatchedTexts]:
    """Draws as many documents of each as the smallest has, and cuts them by `match_lengths`.

    Args:
        corpora: at least one.
        most: documents of each at most.
        seed: of the draw.
    """
    count = min(len(corpus) for corpus in corpora)
    count = count if most is None else min(count, most)
    drawn, lengths = [], []
    for corpus in corpora:
        generator = np.random.Generator(np.random.PCG64(seed))
        drawn.append(np.sort(generator.choice(len(corpus), count, replace=False)))
        lengths.append(_words(corpus, drawn[-1]))
    limits = match_lengths(lengths)
    return [MatchedTexts(*one) for one in zip(corpora, drawn, limits, strict=True)]


def _words(corpus: Corpus, indices: np.ndarray) -> np.ndarray:
    wanted = set(indices.tolist())
    counts = [len(d.text.split()) for i, d in enumerate(corpus) if i in wanted]
    return np.array(counts, np.int64)


def matched_baselines(
    corpora: Sequence[Corpus],
    config: BaselineConfig | None = None,
    most: int | None = None,
    engine: Engine = LOCAL,
) -> tuple[list[dict[str, float]], list[MatchedTexts]]:
    """The baselines of several corpora at equal documents and tokens, in one embedding.

    Args:
        corpora: what is compared.
        config, engine: as of `compute_baselines`.
        most: documents of each at most.

    Returns:
        what `compute_baselines` returns, of each; and what it was computed on.
    """
    config = config or BaselineConfig()
    matched = match(corpora, most, config.seed)
    return compare_baselines(matched, config, engine), matched
