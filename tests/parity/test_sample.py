"""`sample` writes what `transformers` writes greedily from the same checkpoint, exported."""

import numpy as np
import pytest

from synthdiv.data import load_tokenizer
from synthdiv.evaluation import SampleConfig, sample
from synthdiv.training import export
from tests.evaluation import small
from tests.evaluation.conftest import quick_to_compile  # noqa: F401

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NEW = 8
# Two logits closer than this are a tie, which the order of sums in float32 may decide either way.
TIE = 1e-3


def _prompts() -> list[str]:
    """A hundred beginnings of Python's own reference, of 1 to 20 words."""
    words = " ".join(small.texts()).split()
    return [" ".join(words[97 * i : 97 * i + 1 + 7 * i % 20]) for i in range(100)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A random checkpoint of ours, and what `export` makes of it."""
    folder = tmp_path_factory.mktemp("sample")
    ours = small.write_own_checkpoint(folder / "ours", small.write_tokenizer(folder), {}, seed=3)
    return ours, export(ours, folder / "exported")


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_a_hundred_prompts_token_for_token(exported, count) -> None:
    """One prompt at a time, as `transformers` is exact without padding."""
    prompts = _prompts()[:count]
    written = sample(exported[0], prompts, SampleConfig(max_new_tokens=NEW))
    model = transformers.AutoModelForCausalLM.from_pretrained(exported[1])
    encode = transformers.AutoTokenizer.from_pretrained(exported[1])
    decode = load_tokenizer(exported[1]).decode
    whole = 0
    for prompt, found in zip(prompts, written, strict=True):
        tokens = encode(prompt, return_tensors="pt")
        theirs = model.generate(
            tokens.input_ids,
            attention_mask=tokens.attention_mask,
            max_new_tokens=NEW,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=encode.eos_token_id,
        )
        best = torch.stack(theirs.logits)[:, 0].topk(2).values
        ties = np.flatnonzero((best[:, 0] - best[:, 1]).numpy() < TIE)
        expected = theirs.sequences[0, tokens.input_ids.shape[1] :].tolist()
        if len(ties) == 0:
            assert found.text == decode(expected), prompt
            assert found.tokens == len(expected) - (expected[-1] == encode.eos_token_id)
            whole += 1
        else:
            assert found.text.startswith(decode(expected[: ties[0]]).rstrip("\ufffd")), prompt
    print(f"{whole} of {count} the same to the end")
    assert whole >= 0.75 * count  # the others met a tie
