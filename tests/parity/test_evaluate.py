"""One checkpoint through our model and, as a Hugging Face Llama, through lm-eval's own `hf`."""

import math
from pathlib import Path

import numpy as np
import pytest

from synthdiv.evaluation.harness import SynthdivLM
from synthdiv.evaluation.tasks import PAPER, PAPER_METRICS, load_tasks, quiet
from tests.evaluation import small

pytest.importorskip("torch")
pytest.importorskip("accelerate", reason="lm-eval's hf model needs accelerate")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    return small.write_checkpoint(folder / "model", small.write_tokenizer(folder))


@pytest.fixture(scope="module")
def theirs(exported):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(exported), device="cpu", dtype="float32", batch_size=16)


@pytest.fixture(scope="module")
def ours(exported) -> SynthdivLM:
    return SynthdivLM(exported)


def _run(lm, data_dir: Path, limit: int | None = None) -> dict:
    from lm_eval.evaluator import evaluate

    tasks = load_tasks([PAPER], data_dir)
    with quiet():
        return evaluate(lm=lm, task_dict=tasks.loaded, limit=limit, bootstrap_iters=0)


def _log_likelihoods(results: dict, task: str) -> np.ndarray:
    samples = sorted(results["samples"][task], key=lambda s: s["doc_id"])
    return np.array([resp[0][0] for s in samples for resp in s["resps"]])


def _check(a: dict, b: dict) -> None:
    for task in PAPER_METRICS:
        found, expected = _log_likelihoods(a, task), _log_likelihoods(b, task)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3, err_msg=task)
        for metric, value in b["results"][task].items():
            if metric.startswith("acc") and "stderr" not in metric:
                assert a["results"][task][metric] == value, (task, metric)


def test_the_suite_gives_the_same_numbers(ours, theirs, tmp_path):
    suite = small.write_suite(tmp_path / "suite")
    _check(_run(ours, suite), _run(theirs, suite))


def test_the_real_suite_gives_the_same_numbers(ours, theirs, shared_data):
    """Ten questions a task; `test_the_whole_real_suite_...` takes all 22,019."""
    _check(_run(ours, shared_data / "eval", 10), _run(theirs, shared_data / "eval", 10))
    # The contexts of BoolQ are longer than this model's; both cut them alike.
    assert ours.truncated["boolq"] > 0


@pytest.mark.slow
def test_the_whole_real_suite_gives_the_same_numbers(ours, theirs, shared_data):
    _check(_run(ours, shared_data / "eval"), _run(theirs, shared_data / "eval"))


def test_greedy_generation_gives_the_same_text_on_a_hundred_prompts(ours, theirs):
    import torch

    pages = small.texts()
    prompts = [pages[i % len(pages)][i % 50 : 60 + i] for i in range(100)]
    tokenizer = theirs.tokenizer
    requests = _generation(prompts, {"max_gen_toks": 24, "until": []})
    found = ours.generate_until(requests)
    for prompt, text in zip(prompts, found, strict=True):
        # One by one: a batch of left-padded prompts is not what transformers is exact in.
        tokens = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
        written = theirs.model.generate(
            tokens, max_new_tokens=24, do_sample=False, eos_token_id=ours.eot_token_id
        )[0, tokens.shape[1] :]
        assert text == tokenizer.decode(written, skip_special_tokens=True), prompt


def test_stop_sequences_cut_as_theirs(ours, theirs):
    prompts = [page[:60] for page in small.texts()[:6]]
    free = ours.generate_until(_generation(prompts, {"max_gen_toks": 48}))
    stops = [text[len(text) // 2 :][:2] for text in free]
    requests = _generation(prompts, {"max_gen_toks": 48, "until": stops})
    assert ours.generate_until(requests) == theirs.generate_until(requests, disable_tqdm=True)


def test_rolling_log_likelihood_and_bits_per_byte_agree(ours, theirs):
    from lm_eval.api.instance import Instance

    pages = [page[: 150 + 300 * i] for i, page in enumerate(small.texts()[:8])]
    requests = [
        Instance("loglikelihood_rolling", {}, (page,), 0, ("t", i, 1))
        for i, page in enumerate(pages)
    ]
    found = ours.loglikelihood_rolling(requests)
    expected = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)
    size = sum(len(page.encode()) for page in pages)
    assert -sum(found) / math.log(2) / size == pytest.approx(
        -sum(expected) / math.log(2) / size, abs=1e-6
    )


def _generation(prompts: list[str], settings: dict) -> list:
    from lm_eval.api.instance import Instance

    return [
        Instance("generate_until", {}, (prompt, dict(settings)), 0, ("t", i, 1))
        for i, prompt in enumerate(prompts)
    ]
