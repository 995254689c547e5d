"""Three Ray nodes do what one machine does, to the byte, also while one of them is killed.

The nodes are processes of this machine. Each test starts from three, whoever was killed before.
"""

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synthdiv import config as configuration
from synthdiv.baselines import BaselineConfig, compute_baselines
from synthdiv.curation import Against, FilterConfig, FilterWork, filter_corpus
from synthdiv.data import tokenize_corpus, train_tokenizer
from synthdiv.diversity import ScoreConfig, cluster_score
from synthdiv.engine import LOCAL, Engine, crew
from synthdiv.errors import UserError
from synthdiv.files import Corpus
from synthdiv.generation import GenerateConfig, TopicsConfig, generate, make_topics
from synthdiv.llm import LLMConfig, open_session
from tests.engine.nodes import Nodes, three_nodes
from tests.faults.test_llm_processes import finished, start
from tests.generation.test_extraction import LIONS, RIVETS
from tests.llm.serving import Serving, question, serving

pytestmark = pytest.mark.slow

BEGIN = "synthdiv.engine.cluster.RayCrew.begin"
COMPLETE = "synthdiv.llm.callers.Callers.complete"
WORDS = ["the", "river", "stones", "cloud", "engine", "violin", "über", "plays", "10", "of", "a"]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with three_nodes() as running:
        yield running


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """2,000 texts, some of which are others with a word changed, and one with half a surrogate."""
    draw = random.Random(3)
    texts: list[str] = []
    for number in range(2000):
        words = draw.choices(WORDS, k=draw.randint(5, 120))
        if number > 20 and number % 7 == 0:
            words = draw.choice(texts).split()
            words[draw.randrange(len(words))] = "changed"
        texts.append(" ".join(words))
    texts[77] += " \ud800"
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(texts))
    )
    return Corpus(path)


