"""One checkpoint through our model and, as a Hugging Face Llama, through lm-eval's own `hf`."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from synthdiv.data import load_tokenizer
from synthdiv.evaluation.generating import Prompt, generate
from synthdiv.evaluation.harness import SynthdivLM
from synthdiv.evaluation.tasks import PAPER, PAPER_METRICS, load_tasks, quiet
from synthdiv.model import ModelConfig
from synthdiv.training import export
from tests.evaluation import small

_ACCURACIES = ("acc,none", "acc_norm,none")

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
        accuracies = [metric for metric in _ACCURACIES if metric in b["results"][task]]
        assert accuracies, task
        for metric in accuracies:
            assert a["results"][task][metric] == b["results"][task][metric], (task, metric)


def test_the_suite_gives_the_same_numbers(ours, theirs, tmp_path):
    suite = small.write_suite(tmp_path / "suite")
    _check(_run(ours, suite), _run(theirs, suite))


def test_the_real_suite_gives_the_same_numbers(ours, theirs, shared_data):
    """Ten questions a task; `test_the_whole_real_suite_...` takes all 22,019."""
    _check(_run(ours, shared_data / "eval", 10), _run(theirs, shared_data / "eval", 10))
    # The contexts of BoolQ are longer than this model's; both cut them alike.
    assert ours.truncated["boolq"] > 0


def _write_pair(folder: Path, tokenizer: Path) -> tuple[Path, Path]:
    """A random checkpoint of ours with a real tokenizer, and its export."""
    config = ModelConfig(
        vocab_size=-(-load_tokenizer(tokenizer).vocab_size // 64) * 64,
        hidden=128,
        mlp=352,
        layers=2,
        heads=4,
        max_length=512,  # some questions of BoolQ are longer
        init_std=0.1,
        dtype="float32",
    )
    saved = small.write_own_checkpoint(folder / "ours", tokenizer, {}, config)
    return saved, export(saved, folder / "exported")


def _cut_tokenizer(file: Path, vocab_size: int) -> str:
    """A tokenizer.json with the first of its merges only: the same rules, a smaller vocabulary."""
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    model, added = tokenizer["model"], tokenizer["added_tokens"]
    special = {token["content"] for token in added}
    kept = sorted((i, t) for t, i in model["vocab"].items() if t not in special)
    kept = [token for _, token in kept[: vocab_size - len(added)]]
    model["vocab"] = {token: i for i, token in enumerate(kept)}
    pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    whole = [i for i, pair in enumerate(pairs) if {*pair, "".join(pair)} <= model["vocab"].keys()]
    model["merges"] = [model["merges"][i] for i in whole]
    for i, token in enumerate(added, len(kept)):
        token["id"] = i
    return json.dumps(tokenizer)


def _report(results: list[dict], seconds: list[float]) -> None:
    """Prints what was compared; shown by pytest -s."""
    requests, largest = 0, 0.0
    for task in PAPER_METRICS:
        found, expected = (_log_likelihoods(each, task) for each in results)
        difference = float(np.abs(found - expected).max())
        requests, largest = requests + len(found), max(largest, difference)
        accuracies = {k: v for k, v in results[0]["results"][task].items() if k in _ACCURACIES}
        print(f"{task}: {len(found)} requests, {difference:.1e}, {accuracies}")
    print(f"{requests} requests, largest difference {largest:.1e}")
    print(f"CPU seconds: ours {seconds[0]:.0f}, theirs {seconds[1]:.0f}")


def _compare_on_real_data(folder: Path, tokenizer: Path, data_dir: Path, limit: int | None) -> dict:
    """Asks our checkpoint and its export; returns how many requests of ours were cut."""
    from lm_eval.models.huggingface import HFLM

    saved, exported = _write_pair(folder, tokenizer)
    ours = SynthdivLM(saved)
    theirs = HFLM(pretrained=str(exported), device="cpu", dtype="float32", batch_size=16)
    results, seconds = [], []
    for lm in (ours, theirs):
        began = time.process_time()
        results.append(_run(lm, data_dir, limit))
        seconds.append(time.process_time() - began)
    _report(results, seconds)
    _check(*results)
    return dict(ours.truncated)


def test_a_tokenizer_that_begins_every_text_gives_the_same_numbers(exported, tmp_path):
    """As Llama 3's does."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    begins = small.write_beginning(exported.parent / "tokenizer", tmp_path / "tokenizer")
    exported = small.write_checkpoint(tmp_path / "model", tmp_path / "tokenizer")
    ours = SynthdivLM(exported)
    theirs = HFLM(pretrained=str(exported), device="cpu", dtype="float32", batch_size=1)
    assert ours.prefix_token_id == theirs.prefix_token_id == begins != ours.eot_token_id
    suite = small.write_suite(tmp_path / "suite")
    _check(_run(ours, suite), _run(theirs, suite))
    alone = [Instance("loglikelihood", {}, ("", "The statement"), 0, ("t", 0, 1))]
    found, expected = (lm.loglikelihood(alone)[0][0] for lm in (ours, theirs))
    assert found == pytest.approx(expected, abs=1e-3)
    asked = _generation(["The statement", "A function"], {"max_gen_toks": 16})
    assert ours.generate_until(asked) == theirs.generate_until(asked, disable_tqdm=True)


