"""What a language model answered when it was asked for values: its codes, replayed.

tests/data/judge/ holds codebooks, codes and labels, without the texts. The figures in docs/judge.md
follow from them, and those that matter are held here.
"""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from synthdiv.diversity.agent import Round
from synthdiv.diversity.agreement import compare_partitions
from synthdiv.diversity.arithmetic import score_of_labels
from synthdiv.diversity.codebook import Codebook, read_codebook
from synthdiv.diversity.criteria import CriteriaSet
from synthdiv.diversity.levels import LevelScore, level_scores
from synthdiv.diversity.measures import rounds_for

DATA = Path(__file__).parent.parent / "data" / "judge"
PAGE = Path(__file__).parents[2] / "docs" / "judge.md"
# How docs/judge.md names the first column of each collection's rows.
ROWS = {
    "books": r"(?:textbook sections, )?(\d+) courses?",
    "news": r"(?:newsgroups, )?(\d+) groups?",
    "clinc": r"(?:requests, )?(\d+) domains?",
    "forms": r"(?:texts on government, )?(\d+) kinds?",
}


class Collection:
    """The answers on one collection of labelled texts."""

    def __init__(self, name: str, directory: Path) -> None:
        content = json.loads((DATA / f"{name}.json").read_text())
        (directory / "codebook.json").write_text(json.dumps(content["codebook"]))
        self.codebook: Codebook = read_codebook(directory / "codebook.json")
        self.rounds = content["rounds"]
        self.again = content["again"]
        self.corpora = sorted({one["corpus"] for one in self.rounds})

    def asked(self, corpus: int) -> list[dict]:
        return [one for one in self.rounds if one["corpus"] == corpus]

    @functools.cache  # noqa: B019
    def levels(self, corpus: int) -> dict[str, LevelScore]:
        basis = CriteriaSet(0, self.codebook)
        rounds = [
            Round(n, basis, tuple(range(10)), codes=tuple(tuple(c.split()) for c in one["codes"]))
            for n, one in enumerate(self.asked(corpus))
        ]
        return {f"{one.facet}.{one.level}": one for one in level_scores(rounds, 10, resamples=20)}

    def values(self, codes: list[str], level: str) -> list[str]:
        facet, depth = self.codebook.find(level)
        return [str(self.codebook.label(facet, c.split()[facet], depth)) for c in codes]

    def ari(self, corpus: int, level: str) -> float:
        asked = self.asked(corpus)
        return compare_partitions(
            [self.values(one["codes"], level) for one in asked],
            [one["labels"] for one in asked],
            [0] * len(asked),
        )["ari"]

    def perfect(self, corpus: int) -> float:
        return float(np.mean([score_of_labels(one["labels"]) for one in self.asked(corpus)]))


@pytest.fixture(params=ROWS, scope="module")
def collection(request, tmp_path_factory) -> tuple[str, Collection]:
    return request.param, Collection(request.param, tmp_path_factory.mktemp(request.param))


def cells(name: str) -> dict[int, list[str]]:
    """The rows of docs/judge.md on one collection, by number of classes."""
    found = {}
    for line in PAGE.read_text().split("## Values at levels")[1].splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if len(row) > 3 and (match := re.fullmatch(ROWS[name], row[0])):
            found[int(match[1])] = row[1:]
    return found


def test_the_page_says_what_the_answers_say(collection) -> None:
    name, answers = collection
    rows = cells(name)
    assert sorted(rows) == answers.corpora
    columns = ["subject.field", "subject.discipline", "subject.specialty", "form.kind"]
    if name == "forms":
        columns = ["subject.field", "subject.discipline", "form.genre", "form.kind"]
    for corpus, (labels, *told) in rows.items():
        assert float(labels) == pytest.approx(answers.perfect(corpus), abs=0.006)
        levels = answers.levels(corpus)
        for level, cell in zip(columns, told, strict=True):
            score, _, ari = cell.partition(", ")
            mean, _, _ = score.partition(" +- ")
            assert float(mean) == pytest.approx(levels[level].score.mean, abs=0.006), level
            if ari:
                assert float(ari) == pytest.approx(answers.ari(corpus, level), abs=0.006), level


def test_the_score_rises_with_what_was_planted(collection) -> None:
    name, answers = collection
    level = "form.kind" if name == "forms" else "subject.discipline"
    means = [answers.levels(corpus)[level].score.mean for corpus in answers.corpora]
    assert means == sorted(means) and len(set(means)) == len(means)


def test_what_was_not_planted_stays(collection) -> None:
    name, answers = collection
    level = "subject.discipline" if name == "forms" else "form.kind"
    means = [answers.levels(corpus)[level].score.mean for corpus in answers.corpora]
    assert max(means) - min(means) <= 0.5


def test_the_cost_of_the_papers_standard_error_is_what_the_page_says(tmp_path) -> None:
    told = re.findall(r"([\d,]+) rounds for the (\w+)", PAGE.read_text())
    assert {name for _, name in told} == {"textbooks", "newsgroups", "requests"}
    for rounds, name in told:
        collection = {"textbooks": "books", "newsgroups": "news", "requests": "clinc"}[name]
        answers = Collection(collection, tmp_path)
        needed = [
            rounds_for(
                np.array(
                    [
                        score_of_labels(answers.values(one["codes"], "subject.discipline"))
                        for one in answers.asked(corpus)
                    ]
                )
            )
            for corpus in answers.corpora
        ]
        assert int(rounds.replace(",", "")) == max(n or 0 for n in needed)


def test_another_reader_gives_the_same_values(tmp_path) -> None:
    answers = Collection("news", tmp_path)
    first = {place: one["codes"] for place, one in enumerate(answers.rounds)}
    pairs = [(first[one["round"]], one["codes"]) for one in answers.again]
    agreed = {
        level: compare_partitions(
            [answers.values(a, level) for a, _ in pairs],
            [answers.values(b, level) for _, b in pairs],
            [0] * len(pairs),
        )["ari"]
        for level in ("subject.field", "subject.discipline", "style.manner")
    }
    assert agreed["subject.field"] > 0.9 and agreed["subject.discipline"] > 0.85
    assert 0.6 < agreed["style.manner"] < 0.75
