"""One cap for all stages that ask; shares of real text; plans of what a study would take."""

import pytest

from synthdiv import config
from synthdiv.errors import Paused, UserError

pytest.importorskip("jax")


def plan(*bindings, **caps):
    from synthdiv.study.config import TARGETS, read_plan

    return read_plan(config.load(TARGETS, ["configs/study/smoke.gin"], list(bindings)), **caps)


def test_all_stages_share_one_cap(tmp_path):
    """T8 asks 8 times and T16 16 times; a cap of 12 is one of both together."""
    from synthdiv.llm.spending import spent_in
    from synthdiv.study.work import Work

    def calls():
        stores = tmp_path.glob("*/*/answers.sqlite")
        return sum(spent_in(path).calls for path in stores)

    once = ["T8/Generate.generations = 1", "T16/Generate.generations = 1"]
    few = plan(*once, max_calls=12)
    Work(few, tmp_path).generate(few.cells[0])
    with pytest.raises(Paused, match=r"the study's cap is `max_calls=12`") as paused:
        Work(few, tmp_path).generate(few.cells[1])
    assert calls() == 12
    assert 24 <= paused.value.flags["max_calls"] <= 40
    enough = plan(*once, max_calls=paused.value.flags["max_calls"])
    Work(enough, tmp_path).generate(enough.cells[1])
    assert calls() == 24, "no call was sent twice"


def test_real_text_is_shared_out_as_bound(tmp_path, monkeypatch):
    from synthdiv.study import work as module

    made = plan("Study.real = ['a', 'b', 'c']", "Study.real_tokens = 600")
    shared = plan(
        "Study.real = ['a', 'b', 'c']", "Study.real_tokens = 600", "Study.real_shares = [4, 1, 1]"
    )
    monkeypatch.setattr(
        module, "manifest_of", lambda path: {"tokens": {"a": 1, "b": 2, "c": 3}[path.name]}
    )
    monkeypatch.setattr(module.Work, "real", lambda self, name: type("C", (), {"name": name}))

    def amounts(study):
        mixture = module.Work(study, tmp_path).mixture(study.runs()[0])
        return dict(zip(mixture.names, (tokens for _, tokens in mixture.sources), strict=True))

    assert amounts(made) == {"T8": 16_000, "a": 100, "b": 200, "c": 300}
    assert amounts(shared) == {"T8": 16_000, "a": 400, "b": 100, "c": 100}


def test_a_plan_at_full_scale_needs_nothing_that_it_names(monkeypatch, tmp_path):
    """Of one cell of the paper's: its corpora, topics, tasks and servers are not here."""
    from synthdiv.study.config import TARGETS, read_plan
    from synthdiv.study.preview import preview

    monkeypatch.chdir(tmp_path)
    bound = ["Study.cells = ['T300k_G30']", "Study.models = ['llama_350m']"]
    made = read_plan(config.load(TARGETS, ["configs/study/paper_topics.gin"], bound))
    told = preview(made, None, "h100", 0.5, 8)
    assert "wikipedia_620k" in told.facts["not here yet"]
    assert "data/eval" in told.facts["not here yet"]
    assert told.facts["language models"].startswith("9,010,130 calls")
    assert "USD" in told.facts["language models"]
    assert not list(tmp_path.iterdir())
    assert told.parts["corpora"].figures["T300k_G30"]["tokens"] == 4.43e9
    hours = 50e9 * made.models[0].pretrain.model.flops_per_token(2048) / (0.5 * 989e12) / 3600
    whole = told.parts["whole"]
    assert whole.figures["chip_hours"] == pytest.approx(hours)
    assert whole.facts["fine-tuning"].startswith("not counted: no instruction data 'corpora/alpaca")
    assert whole.facts["hours"].endswith("8 at a time, without fine-tuning and evaluation")
    asked = [part for part in told.parts.values() if hasattr(part, "stages")]
    written = sum(stage.output for part in asked for stage in part.stages)
    assert told.figures["asking_hours"] == pytest.approx(written / 50 / 64 / 3600)


def test_two_corpora_are_told_that_they_make_no_correlation():
    from synthdiv.reporting.study_statistics import too_few

    assert "any two points lie on a line" in too_few(2)
    assert too_few(1).startswith("One corpus makes no correlation. It takes three")
    assert too_few(3) == ""


@pytest.mark.parametrize("shard", ["3/2", "0/2", "1", "a/b", "-1/2"])
def test_a_shard_that_is_none_is_refused(shard):
    from synthdiv.study.run import read_shard

    assert read_shard("2/2") == (2, 2)
    with pytest.raises(UserError, match="--shard is K/N"):
        read_shard(shard)
