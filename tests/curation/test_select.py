"""Selecting the most diverse part of a corpus: what is in it, its size, kills and mistakes."""

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthdiv.corpora import Corpus
from synthdiv.curation.selection import SelectConfig, plan_selection, select, selection_table
from synthdiv.curation.spread import Rows, cells_for, even_shares, near_cells, reaches
from synthdiv.errors import UserError
from synthdiv.files import read_manifest

SUBJECTS = {
    "bees": "hive honey wax queen nectar brood swarm comb",
    "ships": "mast keel rope anchor hull sail deck harbour",
    "bread": "flour yeast dough oven crust salt knead loaf",
    "stars": "orbit comet nebula galaxy lens dust planet light",
}


def texts(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Documents on so many of each subject, all different."""
    draw = np.random.default_rng(0)
    rows = []
    for subject, count in counts.items():
        words = SUBJECTS[subject].split()
        for number in range(count):
            told = " ".join(draw.choice(words, 12))
            text = f"{told} {' '.join(f'w{draw.integers(300)}' for _ in range(4))}"
            rows.append({"id": f"{subject}{number}", "text": text, "subject": subject})
    draw.shuffle(rows)  # type: ignore[arg-type]
    return rows


def selected(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> Counter[str]:
    """How many of each subject are selected."""
    select(Corpus(rows), tmp_path / "out", SelectConfig(**settings), workers=0)
    return Counter(d.provenance["subject"] for d in Corpus(tmp_path / "out" / "diverse"))


def test_rare_subjects_are_selected_and_parts_are_of_one_size(tmp_path: Path) -> None:
    rows = texts({"bees": 120, "ships": 2, "bread": 2, "stars": 2})
    found = selected(tmp_path, rows, documents=12)
    assert set(found) == set(SUBJECTS) and found.total() == 12
    for name in ("diverse", "random", "longest", "deduplicated"):
        manifest = read_manifest(tmp_path / "out" / name)
        assert manifest and manifest["documents"] == 12
        assert (tmp_path / "out" / name / "README.md").exists()


def test_repeats_come_last(tmp_path: Path) -> None:
    rows = texts({"bees": 10, "ships": 10})
    again = [row | {"id": f"again{row['id']}"} for row in rows]
    select(Corpus(rows + again), tmp_path / "out", SelectConfig(documents=15), workers=0)
    for part in ("diverse", "deduplicated"):
        ids = [document.id for document in Corpus(tmp_path / "out" / part)]
        assert len(ids) == 15 and not [name for name in ids if name.startswith("again")]
    longer = SelectConfig(documents=25)
    select(Corpus(rows + again), tmp_path / "more", longer, workers=0)
    assert sum(d.id.startswith("again") for d in Corpus(tmp_path / "more" / "diverse")) == 5


def test_tokens_say_how_much(tmp_path: Path) -> None:
    rows = texts({"bees": 30, "ships": 30})  # of 16 words each, 21.3 tokens
    select(Corpus(rows), tmp_path / "out", SelectConfig(tokens=400), workers=0)
    for part in ("diverse", "random", "longest", "deduplicated"):
        assert len(list(Corpus(tmp_path / "out" / part))) == 18


def test_no_part_has_more_tokens_than_asked_for_whatever_the_lengths(tmp_path: Path) -> None:
    rows = [{"text": " ".join(f"w{n}x{i}" for i in range(3 + 7 * n))} for n in range(12)]
    told = select(Corpus(rows), tmp_path / "out", SelectConfig(tokens=90), workers=0)
    for part in told["parts"].values():
        assert part["words"] <= 67 and part["estimated_tokens"] <= 90 and "tokens" not in part
        assert part["words"] > 45
    table = selection_table(told)
    assert "\nestimated tokens  " in table and "\ncontext_length (words)  " in table
    assert "\ntokens" not in table
    with pytest.raises(UserError, match="too few: the shortest document of .* has 4"):
        select(Corpus(rows), tmp_path / "b", SelectConfig(tokens=3), workers=0)
    assert not (tmp_path / "b").exists()


def test_a_least_quality_leaves_out_what_is_below_or_not_marked(tmp_path: Path) -> None:
    rows = texts({"bees": 20, "ships": 20})
    for place, row in enumerate(rows):
        row["quality"] = None if row["subject"] == "ships" and place % 2 else float(place % 5)
    select(Corpus(rows), tmp_path / "out", SelectConfig(documents=8, least_quality=3), workers=0)
    marks = [d.provenance["quality"] for d in Corpus(tmp_path / "out" / "diverse")]
    assert len(marks) == 8 and min(marks) >= 3
    with pytest.raises(
        UserError, match="has 12 documents of quality 3 or more, not more than the 39"
    ):
        select(Corpus(rows), tmp_path / "b", SelectConfig(documents=39, least_quality=3), workers=0)
    assert not (tmp_path / "b").exists()


def test_clusters_of_a_score_get_even_shares(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = texts({"bees": 90, "ships": 30, "bread": 12, "stars": 8})
    places = defaultdict(list)
    for place, row in enumerate(rows):
        places[row["subject"]].append(place)
    rounds = []
    for number in range(8):
        own = [places[subject][number % len(places[subject])] for subject in SUBJECTS]
        rounds.append(
            {"round": number, "criteria_set": 0, "indices": own, "names": list(SUBJECTS),
             "clusters": [[0], [1], [2], [3]], "corrected": [], "verdicts": [True] * 4,
             "reasons": list(SUBJECTS.values()), "C": 4, "S": 1.0, "score": 4.0, "repaired": 0,
             "failed": False}
        )  # fmt: skip
    (tmp_path / "score").mkdir()
    pq.write_table(pa.Table.from_pylist(rounds), tmp_path / "score" / "rounds.parquet")
    (tmp_path / "score" / "score.json").write_text(json.dumps({"score": {"mean": 4.0}}))
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, rows)))
    about = {"corpus": {"name": "corpus", "sha256": Corpus(corpus).sha256}}
    (tmp_path / "score" / "score.json").write_text(json.dumps(about))
    config = SelectConfig(documents=24, score=str(tmp_path / "score"))
    told = select(Corpus(corpus), tmp_path / "out", config, workers=0)
    found = Counter(d.provenance["subject"] for d in Corpus(tmp_path / "out" / "diverse"))
    assert found == dict.fromkeys(SUBJECTS, 6) and told["cells"] == 4
    with pytest.raises(UserError, match="score of another corpus, 'corpus'"):
        select(Corpus(rows[1:]), tmp_path / "other", config, workers=0)
    for damage in ({"clusters": [[7]]}, {"indices": [10**6] * 4}, {"clusters": 3}):
        damaged = [one | damage for one in rounds]
        pq.write_table(pa.Table.from_pylist(damaged), tmp_path / "score" / "rounds.parquet")
        with pytest.raises(UserError, match="is damaged|is no whole score"):
            select(Corpus(corpus), tmp_path / "other", config, workers=0)
    (tmp_path / "score" / "score.json").unlink()
    with pytest.raises(UserError, match="is no score: it has no score.json"):
        plan_selection(Corpus(corpus), config)
    assert not (tmp_path / "other").exists()


def test_reaches_are_those_of_a_traversal_over_all_pairs() -> None:
    rows_of = [row["text"] for row in texts({"bees": 30, "ships": 20, "stars": 3})]
    rows = Rows(rows_of, len(rows_of))
    rows.add(rows_of)
    among = np.arange(len(rows_of))
    found = reaches(rows, among, np.zeros(len(rows_of), np.int64), seed=0)
    vectors = rows.of(among).toarray()
    order = np.argsort(-found, kind="stable")
    for place in range(1, len(order)):
        left, taken = vectors[order[place:]], vectors[order[:place]]
        nearest = (1 - left @ taken.T).min(axis=1)
        assert found[order[place]] == pytest.approx(nearest.max(), abs=1e-5)
    assert cells_for(53, 20) == 1 and cells_for(10**6, 10**5) == 1000


def test_cells_are_of_near_documents_and_shares_of_them_even() -> None:
    own = texts({"bees": 60, "ships": 60})
    rows = Rows([row["text"] for row in own], len(own))
    rows.add([row["text"] for row in own])
    cells = near_cells(rows, np.arange(len(own)), 2, seed=1)
    subjects = np.array([row["subject"] for row in own])
    assert {len(set(cells[subjects == name])) for name in ("bees", "ships")} == {1}
    rank = even_shares(np.array([0, 0, 0, 1]), np.array([2.0, 0.1, 0.5, 2.0]))
    assert np.argsort(rank, kind="stable").tolist() == [0, 3, 2, 1]


def test_a_killed_selection_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, config = Corpus(texts({"bees": 40, "ships": 9})), SelectConfig(documents=10)
    whole = select(corpus, tmp_path / "whole", config, workers=0)
    with monkeypatch.context() as patch:
        patch.setattr(
            "synthdiv.curation.selection.compare_baselines",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()),
        )
        with pytest.raises(KeyboardInterrupt):
            select(corpus, tmp_path / "killed", config, workers=0)
    assert select(corpus, tmp_path / "killed", config, workers=0) == whole
    assert select(corpus, tmp_path / "killed", config, workers=0) == whole
    same = [tmp_path / name / "diverse" / "shard-00000.parquet" for name in ("whole", "killed")]
    assert same[0].read_bytes() == same[1].read_bytes()


def test_mistakes_are_told(tmp_path: Path) -> None:
    corpus = Corpus(texts({"bees": 9}))
    for settings in ({}, {"documents": 3, "tokens": 5}):
        with pytest.raises(UserError, match="one of them"):
            select(corpus, tmp_path / "a", SelectConfig(**settings), workers=0)
    with pytest.raises(UserError, match="'nowhere' is no score"):
        select(corpus, tmp_path / "a", SelectConfig(documents=3, score="nowhere"), workers=0)
    with pytest.raises(UserError, match="has 9 documents, not more than the 9 asked for"):
        select(corpus, tmp_path / "a", SelectConfig(documents=9), workers=0)
    with pytest.raises(UserError, match="least_quality must be a finite number"):
        SelectConfig(documents=2, least_quality=float("nan"))
    with pytest.raises(UserError, match="no column 'quality'"):
        select(corpus, tmp_path / "a", SelectConfig(documents=2, least_quality=1), workers=0)
    assert not (tmp_path / "a").exists()
    plan = plan_selection(corpus, SelectConfig(documents=3), tmp_path / "a")
    assert "3 documents of the 9" in str(plan) and not (tmp_path / "a").exists()


def test_the_command_shows_the_parts_side_by_side(tmp_path: Path, run_command: Any) -> None:
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, texts({"bees": 40, "stars": 4}))))
    done = run_command(
        "select", f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out", "--documents=10"
    )
    assert done.code == 0, done.stderr
    head = done.stdout.splitlines()[0].split()
    assert head == ["diverse", "random", "longest", "deduplicated", "higher", "is"]
    told = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert selection_table(told) in done.stdout
    refused = run_command("select", f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/b")
    assert refused.code == 2 and "--documents or by --tokens" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("labels/newsgroups20", "label"),
        ("labels/clinc150", "label"),
        ("synthetic/library_of_phi_mistral_7b_ft_full_synth_nested", "course"),
    ],
)
def test_half_of_a_labelled_corpus_has_its_classes(
    shared_data: Path, tmp_path: Path, file: str, label: str
) -> None:
    """Classes as skewed as text is: the half has as many as random draws have, and more."""
    by_class = defaultdict(list)
    with gzip.open(shared_data / f"{file}.jsonl.gz", "rt", encoding="utf-8") as rows:
        for line in rows:
            row = json.loads(line)
            by_class[row[label]].append(row["text"])
    shares: dict[str, list[float]] = defaultdict(list)
    for seed in range(5):
        draw = np.random.default_rng(seed)
        rows_: list[dict[str, str]] = []
        for place, name in enumerate(draw.permutation(sorted(by_class)).tolist()):
            own = by_class[name]
            count = len(own) if place < len(by_class) / 4 else min(3, len(own))
            rows_ += [{"text": own[i], "label": name} for i in draw.choice(len(own), count, False)]
        draw.shuffle(rows_)  # type: ignore[arg-type]
        output = tmp_path / str(seed)
        select(Corpus(rows_), output, SelectConfig(documents=len(rows_) // 2, seed=seed), 0)
        for part in ("diverse", "random", "longest", "deduplicated"):
            has = {d.provenance["label"] for d in Corpus(output / part)}
            shares[part].append(len(has) / len(by_class))
    means = {name: f"{np.mean(own):.3f} (least {min(own):.3f})" for name, own in shares.items()}
    print(f"\n{file}, {len(by_class)} classes, {len(rows_):,} documents: {means}")
    assert np.mean(shares["diverse"]) >= 0.95 * np.mean(shares["random"])
    assert np.mean(shares["diverse"]) > np.mean(shares["random"])
