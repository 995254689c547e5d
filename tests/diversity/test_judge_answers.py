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
    "m10": r"(?:titles as bags of words, )?(\d+) areas?",
    "forms": r"(?:texts on government, )?(\d+) kinds?",
}


class Collection:
    """The answers on one collection of labelled texts."""

    def __init__(self, name: str, directory: Path) -> None:
        content = json.loads((DATA / f"{name}.json").read_text())
        (directory / "codebook.json").write_text(json.dumps(content["codebook"]))
        self.codebook: Codebook = read_codebook(directory / "codebook.json")
        self.rounds = content["rounds"]
        self.again = content.get("again", [])
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


def table(section: str) -> list[list[str]]:
    """The rows of the tables in one section of docs/judge.md."""
    text = PAGE.read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]


def cells(name: str) -> dict[int, list[str]]:
    """The rows of docs/judge.md on values of one collection, by number of classes."""
    matches = [(re.fullmatch(ROWS[name], row[0]), row) for row in table("Values at levels")]
    return {int(match[1]): row[1:] for match, row in matches if match}


def figures(answers: list[list], labels: list[list]) -> str:
    """Score, and ARI where there are several classes, as the page writes them."""
    score = f"{np.mean([score_of_labels(one) for one in answers]):.2f}"
    if len({label for one in labels for label in one}) == 1:
        return score
    return f"{score}, {compare_partitions(answers, labels, [0] * len(answers))['ari']:.2f}"


def kept(name: str) -> list[dict]:
    return json.loads((DATA / f"{name}.json").read_text())["rounds"]


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
    # The kind of a text that is a bag of words is a guess, and moves by 0.6; its genre does not.
    level = {"forms": "subject.discipline", "m10": "form.genre"}.get(name, "form.kind")
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


def codes_at(one: dict, codebook: Codebook, level: str) -> list[str]:
    facet, depth = codebook.find(level)
    return [str(codebook.label(facet, codes.split()[facet], depth)) for codes in one["codes"]]


def test_the_page_says_what_the_papers_prompts_came_to() -> None:
    rounds, rows = kept("paper"), [row for row in table("Clusters") if len(row) == 7][1:]
    assert {int(row[0].split()[0]) for row in rows} == {one["corpus"] for one in rounds}
    for head, *cells in rows:
        for size, labels, sorted_ in zip((5, 10, 20), cells[::2], cells[1::2], strict=True):
            chosen = [
                one for one in rounds if (one["K"], one["corpus"]) == (size, int(head.split()[0]))
            ]
            truth = [one["labels"] for one in chosen]
            assert labels == f"{np.mean([score_of_labels(one) for one in truth]):.2f}"
            assert sorted_ == figures([one["clusters"] for one in chosen], truth)


def test_the_page_says_what_sorting_by_one_rule_came_to(tmp_path) -> None:
    rounds = kept("rule")
    values = {
        "course": (kept("same_textbooks_values"), Collection("books", tmp_path).codebook),
        "group": (kept("same_newsgroups_values"), Collection("news", tmp_path).codebook),
    }
    size, collection, checked = 0, "", 0
    for head, labels, sorted_, corrected, coded in table("Clusters by one rule")[1:]:
        found = re.fullmatch(r"(?:(20 rounds, )?(\d+) documents: )?(\d+) (course|group)s?", head)
        assert found, head
        if found[2]:
            size = int(found[2])
            collection = "textbooks" if found[4] == "course" else "newsgroups"
            collection += ", 20 rounds" if found[1] else ""
        classes = int(found[3])
        chosen = [
            one
            for one in rounds
            if (one["collection"], one["K"], one["corpus"]) == (collection, size, classes)
        ]
        truth = [one["labels"] for one in chosen]
        assert labels == f"{np.mean([score_of_labels(one) for one in truth]):.2f}"
        assert sorted_ == figures([one["clusters"] for one in chosen], truth)
        if corrected:
            assert corrected == figures([one["corrected"] for one in chosen], truth)
        if coded:
            rows, codebook = values[found[4]]
            same = [one for one in rows if one["corpus"] == classes]
            assert [one["labels"] for one in same] == truth
            codes = [codes_at(one, codebook, "subject.discipline") for one in same]
            assert coded == figures(codes, truth)
        checked += len(chosen)
    assert checked == len(rounds)