def contents(directory: Path, *without: str) -> dict[str, bytes]:
    """The files below a directory but the store of answers and those named."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "sqlite" not in path.name and path.name not in without
    }


def three_times(
    do: Callable[[str, Engine], Any], nodes: Nodes, patch: pytest.MonkeyPatch, method: str, at: int
) -> list[Any]:
    """What work comes to here, on three nodes, and on three of which one is killed on the way."""
    found = [do("local", LOCAL), do("ray", nodes.engine)]
    with nodes.killing_one_at(at, patch, method):
        found.append(do("killed", nodes.engine))
    return found


def test_work_is_done_on_all_nodes(nodes: Nodes) -> None:
    nodes.wait_for_three()


def test_tokens(
    nodes: Nodes, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizers = [
        train_tokenizer([corpus], tmp_path / kind, 300, kind) for kind in ("bpe", "sentencepiece")
    ]
    monkeypatch.setattr("synthdiv.data.tokens._CHUNK_BYTES", 10_000)

    def do(name: str, engine: Engine) -> list[dict[str, bytes]]:
        made = []
        for number, tokenizer in enumerate(tokenizers):
            output = tmp_path / f"{name}{number}"
            tokenize_corpus(corpus, output, tokenizer, 64, 200_000, engine=engine)
            made.append(contents(output))
        return made

    here, there, killed = three_times(do, nodes, monkeypatch, BEGIN, 30)
    assert len(here[0]) > 5
    assert here == there == killed


def test_baselines(nodes: Nodes, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthdiv.baselines.words.BATCH_DOCUMENTS", 40)
    # So little memory that n-grams are estimated, which depends on the order of everything.
    config = BaselineConfig(memory_mb=0.2, embedding_documents=300)

    def do(name: str, engine: Engine) -> dict[str, float]:
        return compute_baselines(corpus, config, engine=engine)

    here, there, killed = three_times(do, nodes, monkeypatch, BEGIN, 25)
    assert here["ngram_diversity_error"] > 0
    assert here == there == killed


def test_near_duplicates_and_all_that_filter_finds(
    nodes: Nodes, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthdiv.baselines.words.BATCH_DOCUMENTS", 40)

    def do(name: str, engine: Engine) -> dict[str, bytes]:
        work = FilterWork(corpus, FilterConfig(shard_documents=500), Against())
        manifest = filter_corpus(work, output := tmp_path / name / "kept", engine=engine)
        assert manifest["dropped"]["by_reason"]["near_duplicate"] > 50
        return contents(output)

    here, there, killed = three_times(do, nodes, monkeypatch, BEGIN, 25)
    assert here == there == killed


def asking(server: Serving, **how: Any) -> LLMConfig:
    return server.config(concurrency=48, **how)


def seen_once(server: Serving, again: int = 0) -> None:
    """Checks how often a server was asked a question, and has it forget all."""
    counts = server.seen()["asked"].values()
    assert sum(counts) - len(counts) <= again
    assert max(counts) <= (2 if again else 1)
    server.reset()
    server.change(offline=True, latency=0.02)


def test_a_corpus(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GenerateConfig(topics=40, generations=8, shard_documents=100)
    seeds = configuration.find("configs/topics/seeds.jsonl")
    manifests = []
    with serving(offline=True, latency=0.02) as server:

        def do(name: str, engine: Engine) -> dict[str, bytes]:
            output = tmp_path / name / "made"
            with open_session(asking(server), output / "answers.sqlite", engine=engine) as session:
                manifests.append(generate(seeds, output, config, session))
            seen_once(server, again=48 if name == "killed" else 0)
            return contents(output, "manifest.json")

        here, there, killed = three_times(do, nodes, monkeypatch, COMPLETE, 150)
    assert here == there == killed
    assert manifests[0] == manifests[1]
    assert manifests[0]["documents"] == manifests[2]["documents"] == 320


def test_a_score(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = Corpus([question(n).messages[0]["content"] for n in range(120)], name="texts")
    config = ScoreConfig(rounds=60, criteria_sets=2, seed=1)
    usage = []
    with serving(offline=True, latency=0.02) as server:

        def do(name: str, engine: Engine) -> dict[str, bytes]:
            output = tmp_path / name / "made"
            with open_session(asking(server), output / "answers.sqlite", engine=engine) as session:
                result = cluster_score(texts, config, session, output)
            content = dict(result.content)
            usage.append([content.pop(key) for key in ("calls", "tokens", "cost_usd")])
            seen_once(server, again=48 if name == "killed" else 0)
            kept = contents(output, "score.json", "report.html")
            return kept | {"score": json.dumps(content).encode()}

        here, there, killed = three_times(do, nodes, monkeypatch, COMPLETE, 80)
    assert here == there == killed
    assert usage[0] == usage[1] and usage[0][1:] == usage[2][1:]


def test_topics(nodes: Nodes, tmp_path: Path) -> None:
    """By the stand-in itself, which then works on the nodes."""
    pages = Corpus([f"{(RIVETS, LIONS)[n % 2]} This is page {n}." for n in range(30)])
    made = []
    for engine in (LOCAL, nodes.engine):
        output = tmp_path / f"{engine.name}.jsonl"
        with open_session(LLMConfig(), tmp_path / engine.name / "a.sqlite", engine=engine) as one:
            make_topics(pages, output, TopicsConfig(), one)
        made.append(output.read_bytes())
    assert made[0] and made[0] == made[1]


def test_two_drivers_share_a_store(nodes: Nodes, tmp_path: Path) -> None:
    # One has at most 16 calls in flight: none is answered before both have asked.
    with serving(latency=0.02, together=17) as server:
        settings = [
            {
                **{"url": server.url, "store": str(tmp_path / "answers.sqlite"), "calls": 600},
                **{"out": str(tmp_path / f"{number}.json"), "engine": vars(nodes.engine)},
            }
            for number in range(2)
        ]
        for process in [start(one) for one in settings]:
            finished(process)
        seen = server.seen()["asked"]
    assert set(seen.values()) == {1} and len(seen) == 600
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in range(2))
    assert first["values"] == second["values"] and first["failures"] == [None] * 600
    calls = [one["stats"]["calls"] for one in (first, second)]
    assert min(one["sent"] for one in calls) > 0 and sum(one["sent"] for one in calls) == 600


def test_money_never_above_the_cap(nodes: Nodes, tmp_path: Path) -> None:
    """Two drivers, one store, one cap, a server that charges at random, and a node that is lost."""
    prices = {"input": 1000, "output": 5000}  # dollars a million tokens
    (tmp_path / "prices.json").write_text(json.dumps({"models": {"test": prices}}))
    faults = {"500": 0.05, "drop": 0.03, "half_json": 0.05}
    cap = 150.0
    with serving(
        latency=0.1, usage="random", prices=list(prices.values()), faults=faults
    ) as server:
        settings = {
            **{"url": server.url, "store": str(tmp_path / "answers.sqlite"), "calls": 1000},
            **{"prices": str(tmp_path / "prices.json"), "backoff": 0.02, "concurrency": 32},
            **{"out": str(tmp_path / "out.json"), "engine": vars(nodes.engine), "values": False},
            **{"max_cost_usd": cap},
        }
        processes = [start(settings | {"first": 1000 * number}) for number in range(2)]
        while server.totals()["charged"] / 1e6 < cap / 3:
            assert all(process.poll() is None for process in processes)
        nodes.kill_one()
        for process in processes:
            finished(process, 75)
        charged = server.totals()["charged"] / 1e6
    nodes.replace_it()
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        spent, lost = connection.execute("SELECT spent, lost FROM ledger").fetchone()
    connection.close()
    assert cap / 2 < charged <= cap
    assert charged <= (spent + lost) / 1e12 * (1 + 1e-9) <= cap * (1 + 1e-9)


def squared(number: int) -> int:
    if number < 0:
        raise UserError(f"{number} is below 0")
    return number * number


def test_what_the_work_raises_is_raised_here(nodes: Nodes) -> None:
    with crew(squared, nodes.engine) as workers:
        assert list(workers.map(range(20))) == [n * n for n in range(20)]
        with pytest.raises(UserError, match="-3 is below 0"):
            list(workers.map([1, -3]))


def test_key_that_the_nodes_lack(nodes: Nodes) -> None:
    config = LLMConfig("openai", "m")
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        open_session(config, None, engine=nodes.engine)