def test_an_exported_sentencepiece_tokenizer_gives_the_same_numbers(tmp_path):
    from lm_eval.models.huggingface import HFLM

    pytest.importorskip("sentencepiece")
    tokenizer = small.write_tokenizer(tmp_path, "sentencepiece")
    saved = small.write_own_checkpoint(tmp_path / "ours", tokenizer, {})
    exported = export(saved, tmp_path / "exported")
    theirs = HFLM(pretrained=str(exported), device="cpu", dtype="float32", batch_size=16)
    suite = small.write_suite(tmp_path / "suite")
    _check(_run(SynthdivLM(saved), suite), _run(theirs, suite))


@pytest.mark.slow
def test_the_whole_real_suite_gives_the_same_numbers(shared_data, tmp_path):
    """All 22,019 questions; GPT-NeoX's tokenizer with a vocabulary that a small machine can do."""
    (tmp_path / "tokenizer.json").write_text(
        _cut_tokenizer(shared_data / "tokenizers" / "gpt_neox_olmo_tokenizer.json", 4096)
    )
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json").save(tmp_path / "tokenizer")
    cut = _compare_on_real_data(tmp_path, tokenizer, shared_data / "eval", None)
    assert cut["boolq"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt_neox_olmo", "codegen_mono"])
def test_real_vocabularies_give_the_same_numbers(shared_data, tmp_path, name):
    file = shared_data / "tokenizers" / f"{name}_tokenizer.json"
    tokenizer = load_tokenizer(file).save(tmp_path / "tokenizer")
    _compare_on_real_data(tmp_path, tokenizer, shared_data / "eval", 12)


# Two logits closer than this are a tie, which the order of sums in float32 may decide either way.
_TIE = 1e-3


def _hundred_prompts() -> list[str]:
    """From one token to more than the model's context."""
    text = "".join(small.texts())
    return [text[700 * i :].lstrip()[: 1 + i * i // 5] for i in range(100)]


def _written_by_transformers(theirs, tokens: list[int], new: int) -> tuple[list[int], int]:
    """Greedy tokens, and how many of them come before the first tie."""
    import torch

    # One by one: a batch of left-padded prompts is not what transformers is exact in.
    written = theirs.model.generate(
        torch.tensor([tokens]),
        attention_mask=torch.ones(1, len(tokens), dtype=torch.int64),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=theirs.eot_token_id,
        pad_token_id=theirs.eot_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best = torch.stack(written.logits)[:, 0].topk(2).values
    ties = torch.nonzero(best[:, 0] - best[:, 1] < _TIE).flatten().tolist()
    found = written.sequences[0, len(tokens) :].tolist()
    if found[-1] == theirs.eot_token_id:
        found.pop()
    return found, ties[0] if ties else len(found)


@pytest.mark.slow
def test_greedy_generation_gives_the_same_tokens_on_a_hundred_prompts(ours, theirs):
    new = [(8, 24, 40)[i % 3] for i in range(100)]
    longest = ours.model.max_length
    tokens = [ours.tok_encode(prompt) for prompt in _hundred_prompts()]
    tokens = [each[-(longest - n) :] for each, n in zip(tokens, new, strict=True)]
    assert min(map(len, tokens)) == 1 and max(map(len, tokens)) == longest - 8
    prompts = [Prompt(np.asarray(t, np.int32), n) for t, n in zip(tokens, new, strict=True)]
    found = dict(pair for batch in generate(ours.model, prompts, 0) for pair in batch)
    assert ours.eot_token_id == theirs.eot_token_id == 0
    whole = 0
    for i in range(100):
        written, sure = _written_by_transformers(theirs, tokens[i], new[i])
        assert found[i].tolist()[:sure] == written[:sure], i
        whole += found[i].tolist() == written
    print(f"{whole} of 100 the same to the end")
    assert whole >= 98  # the others met a tie


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_generate_until_gives_the_same_text(ours, exported, count):
    """Stop sequences, several limits, contexts that are cut: all of `generate_until`."""
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=str(exported), device="cpu", dtype="float32", batch_size=1)
    prompts = _hundred_prompts()[:: 100 // count]
    new = [(8, 24)[i // 6 % 2] for i in range(count)]
    free = ours.generate_until(
        [
            r
            for p, n in zip(prompts, new, strict=True)
            for r in _generation([p], {"max_gen_toks": n})
        ]
    )
    # Every other text is stopped: within it, by two sequences, or by one that it may not have.
    stops = [
        ([], [text[len(text) // 2 :][:3]], [], ["\n\n", text[-4:-2]], [], ["Q:"])[i % 6]
        for i, text in enumerate(free)
    ]
    requests = [
        request
        for p, n, s in zip(prompts, new, stops, strict=True)
        for request in _generation([p], {"max_gen_toks": n, "until": s})
    ]
    found = ours.generate_until(requests)
    expected = theirs.generate_until(requests, disable_tqdm=True)
    assert sum(a != b for a, b in zip(found, free, strict=True)) > count // 4, "too few stopped"
    differing = [i for i in range(count) if found[i] != expected[i]]
    for i in differing:
        tokens = ours.tok_encode(prompts[i])[-(ours.model.max_length - new[i]) :]
        written, sure = _written_by_transformers(theirs, tokens, new[i])
        assert sure < len(written), i
    assert len(differing) <= 2


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
