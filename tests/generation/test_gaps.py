"""What is missing in a scored corpus: counted, bounded, and turned into topics to write about."""

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthdiv import files
from synthdiv.diversity import ScoreConfig, cluster_score
from synthdiv.errors import UserError
from synthdiv.generation import read_topics
from synthdiv.generation.gaps import Share, find_gaps
from synthdiv.reporting import findings
from synthdiv.reporting.score_files import read_score_files
from synthdiv.reporting.values import facet_values

TOPICS = [
    {"path": ["Nature", "Animals", "Otters"], "keywords": ["otter", "holt", "river", "whiskers"]},
    {"path": ["Nature", "Animals", "Foxes"], "keywords": ["vixen", "earth", "brush", "cubs"]},
    {"path": ["Nature", "Plants", "Oaks"], "keywords": ["acorn", "bark", "galls", "timber"]},
    {"path": ["Crafts", "Weaving", "Looms"], "keywords": ["shuttle", "warp", "weft", "heddle"]},
]


def _value(name, meaning, *values):
    return {"name": name, "meaning": meaning, "values": list(values)}


CODEBOOK = {
    "facets": [
        {
            "name": "subject",
            "question": "What is it about?",
            "rule": "The main one.",
            "levels": [{"name": n, "meaning": "so broad"} for n in ("field", "discipline")],
            "values": [
                _value("nature", "living things", _value("animals", "otter, vixen, holt"),
                       _value("plants", "acorn, bark, timber")),
                _value("crafts", "things made by hand", _value("weaving", "shuttle, warp, weft"),
                       _value("pots/bowls", "clay, kiln; glaze")),
            ],
        }
    ]
}  # fmt: skip


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """30 documents: 28 of animals, 2 of weaving; scored by a codebook, and by clusters."""
    directory = tmp_path_factory.mktemp("gaps")
    texts = [f"The otter left its holt and swam the river, {n} times." for n in range(28)]
    texts += [f"A shuttle carries weft through the warp of {n} looms." for n in range(2)]
    keys = ["Nature/Animals/Otters"] * 28 + ["Crafts/Weaving/Looms + Nature/Animals/Otters"] * 2
    rows = [{"text": t, "topic": k} for t, k in zip(texts, keys, strict=True)]
    for name, kept in (("told", ("text", "topic")), ("untold", ("text",))):
        lines = [json.dumps({key: row[key] for key in kept}) for row in rows]
        (directory / f"{name}.jsonl").write_text("\n".join(lines))
    (directory / "topics.jsonl").write_text("\n".join(map(json.dumps, TOPICS)))
    (directory / "codebook.json").write_text(json.dumps(CODEBOOK))
    how = {"rounds": 30, "with_baselines": False, "bootstrap": 100}
    coded = ScoreConfig(prompts="prompts/levels", criteria=str(directory / "codebook.json"), **how)
    for name, config in (("told", coded), ("untold", ScoreConfig(criteria_rounds=4, **how))):
        corpus = files.Corpus(directory / f"{name}.jsonl")
        cluster_score(corpus, config, output=directory / f"score_{name}")
    return directory


def test_a_share_has_wilsons_interval_or_the_rule_of_three():
    assert Share((), 0, 60, 0.1).ci95 == (0.0, 0.05)
    assert Share((), 0, 2, 0.1).ci95 == (0.0, 1.0)
    low, high = Share((), 5, 50, 0.1).ci95
    assert (low, high) == (pytest.approx(0.0435, abs=1e-4), pytest.approx(0.2136, abs=1e-4))


