"""Hours beside pre-training, against figures computed by hand."""

import json

import pytest

from synthdiv import config
from synthdiv.llm import LLMConfig
from synthdiv.llm.plan import Plan as Asked
from synthdiv.llm.plan import StagePlan

pytest.importorskip("jax")

from synthdiv.study.after_training import (
    after_training,
    evaluation_flops,
    fine_tuning_flops,
    reads,
)

# 1,536 parameters are in matrix products: 2 x (2 x 8 x 4 x (2 + 2) + 3 x 8 x 16) + 8 x 32. Training
# takes 6 x 1,536 = 9,216 FLOPs a token and 12 x 2 x 8 = 192 for each token of the sequence.
SIZES = {
    **{"hidden": 8, "mlp": 16, "layers": 2, "heads": 2, "vocab_size": 32, "max_length": 64},
    "tie_embeddings": True,
}


def plan(*bindings):
    from synthdiv.study.config import TARGETS, read_plan

    sizes = [f"Model.{name} = {value}" for name, value in SIZES.items()]
    bound = [*sizes, "SFT.batch_size = 4", "SFT.epochs = 3", *bindings]
    return read_plan(config.load(TARGETS, ["configs/study/smoke.gin"], bound))


def test_fine_tuning_reads_whole_batches():
    """1,000 tokens are 8 sequences of 128, three times 8 are 6 batches of 4."""
    (model,) = plan("SFT.sequence_length = 128").models
    assert fine_tuning_flops(model, 1000) == 6 * 4 * 128 * (9216 + 192 * 128)


def test_a_beginning_that_requests_share_is_read_once():
    requests = ["question one: yes", "question one: no", "question one: no"]
    # 16 bytes, then 3 of 17: four bytes are a token.
    assert reads(requests) == [(4.0, 4.0), (0.75, 4.25)]


def test_evaluation_takes_a_third_of_training():
    """4.75 tokens in sequences of 4; 100 tokens in two windows of 64; 10 tokens."""
    sizes = plan().models[0].pretrain.model
    asked = 4.75 * (9216 + 192 * 4)
    texts = 2 * 64 * (9216 + 192 * 64) + 10 * (9216 + 192 * 10)
    found = evaluation_flops(sizes, [(4.0, 4.0), (0.75, 4.25)], [100, 10])
    assert found == pytest.approx((asked + texts) / 3)
    cut = evaluation_flops(sizes, [(50, 60)], [], longest=32)
    assert cut == pytest.approx(32 * (9216 + 192 * 32) / 3)


def test_all_runs_are_counted(tmp_path):
    """Three corpora and two seeds: six models, each fine-tuned once and evaluated twice."""
    instructions, heldout = tmp_path / "asked.jsonl", tmp_path / "heldout.jsonl"
    turns = [{"role": "user", "content": "a" * 100}, {"role": "assistant", "content": "b" * 100}]
    instructions.write_text(json.dumps({"messages": turns}) + "\n")
    heldout.write_text(json.dumps({"text": "c" * 120}) + "\n")
    made = plan(
        f"Study.instructions = '{instructions}'",
        f"Study.heldout = ['{heldout}']",
        "Study.tasks = []",
        "Study.seeds = [0, 1]",
    )
    found = after_training(made, tmp_path / "scratch")
    # One sequence of 64, three epochs, fill one batch of 4; 120 bytes are 30 tokens.
    assert found["fine-tuning"] == 6 * 4 * 64 * (9216 + 192 * 64)
    assert found["evaluation"] == pytest.approx(6 * 2 * 30 * (9216 + 192 * 30) / 3)
    instructions.unlink()
    found = after_training(made, tmp_path / "scratch")
    assert "no instruction data" in found["fine-tuning"] and found["evaluation"] > 0


def test_hours_are_told_with_what_is_not_in_them():
    from synthdiv.study.budget import budget

    five_hours = 5 * 3600 * 0.4 * 989e12
    beside = {"fine-tuning": five_hours, "evaluation": "no questions"}
    whole = budget(plan(), {}, "h100", 0.4, 2, beside)["whole"]
    assert whole.figures["chip_hours_beside"] == {"fine-tuning": pytest.approx(5)}
    assert whole.facts["fine-tuning"] == "about 5.0 chip-hours"
    assert whole.facts["evaluation"] == "not counted: no questions"
    assert whole.facts["hours"] == "2.5 on 2 at a time, without evaluation"


@pytest.mark.parametrize(
    ("terms", "seconds"),
    [
        ({"concurrency": 10}, 90_000 / 50 / 10),
        ({"concurrency": 1000}, 90_000 / 50 / 100),  # no more calls than there are
        ({"requests_per_minute": 5}, 100 / 5 * 60),
        ({"tokens_per_minute": 1000}, 100_000 / 1000 * 60),
        ({"backend": "offline"}, 0),
        ({"backend": "batch"}, 0),
    ],
)
def test_asking_is_as_slow_as_its_narrowest_limit(terms, seconds):
    """A hundred calls read 10,000 tokens and write 90,000."""
    from synthdiv.study.preview import asking_hours

    asked = Asked(stages=(StagePlan("s", 100, 0, 10_000, 90_000, 90_000, None, None, False),))
    found = asking_hours(LLMConfig(**({"backend": "openai"} | terms)), asked)
    assert found == pytest.approx(seconds / 3600)
