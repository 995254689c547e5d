"""Corpora made end to end by the offline writer through a real session, whole, cut and resumed."""

import gzip
import json

import pytest

from synthdiv import files
from synthdiv.config import find
from synthdiv.data.sft import sft_examples
from synthdiv.errors import Paused, UserError
from synthdiv.generation import GenerateConfig, generate, plan_generation
from synthdiv.generation import generator as generator_module
from synthdiv.generation.plan import CorpusPlan
from synthdiv.llm import LLMConfig, Session, open_session
from synthdiv.llm.money import FREE
from synthdiv.llm.protocol import Permanent
from synthdiv.offline.backend import OfflineBackend

SEEDS = find("configs/topics/seeds.jsonl")
FAMILIES = ("topic", "topic_styles", "topic_styles_persona", "multi_topic_styles_persona")


def make(output, llm=None, **settings):
    config = GenerateConfig(**({"topics": 6, "generations": 3} | settings))
    with open_session(llm or LLMConfig(), output / "answers.sqlite") as session:
        return generate(SEEDS, output, config, session)


def documents(output):
    return list(files.Corpus(output))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_a_corpus_with_its_provenance(tmp_path, family):
    manifest = make(tmp_path / "corpus", family=family)
    rows = documents(tmp_path / "corpus")
    with_style, with_people, several = (part in family for part in ("styles", "persona", "multi"))
    assert len(rows) == manifest["documents"] == 18
    assert manifest["requests"] == {"sent": 18, "planned": 18, "failed": 0}
    assert manifest["generator"]["backend"] == "offline"
    assert "not by an LLM" in manifest["licence"]
    assert manifest["words"] == sum(len(row.text.split()) for row in rows)
    assert manifest["tokens"]["estimated"] == pytest.approx(manifest["words"] * 4 / 3, rel=0.01)
    assert len({row.id for row in rows}) == len({row.text for row in rows}) == 18
    assert len({row.provenance["prompt_sha256"] for row in rows}) == 18
    assert manifest["openings"]["texts"] == 18
    for row in rows:
        seen = row.provenance
        assert seen["template"] == family and seen["model"] == "offline-stand-in (not an LLM)"
        assert bool(seen["style"]) == with_style and bool(seen["persona"]) == with_people
        topics = seen["topic"].split(" + ")
        assert len(topics) == (3 if several else 1)
        assert all(topic.rsplit("/", 1)[-1] in row.text for topic in topics)
        reply, shape = json.loads(seen["reply"]), json.loads(seen["shape"])
        assert len(reply["passages"]) == shape["passages"]
        asked = reply.get("choice_questions", []) + reply.get("open_questions", [])
        assert len(asked) == shape["choices"] + shape["questions"]
        assert all(question["question"] in row.text for question in asked)
        for question in reply.get("choice_questions", []):
            assert question["options"][question["answer"] - 1] in row.text
            wrong = question["options"][question["answer"] - 2]
            assert (f". {wrong}\n" in row.text) == shape["options_shown"]
        angle = json.loads(seen["angle"])
        assert several or angle["focus"] in seen["keywords"]
        if with_people:  # for whom it is written is not said
            assert seen["persona"].split(",")[0] not in row.text


def test_topics_and_styles_come_in_equal_parts(tmp_path):
    make(tmp_path / "corpus", family="topic_styles", topics=5, generations=8)
    seen = [
        (row.provenance["topic"], row.provenance["style"]) for row in documents(tmp_path / "corpus")
    ]
    assert {seen.count(pair) for pair in seen} == {2} and len(set(seen)) == 5 * 4


def test_more_topics_and_generations_contain_the_fewer(tmp_path):
    make(tmp_path / "few", topics=4, generations=2, family="topic_styles_persona")
    make(tmp_path / "many", topics=9, generations=3, family="topic_styles_persona")
    few = {row.id: row.text for row in documents(tmp_path / "few")}
    many = {row.id: row.text for row in documents(tmp_path / "many")}
    assert few.items() <= many.items()


def test_the_same_again_is_the_same_and_another_seed_is_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make(tmp_path / name, seed=seed)
    a, b, c = (files.Corpus(tmp_path / name).sha256 for name in "abc")
    assert a == b != c


def test_few_topics_told_often_compress_better_than_many_told_once(tmp_path):
    make(tmp_path / "few", topics=2, generations=24)
    make(tmp_path / "many", topics=48, generations=1)

    def ratio(name):
        text = "\n".join(row.text for row in documents(tmp_path / name)).encode()
        return len(text) / len(gzip.compress(text, mtime=0))

    assert ratio("few") > 1.15 * ratio("many")