def test_values_without_documents_are_named_and_bounded_and_made_topics(scored):
    found = find_gaps(scored / "score_told")
    assert found.read == 30  # all of the corpus came up in some round
    shelf = next(one for one in found.shelves if one.name == "subject.discipline")
    assert [one.path for one in shelf.missing] == [("nature", "plants"), ("crafts", "pots/bowls")]
    assert shelf.missing[0].ci95 == (0.0, 3 / 30)
    assert [(one.path[-1], one.documents) for one in shelf.few] == [("weaving", 2)]
    assert [(one.path[-1], one.documents) for one in shelf.full] == [("animals", 28)]
    (scored / "seeds.jsonl").write_text(found.seed_lines())
    seeds = read_topics(scored / "seeds.jsonl")
    assert [topic.key for topic in seeds] == [
        "nature/plants", "crafts/pots or bowls", "crafts/weaving",
    ]  # fmt: skip
    assert seeds[1].keywords == ("clay", "kiln", "glaze")


def test_branches_of_a_tree_are_counted_by_what_the_corpus_says(scored):
    found = find_gaps(scored / "score_told", scored / "topics.jsonl")
    broad, narrow = (one for one in found.shelves if one.name.startswith("topics"))
    assert {one.path: (one.documents, one.even) for one in broad.shares} == {
        ("Nature",): (29, 0.75), ("Crafts",): (1, 0.25),
    }  # fmt: skip
    assert [one.path[-1] for one in narrow.missing] == ["Plants"]
    # Nobody wrote of oaks. Looms are rare, but written of; foxes lie in a branch that is full.
    assert found.seeds[0].key == "Nature/Plants/Oaks"
    assert not {"Crafts/Weaving/Looms", "Nature/Animals/Foxes"} & {t.key for t in found.seeds}


def test_branches_are_found_by_words_where_the_corpus_says_nothing(scored):
    found = find_gaps(scored / "score_untold", scored / "topics.jsonl")
    narrow = found.shelves[-1]
    assert {one.path[-1]: one.documents for one in narrow.shares} == {
        "Animals": 28, "Plants": 0, "Weaving": 2,
    }  # fmt: skip


def test_clusters_alone_show_what_is_full_and_say_that_nothing_shows_what_is_missing(scored):
    found = find_gaps(scored / "score_untold")
    (shelf,) = found.shelves
    assert not shelf.closed and not shelf.missing and not found.seeds
    assert sum(one.documents for one in shelf.shares) == pytest.approx(found.read)
    assert "cannot be told" in str(found)


def test_what_cannot_be_looked_into_is_refused(scored, tmp_path):
    with pytest.raises(UserError, match=r"score\.json"):
        find_gaps(tmp_path)
    with pytest.raises(UserError, match="at least 1"):
        find_gaps(scored / "score_told", scored / "topics.jsonl", depth=0)


def test_of_a_tree_that_no_document_is_about_everything_is_missing(scored, tmp_path):
    """Its topics have nothing to do with what the corpus's column says."""
    (tmp_path / "other.jsonl").write_text(json.dumps({"path": ["Law", "Torts"], "keywords": []}))
    found = find_gaps(scored / "score_told", tmp_path / "other.jsonl")
    assert [one.path for one in found.shelves[-1].missing] == [("Law", "Torts")]
    assert found.seeds[0].key == "Law/Torts"


def test_the_command_writes_what_generate_takes(scored, tmp_path, run_command):
    told = run_command("gaps", f"--score={scored / 'score_told'}", f"--output={tmp_path}")
    assert told.code == 0, told.stderr
    assert "missing  nature / plants" in told.stdout and "3 topics to generate" in told.stdout
    said = json.loads((tmp_path / "gaps.json").read_text())
    assert said["documents_read"] == 30 and said["seeds"] == 3
    planned = run_command(
        "generate", f"--topics={tmp_path / 'seeds.jsonl'}", f"--output={tmp_path / 'c'}",
        "--dry_run", "--llm=offline",
    )  # fmt: skip
    assert planned.code == 0, planned.stderr


NAMES = ("botany", "geology", "optics", "rhetoric", "logic", "law", "music", "cookery")