def test_the_page_says_what_other_wordings_came_to() -> None:
    rounds = kept("wordings")
    keys = {
        "question, ours": ("coding", "first"),
        "ours, another reader": ("coding", "second"),
        "second wording": ("coding", "b"),
        "third wording": ("coding", "c"),
        "list, second wording": ("list", "b"),
        "list, third wording": ("list", "c"),
        "list, the best of each": ("list", "d"),
    }
    columns = [("books", 1), ("books", 4), ("books", 16), ("news", 1), ("news", 5), ("news", 20)]
    rows = {row[0]: row[1:] for row in table("Wordings")}
    for name, (part, wording) in keys.items():
        for (collection, classes), cell in zip(columns, rows[name], strict=True):
            chosen = [r for r in rounds if (r["collection"], r["corpus"]) == (collection, classes)]
            truth = [one["labels"] for one in chosen]
            assert cell == figures([one[part][wording] for one in chosen], truth), name


@pytest.mark.parametrize(
    ("name", "level", "row"),
    [
        ("pretraining", "subject.discipline", r"(?:pretraining-1, )?(\d+) courses?"),
        ("instruction", "task.kind", r"(?:instruction-1, )?(\d+) categor(?:y|ies)"),
        ("news", "subject.beat", r"(?:news-1, )?(\d+) groups?"),
        ("code_area", "purpose.task", r"(?:code-1, )?(\d+) purposes?"),
        ("code_kind", "form.kind", r"(?:code-1, )?(\d+) kinds? of file"),
    ],
)
def test_the_page_says_what_published_codebooks_came_to(name, level, row) -> None:
    content = json.loads((DATA / f"published_{name}.json").read_text())
    codebook = read_codebook(content["codebook"])
    found = 0
    for head, labels, cell in table("Published codebooks"):
        if match := re.fullmatch(row, head):
            chosen = [one for one in content["rounds"] if one["corpus"] == int(match[1])]
            truth = [one["labels"] for one in chosen]
            assert labels == f"{np.mean([score_of_labels(one) for one in truth]):.2f}"
            assert cell == figures([codes_at(one, codebook, level) for one in chosen], truth)
            found += len(chosen)
    assert found == len(content["rounds"])


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("courses", r"(?:textbook sections, )?(\d+) courses?"),
        ("groups", r"(?:newsgroups, )?(\d+) groups?"),
        ("departments_gpt35", r"sections by GPT-3\.5, (\d+) departments?"),
        ("departments_mistral", r"sections by Mistral, (\d+) departments?"),
        ("areas", r"(?:titles as bags of words, )?(\d+) areas?"),
    ],
)
def test_the_page_says_what_the_classes_as_a_list_came_to(name, row, tmp_path) -> None:
    answers = Collection(f"own_{name}", tmp_path)
    (facet,) = answers.codebook.facets
    found = []
    for head, labels, cell in table("A list of one's own"):
        if match := re.fullmatch(row, head):
            chosen = answers.asked(int(match[1]))
            truth = [one["labels"] for one in chosen]
            assert labels == f"{np.mean([score_of_labels(one) for one in truth]):.2f}"
            level = f"subject.{facet.levels[0].name}"
            assert cell == figures([answers.values(one["codes"], level) for one in chosen], truth)
            found.append(int(match[1]))
    assert found == answers.corpora


def test_the_page_says_how_near_the_classes_as_a_list_come() -> None:
    rows = [row for row in table("A list of one's own")[1:] if "area" not in row[0]]
    agreed, off = [], []
    for head, labels, cell in rows:
        score, _, ari = cell.partition(", ")
        off.append(abs(float(score) - float(labels)))
        if int(re.search(r"(\d+) \w+$", head)[1]) >= 4:  # type: ignore[index]
            agreed.append(float(ari))
    assert max(off) <= 1.0
    text = PAGE.read_text()
    assert f"{min(agreed):.2f} to {max(agreed):.2f}, mean {np.mean(agreed):.2f}" in text


@pytest.mark.parametrize(("name", "writer"), [("gpt35", r"GPT-3\.5"), ("mistral", "Mistral")])
def test_the_page_says_what_departments_came_to(name, writer, tmp_path) -> None:
    answers = Collection(f"fields_{name}", tmp_path)
    columns = ("subject.field", "subject.discipline", "form.kind")
    found = []
    for head, labels, *told in table("Classes between two levels"):
        if match := re.fullmatch(writer + r", (\d+) departments?", head):
            chosen = answers.asked(int(match[1]))
            truth = [one["labels"] for one in chosen]
            assert labels == f"{np.mean([score_of_labels(one) for one in truth]):.2f}"
            for level, cell in zip(columns, told, strict=True):
                values = [answers.values(one["codes"], level) for one in chosen]
                assert figures(values, truth).startswith(cell), level
            found.append(int(match[1]))
    assert found == answers.corpora
