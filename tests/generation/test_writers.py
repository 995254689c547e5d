"""Several writers in one corpus: shares by topic and generation, in order, capped and resumed."""

import pytest

from synthdiv import files
from synthdiv.config import find
from synthdiv.errors import Paused, UserError
from synthdiv.generation import GenerateConfig, generate, plan_generation
from synthdiv.llm import LLMConfig, Session
from synthdiv.llm.money import FREE
from synthdiv.offline.answer import answer_file
from synthdiv.offline.backend import OfflineBackend

SEEDS = find("configs/topics/seeds.jsonl")
WRITERS = {"offline:large": 3.0, "offline:small": 1.0}


class Named(OfflineBackend):
    """The offline stand-in under another name."""

    def __init__(self, model):
        self.model = model


def write(output, writers=WRITERS, llm=None, **settings):
    given = {"topics": 20, "generations": 6, "writers": writers} | settings
    sessions = [
        Session(llm or LLMConfig(), Named(name), FREE, output / "answers.sqlite")
        for name in writers
    ]
    try:
        return generate(SEEDS, output, GenerateConfig(**given), sessions)
    finally:
        for session in sessions:
            session.close()


def wrote(output):
    return {row.id: row.provenance["model"] for row in files.Corpus(output)}


def test_each_writes_its_share_and_the_manifest_says_who(tmp_path):
    manifest = write(tmp_path / "corpus")
    models = wrote(tmp_path / "corpus")
    share = list(models.values()).count("offline:large") / len(models)
    assert len(models) == 120 and 0.6 < share < 0.9
    assert manifest["generator"]["writers"] == [
        {"backend": "offline", "model": "offline:large", "share": 0.75},
        {"backend": "offline", "model": "offline:small", "share": 0.25},
    ]
    assert manifest["usage"]["calls"]["sent"] == 120
    numbers = [row.provenance["request"] for row in files.Corpus(tmp_path / "corpus")]
    assert numbers == list(range(120))


def test_who_writes_a_text_does_not_depend_on_how_many_there_are(tmp_path):
    write(tmp_path / "few", topics=5, generations=2)
    write(tmp_path / "many")
    assert wrote(tmp_path / "few").items() <= wrote(tmp_path / "many").items()


def test_a_cap_holds_for_all_together_and_the_rest_comes_later(tmp_path):
    with pytest.raises(Paused, match="PARTIAL corpus") as pause:
        write(tmp_path / "cut", llm=LLMConfig(max_calls=30, concurrency=2), topics=10)
    assert pause.value.flags["max_calls"] >= 60
    write(tmp_path / "cut", topics=10)
    write(tmp_path / "whole", topics=10)
    shards = [
        {p.name: p.read_bytes() for p in (tmp_path / d).glob("*.parquet")} for d in ("cut", "whole")
    ]
    assert shards[0] == shards[1]


def test_batch_files_of_all_writers_take_one_pause(tmp_path, run_command):
    writers = "{'batch:large': 2, 'batch:small': 1}"
    command = (
        "generate", f"--output={tmp_path / 'corpus'}", "--bind=Generate.topics=6",
        "--bind=Generate.generations=2", f"--bind=Generate.writers={writers}",
    )  # fmt: skip
    paused = run_command(*command)
    assert paused.code == 75, paused.stderr
    asked = sorted((tmp_path / "corpus").glob("batch_*_requests.jsonl"))
    assert [path.name for path in asked] == [f"batch_generation_{n}_requests.jsonl" for n in (1, 2)]
    for path in asked:
        answer_file(path, path.with_name(path.name.replace("requests", "answers")))
    done = run_command(*command)
    assert done.code == 0, done.stderr
    assert set(wrote(tmp_path / "corpus").values()) == {"large", "small"}


def test_a_plan_counts_the_calls_of_each(tmp_path):
    config = GenerateConfig(topics=20, generations=200, writers=WRITERS)
    sessions = [Session(LLMConfig(), Named(name), FREE, None) for name in WRITERS]
    plan = plan_generation(SEEDS, config, sessions)
    assert plan.calls == 4000
    assert [stage.calls for stage in plan.stages] == [3000, 1000]


@pytest.mark.parametrize(
    ("writers", "fault"),
    [
        ({"a": -1.0, "b": 1.0}, "weights are numbers from 0 on"),
        ({"a": 0.0, "b": 0.0}, "leaves nobody to write"),
    ],
)
def test_weights_that_leave_nobody_are_refused(tmp_path, writers, fault):
    with pytest.raises(UserError, match=fault):
        write(tmp_path / "corpus", writers)
    assert not (tmp_path / "corpus").exists()