@pytest.fixture(scope="module")
def even(tmp_path_factory):
    """A score of 8 even topics by four codebooks that name seven of them differently."""
    directory = tmp_path_factory.mktemp("even")

    def called(topic, book):
        return NAMES[topic] if topic == 0 else f"{NAMES[topic]} {book}"

    subject = {"name": "subject", "levels": [{"name": "discipline"}]}
    books = [
        {"facets": [subject | {"values": [{"name": called(topic, book)} for topic in range(8)]}]}
        for book in range(4)
    ]
    values, rounds = [], []
    for number in range(32):  # of 5 documents each; each codebook sees all 40
        book, indices = number % 4, [5 * (number // 4) + place for place in range(5)]
        named = [called(index % 8, book) for index in indices]
        rounds.append({
            "round": number, "criteria_set": book, "indices": indices, "names": named,
            "clusters": [[place] for place in range(5)], "failed": False,
            "metadata": [json.dumps({"subject: discipline": name}) for name in named],
        })  # fmt: skip
        values += [
            {"round": number, "index": index, "subject.discipline": name}
            for index, name in zip(indices, named, strict=True)
        ]
    one = {"facet": "subject", "level": "discipline", "effective_values": 8.2, "other": 0.0}
    score = {
        "corpus": {"name": "even"}, "codebooks": books, "levels": [one],
        "config": {"level": "subject.discipline"},
    }  # fmt: skip
    (directory / "score.json").write_text(json.dumps(score))
    pq.write_table(pa.Table.from_pylist(rounds), directory / "rounds.parquet")
    pq.write_table(pa.Table.from_pylist(values), directory / "values.parquet")
    return directory


def test_shares_are_of_what_was_read_under_the_codebooks_that_know_a_value(even):
    found = find_gaps(even)
    (shelf,) = found.shelves
    assert len(shelf.shares) == 1 + 7 * 4
    assert not shelf.full  # each topic is an eighth, under any codebook
    for one in shelf.shares:
        assert (one.documents, one.read, one.even) == (5, 40, 1 / 8)
    assert found.read == 40
    assert {one.codebooks for one in shelf.shares} == {(1, 2, 3, 4), (1,), (2,), (3,), (4,)}
    assert "known to 4 codebooks" in str(found) and "name values differently" in str(found)


def test_sentences_tell_the_shares_of_one_codebook_where_several_differ(even):
    files = read_score_files(even)
    facets = facet_values(files.score["codebooks"], files.values)
    made, width, _ = findings.found(files.score, facets, [], findings.one_codebook(files))
    assert made.startswith(
        "By codebook 1 of 4, under which 40 documents were read: 50% of what was read is "
    )
    assert made.count("(13%)") == 4 + 2  # half, and what comes next
    assert width == "Subject is wide: as varied as 8.2 equally common disciplines."


@pytest.mark.parametrize(
    "name, content",
    [
        ("score.json", b"[]"),
        ("score.json", b"{}"),
        ("score.json", b'{"corpus": 5}'),
        ("score.json", b'{"corpus": {"name": "c"}, "codebooks": 5}'),
        ("score.json", b'{"corpus": {"name": "c"}, "codebooks": [{"facets": null}]}'),
        ("score.json", b'{"corpus": {"name": "c"}, "codebooks": [{"facets": [{"name": 1}]}]}'),
        ("values.parquet", b"PAR1 cut"),
        ("values.parquet", None),
        ("rounds.parquet", b""),
    ],
)
def test_damaged_files_of_a_score_are_named(even, tmp_path, name, content):
    shutil.copytree(even, tmp_path / "score")
    damaged = tmp_path / "score" / name
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(name)) as fault:
        find_gaps(tmp_path / "score")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("rows", [slice(5, None), slice(None)])
def test_values_of_another_score_are_refused(even, tmp_path, rows):
    shutil.copytree(even, tmp_path / "score")
    values = pq.read_table(even / "values.parquet").to_pylist()
    others = [row | {"subject.discipline": "law"} for row in values][rows]
    pq.write_table(pa.Table.from_pylist(others), tmp_path / "score" / "values.parquet")
    with pytest.raises(UserError, match=r"values\.parquet is not of the score"):
        find_gaps(tmp_path / "score")