def test_a_run_stopped_by_its_cap_goes_on_and_asks_nothing_twice(tmp_path):
    capped = LLMConfig(max_calls=10, concurrency=2)
    for _ in range(2):  # the second time, nothing more can be asked
        words = (
            r"^10 of 18 requests are answered, a PARTIAL corpus of 10 documents is in .*max_calls"
        )
        with pytest.raises(Paused, match=words) as pause:
            make(tmp_path / "cut", capped, shard_documents=4)
        assert pause.value.flags == {"max_calls": 10 + 10 + 1}  # 8 and a fifth, and one
        assert files.read_manifest(tmp_path / "cut") is None
        shards = sorted(path.name for path in (tmp_path / "cut").glob("*.parquet"))
        assert shards == [f"shard-0000{n}.parquet" for n in range(3)]
        assert [len(files.Corpus(tmp_path / "cut" / shard)) for shard in shards] == [4, 4, 2]
        partial = files.read_json(tmp_path / "cut" / "partial.json")
        assert partial["kind"] == "partial corpus" and "`max_calls=10`" in partial["reason"]
        assert partial["documents"] == len(documents(tmp_path / "cut")) == 10
        assert partial["requests"] == {"sent": 10, "planned": 18, "failed": 0}
        assert partial["open_shard"] == shards[-1]
    manifest = make(tmp_path / "cut", shard_documents=4)
    # Ten answers were kept, eight of them in shards, whose requests are not even made again.
    assert manifest["usage"]["calls"] | {"retried": 0} == {
        "sent": 8, "cached": 2, "retried": 0, "repaired": 0, "failed": 0,
    }  # fmt: skip
    assert not (tmp_path / "cut" / "partial.json").exists()
    make(tmp_path / "whole", shard_documents=4)
    whole = {p.name: p.read_bytes() for p in (tmp_path / "whole").glob("*.parquet")}
    assert whole == {p.name: p.read_bytes() for p in (tmp_path / "cut").glob("*.parquet")}
    assert len(whole) == 5


def test_a_cap_before_the_first_answer_leaves_no_corpus(tmp_path):
    with pytest.raises(Paused, match="^the next call could exceed `max_calls=0`"):
        make(tmp_path / "cut", LLMConfig(max_calls=0))
    assert not (tmp_path / "cut" / "partial.json").exists()
    with pytest.raises(UserError, match="no documents in"):
        files.Corpus(tmp_path / "cut")


def test_a_complete_corpus_is_left_alone(tmp_path):
    manifest = make(tmp_path / "corpus")
    (tmp_path / "corpus" / "answers.sqlite").unlink()
    before = (tmp_path / "corpus" / "shard-00000.parquet").stat().st_mtime_ns
    assert make(tmp_path / "corpus") == manifest
    assert (tmp_path / "corpus" / "shard-00000.parquet").stat().st_mtime_ns == before


def test_a_directory_of_another_corpus_is_refused(tmp_path):
    make(tmp_path / "corpus")
    with pytest.raises(UserError, match=r"config.family was 'topic' and is now 'topic_styles'"):
        make(tmp_path / "corpus", family="topic_styles")
    assert make(tmp_path / "corpus", licence="CC0", shard_documents=1)["documents"] == 18
    with pytest.raises(UserError, match=r"another corpus \(config.seed was 0 and is now 1\): take"):
        make(tmp_path / "corpus", seed=1)


def test_token_budget_ends_a_corpus_without_asking_for_much_more(tmp_path):
    manifest = make(tmp_path / "corpus", topics=10, generations=100, token_budget=20_000)
    per_document = manifest["tokens"]["estimated"] / manifest["documents"]
    assert 20_000 <= manifest["tokens"]["estimated"] < 20_000 + 1.5 * per_document
    assert manifest["requests"]["planned"] == 1000
    assert manifest["usage"]["calls"]["sent"] <= 1.1 * manifest["documents"]
    topics = [row.provenance["topic"] for row in documents(tmp_path / "corpus")]
    counts = {topics.count(topic) for topic in topics}
    assert len(set(topics)) == 10 and max(counts) - min(counts) <= 1


class Unreliable(OfflineBackend):
    """The offline writer, refusing every prompt that holds certain words."""

    def __init__(self, refuses):
        self.refuses = refuses

    async def complete(self, call):
        if self.refuses in call.messages[-1]["content"]:
            raise Permanent("content refused")
        return await super().complete(call)


def refusing(store, what):
    return Session(LLMConfig(), Unreliable(what), FREE, store)


