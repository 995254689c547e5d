"""What is missing in a scored corpus: counted, bounded, and turned into topics to write about."""

import json

import pytest

from synthdiv import files
from synthdiv.diversity import ScoreConfig, cluster_score
from synthdiv.errors import UserError
from synthdiv.generation import read_topics
from synthdiv.generation.gaps import Share, find_gaps

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
