"""What `sample` writes: alone and in a file, bare and in conversation, drawn from few or many."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.data.chat import ChatTemplate
from synthdiv.errors import UserError
from synthdiv.evaluation import SampleConfig, plan_sample, sample, sample_file
from synthdiv.evaluation.checkpoint import load_checkpoint
from synthdiv.evaluation.generating import _likeliest
from synthdiv.evaluation.sampling import _end_of_answer

PROMPTS = ["The assert statement", "A mapping object", ""]
SHORT = SampleConfig(max_new_tokens=8)


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return load_checkpoint(checkpoint)


def test_the_fewest_likeliest_tokens_are_drawn_from():
    probabilities = np.array([[0.1, 0.5, 0.05, 0.35], [0.25, 0.25, 0.25, 0.25]])
    logits = jnp.log(probabilities)
    found = {p: np.asarray(_likeliest(logits, p)).tolist() for p in (0.01, 0.5, 0.6, 0.9, 0.96)}
    assert [row[0] for row in found.values()] == [
        [False, True, False, False],
        [False, True, False, False],
        [False, True, False, True],
        [True, True, False, True],
        [True, True, True, True],
    ]
    assert found[0.5][1] == [True] * 4  # equally likely: none is left out for its place


def test_draws_follow_seed_and_number_and_top_p(loaded):
    """As good as nothing is left of the likeliest tokens at a tiny `top_p`: greedy."""
    hot = SampleConfig(max_new_tokens=8, temperature=1.5, seed=3)
    same = sample(loaded, ["A mapping object"] * 3, hot)
    assert len({each.text for each in same}) == 3  # each prompt has random numbers of its own
    assert sample(loaded, ["A mapping object", "if", "while"], hot)[0] == same[0]
    other = SampleConfig(max_new_tokens=8, temperature=1.5, seed=4)
    assert sample(loaded, ["A mapping object"] * 3, other) != same
    narrow = SampleConfig(max_new_tokens=8, temperature=1.5, top_p=1e-6)
    assert sample(loaded, PROMPTS, narrow) == sample(loaded, PROMPTS, SHORT)


def test_a_file_is_answered_line_by_line_and_goes_on(checkpoint, tmp_path, monkeypatch):
    rows = [{"prompt": text, "id": i} for i, text in enumerate(PROMPTS)]
    rows.append({"messages": [{"role": "user", "content": "Which statement?"}]})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = sample_file(checkpoint, tmp_path / "in.jsonl", tmp_path / "new/out.jsonl", SHORT)
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k in rows[i]} for i, row in enumerate(found)] == rows
    alone = sample(checkpoint, PROMPTS, SHORT)
    assert [row["completion"] for row in found[:3]] == [each.text for each in alone]
    assert [row["tokens"] for row in found[:3]] == [each.tokens for each in alone]
    assert all(row["ended"] == (row["tokens"] < 8) for row in found)
    before = output.read_bytes()
    output.unlink()
    with monkeypatch.context() as patched:  # all of it is kept beside the output
        patched.setattr("synthdiv.evaluation.generating._run", None)
        sample_file(checkpoint, tmp_path / "in.jsonl", output, SHORT)
    assert output.read_bytes() == before


def test_an_instruct_model_is_asked_through_its_template(loaded):
    """Its own template, unless another is asked for; an answer ends where the template ends it."""
    tokenizer = loaded.tokenizer
    end = tokenizer.eot_token
    text = "{% for m in messages %}{{ '[' + m.role + ']' + m.content + eos_token }}{% endfor %}"
    text += "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
    own = ChatTemplate(path="own", text=text)
    chatty = type(loaded)(**vars(loaded) | {"template": own})
    [said] = sample(chatty, ["Which?"], SHORT)
    spelled = tokenizer.encode_marked([f"{end}[user]Which?{end}[assistant]"])[0]
    [bare] = sample(loaded, [tokenizer.decode(spelled[1:])], SHORT)
    assert [said] == sample(loaded, [[{"role": "user", "content": "Which?"}]], SampleConfig(
        max_new_tokens=8, template=own))  # fmt: skip
    assert said != bare  # special tokens of the template are real ones
    off = SampleConfig(max_new_tokens=8, chat="off")
    assert sample(chatty, ["Which?"], off) == sample(loaded, ["Which?"], SHORT)
    assert _end_of_answer(own, tokenizer) == tokenizer.eot_id


def test_what_does_not_fit_is_refused_by_its_number(checkpoint, tmp_path):
    long = SampleConfig(max_new_tokens=315)
    for call in (sample, plan_sample):
        with pytest.raises(UserError, match="prompt 2 has .* max_new_tokens=315 is more than"):
            call(checkpoint, ["if", "the assert statement of the language"], long)
    assert plan_sample(checkpoint, PROMPTS, SHORT).figures == {"prompts": 3, "new_tokens": 24}
    for row, words in [
        ({}, "line 2 has not one of"),
        ({"prompt": 3}, "line 2: its prompt is no text"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "line 2: its messages"),
    ]:
        (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "x"}) + f"\n{json.dumps(row)}\n")
        with pytest.raises(UserError, match=words):
            sample_file(checkpoint, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    for wrong in ({"top_p": 0.0}, {"temperature": -1.0}, {"chat": "onn"}, {"max_new_tokens": 0}):
        with pytest.raises(UserError, match=f"Sample.{next(iter(wrong))}"):
            SampleConfig(**wrong)


def test_the_command(checkpoint, run_command, tmp_path):
    args = [f"--checkpoint={checkpoint}", "--max_new_tokens=8"]
    shown = run_command("sample", *args, "--prompt=The assert statement")
    assert shown.code == 0, shown.stderr
    [written] = sample(checkpoint, ["The assert statement"], SHORT)
    assert shown.stdout == written.text + "\n"
    planned = run_command("sample", *args, "--prompt=The assert statement", "--dry_run")
    assert "8 tokens at most" in planned.stdout
    refused = run_command("sample", *args)
    assert refused.code == 2 and "--prompt or --input" in refused.stderr
