"""The data set card: what the manifest and the documents say, and what nothing says."""

import json
from pathlib import Path
from typing import Any

import pytest

from synthdiv.files import CorpusWriter, read_manifest, write_json
from synthdiv.reporting.card import card, write_card

yaml = pytest.importorskip("yaml")

MADE = {
    "kind": "corpus", "documents": 3, "words": 30, "topics": 2, "sources": 0, "generations": 2,
    "tokens": {"estimated": 40, "method": "words x 4/3"}, "family": "topic", "seed": 7,
    "requests": {"sent": 4, "planned": 4, "failed": 1}, "licence": "CC-BY-4.0",
    "config": {"temperature": 0.8}, "prompts_sha256": "ab" * 32,
    "generator": {"writers": [{"backend": "openai", "model": "a|b", "share": 0.25},
                              {"backend": "gemini", "model": "c", "share": 0.75}]},
    "usage": {"calls": {"sent": 2}, "tokens": {"input": 100, "output": 50}, "cost_usd": 0.5,
              "paid": {"writers": {"calls": 3, "input": 110, "output": 55, "cost_usd": 0.75},
                       "judge": {"calls": 1, "input": 7, "output": 8, "cost_usd": None}}},
    "openings": {"texts": 3, "distinct": 1.0, "stock": 0, "commonest": []},
    "shards": ["shard-00000.parquet"],
}  # fmt: skip


def front_matter(text: str) -> dict[str, Any]:
    """The YAML of a card."""
    _, told, _ = text.split("---\n", 2)
    return yaml.safe_load(told)


def test_a_card_says_what_the_manifest_says(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "text": "one two three " * 3, "style": "blog" if n else "wiki",
         "template": "topic", "topic": f"A/{n % 2}", "model": "c"}
        for n in range(3)
    ]  # fmt: skip
    shard = CorpusWriter(tmp_path).write(rows)
    text = write_card(tmp_path, MADE, [shard]).read_text()
    told = front_matter(text)
    assert told["license"] == "cc-by-4.0" and told["size_categories"] == ["n<1K"]
    assert told["configs"] == [{"config_name": "default", "data_files": "shard-*.parquet"}]
    assert "| a\\|b | openai | 25% |" in text and "| temperature | 0.8 |" in text
    assert "| tokens paid for: writers | 110 tokens read, 55 written |" in text
    assert "| cost: writers | 0.75 USD" in text
    assert "| cost: judge | not known: the model has no known price |" in text
    assert f"| prompts sha256 | {'ab' * 32} |" in text
    assert "| topic | blog | c | 2 | 2 | 1.0 | 24 |" in text
    assert "| topic | wiki | c | 1 | 1 | 1.0 | 12 |" in text
    assert "4, of which 1 failed" in text and "score of the corpus is not known" in text


def test_what_is_not_known_is_said_to_be() -> None:
    text = card("mine", {}, data_files=None)
    assert front_matter(text)["license"] == "unknown" and "configs" not in front_matter(text)
    assert "The terms are not known" in text and "Who wrote the texts is not known" in text
    older = {"tokens": MADE["usage"]["tokens"], "cost_usd": None}  # of the last run alone
    unpriced = MADE | {"usage": older, "licence": "ask <b>me</b>"}
    text = card("mine", unpriced)
    assert front_matter(text)["license"] == "other" and "ask &lt;b>me" in text
    assert "| cost: writers, in the last run | not known: the model has no known price |" in text


def test_a_card_has_the_score_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "score.json").write_text(
        json.dumps({"score": {"mean": 4.5, "ci95": [4.0, 5.0]}, "judge": {"model": "J"},
                    "rounds": {"completed": 50}, "baselines": {"compression_ratio": 2.5}})
    )  # fmt: skip
    text = card("mine", MADE, score=tmp_path)
    assert "4.50, 95% interval 4.00 to 5.00" in text and "judged by J" in text


def test_filtered_and_exported_corpora_keep_their_story(tmp_path: Path, run_command: Any) -> None:
    """Generate, filter, export: the last card still tells who wrote the texts."""
    done = run_command(
        "generate", f"--output={tmp_path}/made", "--llm=offline", "--bind=Generate.topics=2",
        "--bind=Generate.generations=2",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "offline stand-in" in (tmp_path / "made" / "README.md").read_text()
    done = run_command("filter", f"--input={tmp_path}/made", f"--output={tmp_path}/kept")
    assert done.code == 0, done.stderr
    manifest = read_manifest(tmp_path / "kept")
    assert manifest and manifest["licence"] == read_manifest(tmp_path / "made")["licence"]
    for kind, place in (("jsonl", "kept.README.md"), ("parquet", "kept/README.md")):
        done = run_command(
            "export", f"--corpus={tmp_path}/kept", f"--format={kind}", f"--output={tmp_path}/{kind}"
        )
        assert done.code == 0, done.stderr
        text = (tmp_path / kind / place).read_text()
        assert "A filtered corpus of" in text and "offline stand-in" in text
        shown = front_matter(text)["configs"][0]["data_files"]
        assert [*(tmp_path / kind).rglob(shown)] != []


@pytest.mark.parametrize(
    ("manifest", "told"),
    [({"generator": "standard library of Python 3.11", "licence": "PSF"}, "PSF"),
     ({"generator": {"backend": "openai", "model": "m"}}, "| m | openai | 100% |")],
)  # fmt: skip
def test_a_corpus_that_says_who_made_it_in_words_goes_through_all_commands(
    manifest: dict[str, Any], told: str, tmp_path: Path, run_command: Any
) -> None:
    writer = CorpusWriter(tmp_path / "made")
    words = "bees carry nectar home and the keeper of their hive counts what they bring, {} times."
    texts = (words[n:].format(n) for n in range(9))
    writer.write([{"id": str(n), "text": text} for n, text in enumerate(texts)])
    writer.close({"documents": 9} | manifest)
    for name, how in (("filter", "--bind=Filter.drop=('short',)"), ("select", "--documents=4")):
        done = run_command(name, how, f"--input={tmp_path}/made", f"--output={tmp_path}/{name}")
        assert done.code == 0, done.stderr
    for source, name in (("made", "made"), ("filter", "filter"), ("select/diverse", "diverse")):
        done = run_command(
            "export", f"--corpus={tmp_path}/{source}", "--format=jsonl", f"--output={tmp_path}/out"
        )
        assert done.code == 0, done.stderr
        text = (tmp_path / "out" / f"{name}.README.md").read_text()
        known = "generator" in manifest and not isinstance(manifest["generator"], str)
        assert ("Who wrote the texts is not known" in text) != known
        assert told in text


def test_a_manifest_of_somebody_else_is_left_alone(tmp_path: Path, run_command: Any) -> None:
    """Of any form: one that is an object, and one that is none."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "texts.jsonl").write_text('{"text": "Bees carry nectar home."}\n')
    for number, content in enumerate(({"generator": {"writers": [1]}, "input": "a"}, ["shard-1"])):
        write_json(made / "manifest.json", content)
        out = f"--output={tmp_path}/out{number}"
        done = run_command("export", f"--corpus={made}", "--format=jsonl", out)
        assert done.code == 0, done.stderr