def test_failures_are_counted_and_leave_gaps_only(tmp_path):
    config = GenerateConfig(topics=6, generations=3)
    unlucky = CorpusPlan(SEEDS, config).topics[2]
    with refusing(tmp_path / "answers.sqlite", unlucky.key) as session:
        manifest = generate(SEEDS, tmp_path / "corpus", config, session)
    assert manifest["requests"] == {"sent": 18, "planned": 18, "failed": 3}
    assert "content refused" in manifest["first_failure"]
    make(tmp_path / "whole")
    whole = [row for row in documents(tmp_path / "whole") if row.provenance["topic"] != unlucky.key]
    assert [row.text for row in documents(tmp_path / "corpus")] == [row.text for row in whole]


def test_a_corpus_of_failures_only_is_an_error(tmp_path):
    config = GenerateConfig(topics=2, generations=2, token_budget=1000)
    with (
        refusing(tmp_path / "answers.sqlite", "topic") as session,
        pytest.raises(UserError, match="none of 4 requests was answered: .*content refused"),
    ):
        generate(SEEDS, tmp_path / "corpus", config, session)
    assert files.read_manifest(tmp_path / "corpus") is None


def test_replies_out_of_order_are_put_in_order():
    replies = [(2, "c"), (0, "a"), (1, "b"), (4, "e"), (3, "d")]
    ordered = list(generator_module.in_order(replies, start=10))
    assert ordered == [(10, "a"), (11, "b"), (12, "c"), (13, "d"), (14, "e")]


def test_plan_counts_every_call_and_writes_nothing(tmp_path, monkeypatch):
    config = GenerateConfig(topics=7, generations=3)
    with open_session(LLMConfig(), tmp_path / "answers.sqlite") as session:
        assert plan_generation(SEEDS, config, session).calls == 21
        large = GenerateConfig(topics=500, generations=2000)
        made = []
        request = CorpusPlan.request
        monkeypatch.setattr(
            CorpusPlan,
            "request",
            lambda plan, number, _: made.append(number) or request(plan, number),
        )
        assert plan_generation(SEEDS, large, session).calls == 1_000_000
        assert 1000 < len(made) < 5000, "a sample stands for all"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"family": "topic_style"}, "did you mean 'topic_styles'"),
        ({"near_topics": 2.0}, "Generate.near_topics is a share"),
        ({"source_characters": 5}, "Generate.source_characters must be at least 200"),
        ({"generations": 0}, "Generate.generations must be at least 1"),
        ({"topics": -1}, "Generate.topics must not be negative"),
        ({"topics": 100_000}, "100000 topics wanted"),
        ({"family": "topic_styles", "styles": ("blog pots",)}, "did you mean 'blog post'"),
        ({"family": "multi_topic_styles_persona", "topics": 2}, "there are 2 topics"),
        ({"prompts": "prompts/generatoin"}, "no config file 'prompts/generatoin'"),
    ],
)
def test_settings_that_make_no_corpus_are_refused_before_anything_is_written(
    tmp_path, settings, fault
):
    with pytest.raises(UserError, match=fault):
        make(tmp_path / "corpus", **settings)
    assert not (tmp_path / "corpus").exists()


def test_rephrased_documents_go_on_after_a_cap_and_keep_their_sources(tmp_path):
    pages = [
        {"id": f"page {n}", "text": f"Iron rusts in {n} days. Salt speeds it up."} for n in range(9)
    ]

    def rephrase(output, documents=pages, **llm):
        config = GenerateConfig(family="rephrase", generations=2, shard_documents=4)
        with open_session(LLMConfig(**llm), output / "answers.sqlite") as session:
            return generate(None, output, config, session, files.Corpus(documents))

    with pytest.raises(Paused, match="PARTIAL corpus of 7 documents"):
        rephrase(tmp_path / "cut", max_calls=7, concurrency=2)
    with pytest.raises(UserError, match="sources_sha256 was"):
        rephrase(tmp_path / "cut", pages[1:])
    manifest = rephrase(tmp_path / "cut")
    rephrase(tmp_path / "whole")
    assert manifest["sources"] == 9 and manifest["topics"] == 0
    rows, whole = documents(tmp_path / "cut"), documents(tmp_path / "whole")
    assert [row.text for row in rows] == [row.text for row in whole]
    seen = [row.provenance["source"] for row in rows]
    assert sorted(seen) == sorted(2 * [page["id"] for page in pages])
    for row in rows:  # what is told is of that document
        assert f"{int(row.provenance['source'].split()[-1])} days" in row.text
        assert row.provenance["form"] and row.provenance["topic"] == ""


def test_instructions_are_data_for_fine_tuning(tmp_path):
    make(tmp_path / "corpus", family="instruct", topics=3, generations=2)
    asked = list(sft_examples(tmp_path / "corpus"))
    rows = documents(tmp_path / "corpus")
    assert len(asked) == 6
    for (user, assistant), row in zip(asked, rows, strict=True):
        assert user["content"].startswith(row.provenance["instruction"])
        assert assistant["content"] == row.provenance["output"]
        assert row.provenance["input"] in row.text
