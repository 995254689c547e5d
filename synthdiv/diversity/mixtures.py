"""Mixtures of known diversity out of labelled documents: nested, and of equal shares.

The classes of a column are put in a seeded order, and the mixtures are of its first 1, 2, 4, ...
and of all classes. Each class has as many documents in them as the smallest one has, and the same
ones in every mixture, so that a mixture holds those before it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from synthdiv.diversity.inquiry import require_labels
from synthdiv.errors import UserError
from synthdiv.files import Corpus, sha256_text

_STREAM = 7  # of random numbers; those of single rounds are lower


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The classes of one column.

    Attributes:
        column: its name.
        classes: in the order in which mixtures take them.
        documents: indices of the documents chosen of each class, equally many, in order.
        label_of: the class of each labelled document, by index.
        drawn_by: the seed of what is drawn.
    """

    column: str
    classes: tuple[str, ...]
    documents: Mapping[str, np.ndarray]
    label_of: Mapping[int, str]
    drawn_by: int = 0

    @property
    def sizes(self) -> list[int]:
        """Numbers of classes of the mixtures: 1, 2, 4, ... and all."""
        total = len(self.classes)
        return [*(1 << n for n in range((total - 1).bit_length())), total]

    def seed(self, size: int) -> int:
        """The seed of the rounds of a mixture, which have nothing to do with those of others."""
        return self.drawn_by + int(sha256_text(f"{self.column} {size}")[:8], 16)

    def mixture(self, size: int) -> np.ndarray:
        """Indices of the documents of the mixture of the first `size` classes, in order."""
        return np.sort(np.concatenate([self.documents[c] for c in self.classes[:size]]))


def read_labels(
    corpus: Corpus, columns: Sequence[str], per_round: int, seed: int
) -> list[Labelled]:
    """Reads the classes of some columns in one pass; documents without a label are left out.

    Args:
        corpus: the labelled documents.
        columns: of labels.
        per_round: documents of a round, which the smallest class must have.
        seed: of the order of the classes and of the documents chosen.

    Raises:
        UserError: a column is not there, has one class only, or one of too few documents.
    """
    for column in columns:
        require_labels(corpus, column)
    found: dict[str, dict[int, str]] = {column: {} for column in columns}
    for index, document in enumerate(corpus):
        for column in columns:
            label = document.provenance.get(column)
            if label is not None and str(label).strip():
                found[column][index] = str(label)
    return [
        _labelled(corpus, column, label_of, per_round, seed) for column, label_of in found.items()
    ]


def _labelled(
    corpus: Corpus, column: str, label_of: Mapping[int, str], per_round: int, seed: int
) -> Labelled:
    members: dict[str, list[int]] = {}
    for index, label in label_of.items():
        members.setdefault(label, []).append(index)
    where = f"column {column!r} of corpus {corpus.name!r}"
    if len(members) < 2:
        only = f"one class only, {next(iter(members))!r}" if members else "no labels"
        raise UserError(f"{where} has {only}: a judge is measured by two classes or more")
    smallest = min(members, key=lambda label: (len(members[label]), label))
    least = len(members[smallest])
    if least < per_round:
        raise UserError(
            f"class {smallest!r} of {where} has {least} documents and a round takes {per_round}:"
            " leave the class out, or take fewer with `documents_per_round`"
        )
    generator = np.random.default_rng([seed, _STREAM])
    names = sorted(members)
    classes = tuple(names[place] for place in generator.permutation(len(names)))
    documents = {label: np.sort(generator.permutation(members[label])[:least]) for label in classes}
    return Labelled(column, classes, documents, label_of, seed)
