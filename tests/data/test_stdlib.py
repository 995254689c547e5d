"""The standard library's documentation: readable, enough, the same every time, held out whole."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from synthdiv.data import stdlib_corpus, stdlib_instructions, stdlib_pages
from synthdiv.data.stdlib import PAGE
from synthdiv.errors import UserError
from synthdiv.files import Corpus, read_manifest


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    root = tmp_path_factory.mktemp("stdlib")
    return {
        "train": Corpus(stdlib_corpus(root / "train")),
        "heldout": Corpus(stdlib_corpus(root / "heldout", heldout=True)),
    }


def test_sizes(written: dict[str, Corpus]) -> None:
    bytes_of = {k: read_manifest(c.path)["bytes"] for k, c in written.items()}
    assert 1_500_000 < bytes_of["train"] < 5_000_000
    assert 0.02 < bytes_of["heldout"] / bytes_of["train"] < 0.15
    for corpus in written.values():
        lengths = [len(d.text) for d in corpus]
        assert min(lengths) >= 300 and max(lengths) <= 3000
        assert len({d.id for d in corpus}) == len(lengths)
    held = Counter(d.provenance["module"].split(".")[0] for d in written["heldout"])
    del held["topic"]  # its topics count one by one
    assert max(held.values()) == 8, "no package outweighs the others"


def test_held_out_modules_are_held_out(written: dict[str, Corpus], tmp_path: Path) -> None:
    modules = {k: {d.provenance["module"] for d in c} for k, c in written.items()}
    assert not modules["train"] & modules["heldout"]
    packages = {k: {m.split(".")[0] for m in v} - {"topic"} for k, v in modules.items()}
    assert not packages["train"] & packages["heldout"]
    held = {m for m in modules["heldout"] if not m.startswith("topic.")}
    lines = stdlib_instructions(tmp_path / "i.jsonl").read_text().splitlines()
    for line in lines:
        question = json.loads(line)["messages"][0]["content"]
        asked = re.search(r"(?:Python's module|the module) ([\w.]+)", question)
        assert not (asked and asked[1] in held)


def test_the_text_is_prose_and_is_python_s_own(written: dict[str, Corpus]) -> None:
    texts = {d.provenance["module"]: [] for d in written["train"]}
    for document in written["train"]:
        texts[document.provenance["module"]].append(document.text)
        assert not re.search(r"[ \t]$|\n{3}|\r|^[-=]{4,}$", document.text, re.MULTILINE)
    assert "Conversion functions between RGB and other color systems." in texts["colorsys"][0]
    assert any("class textwrap.TextWrapper" in t for t in texts["textwrap"])


def test_the_same_every_time_and_made_once(written: dict[str, Corpus], tmp_path: Path) -> None:
    again = Corpus(stdlib_corpus(tmp_path))
    assert again.sha256 == written["train"].sha256
    before = (tmp_path / "manifest.json").stat().st_mtime_ns
    stdlib_corpus(tmp_path)
    assert (tmp_path / "manifest.json").stat().st_mtime_ns == before


def test_instructions(tmp_path: Path) -> None:
    path = stdlib_instructions(tmp_path / "a.jsonl")
    rows = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    assert 1000 <= len(rows) <= 2000
    assert all([m["role"] for m in row] == ["user", "assistant"] for row in rows)
    assert len({row[0]["content"] for row in rows}) > 0.95 * len(rows)
    options = [r for r in rows if "\nOptions: " in r[0]["content"]]
    assert len(options) > 100
    for question, answer in options:
        offered = re.search(r"Options: (.*)$", question["content"], re.MULTILINE)[1].split(", ")
        assert len(set(offered)) == 4 and answer["content"] in offered
    assert stdlib_instructions(tmp_path / "b.jsonl").read_text() == path.read_text()
    other = stdlib_instructions(tmp_path / "c.jsonl", limit=10, seed=1).read_text()
    assert len(other.splitlines()) == 10 and other not in path.read_text()


def test_pages_are_of_so_many_packages_and_all_corpora_are_equally_long(
    written: dict[str, Corpus], tmp_path: Path
) -> None:
    held = {d.provenance["module"].split(".")[0] for d in written["heldout"]} - {"topic"}
    sizes, packages = [], []
    for number, (count, pages) in enumerate([(4, 16), (16, 4), (16, 4)]):
        documents = list(Corpus(stdlib_pages(tmp_path / str(number), count, pages, f"a{number}")))
        of = Counter(d.provenance["package"] for d in documents)
        assert len(of) == count and set(of.values()) == {pages} and not set(of) & held
        assert all(0.8 * PAGE < len(d.text) <= PAGE for d in documents)
        sizes.append(sum(len(d.text) for d in documents))
        packages.append(set(of))
    assert max(sizes) < 1.02 * min(sizes)
    assert packages[1] != packages[2], "each seed draws its own"
    again = Corpus(stdlib_pages(tmp_path / "again", 16, 4, "a1"))
    assert again.sha256 == Corpus(tmp_path / "1").sha256


def test_more_packages_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^\d+ packages .* have 40 pages .*, not 60"):
        stdlib_pages(tmp_path / "many", 60, 40)
    assert not (tmp_path / "many").exists()
