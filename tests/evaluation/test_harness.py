"""The model class that lm-eval sees: tokens as its own `hf` model makes them, answers kept."""

import numpy as np
import pytest
from lm_eval.api.instance import Instance

from synthdiv.data import ChatTemplate
from synthdiv.errors import UserError
from synthdiv.evaluation.checkpoint import load_checkpoint
from synthdiv.evaluation.harness import SynthdivLM
from tests.evaluation.small import CONFIG, texts, write_beginning, write_checkpoint


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return load_checkpoint(checkpoint, batch_tokens=1024)


@pytest.fixture
def lm(loaded) -> SynthdivLM:
    return SynthdivLM(loaded)


def _ask(kind: str, *arguments) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=0, metadata=("a_task", i, 1))
        for i, a in enumerate(arguments)
    ]


def _sum(lm: SynthdivLM, context: list[int], continuation: list[int]) -> float:
    """The log likelihood by lm-eval's token interface, for tokens given outright."""
    return lm._loglikelihood_tokens([(None, context, continuation)])[0][0]


def test_spaces_at_the_contexts_end_go_to_the_continuation(lm):
    spaced, plain = lm.loglikelihood(
        _ask("loglikelihood", ("The statement is  ", "true"), ("The statement is", "  true"))
    )
    assert spaced == plain


def test_an_empty_context_is_end_of_text(lm):
    (found,) = lm.loglikelihood(_ask("loglikelihood", ("", "The statement")))
    assert found[0] == _sum(lm, [lm.eot_token_id], lm.tok_encode("The statement"))


def test_end_of_text_before_every_context_on_request(loaded):
    request = ("The statement", " is true")
    plain, prefixed = SynthdivLM(loaded), SynthdivLM(loaded, prefix_end_of_text=True)
    before, whole = plain.tok_encode(request[0]), plain.tok_encode("".join(request))
    after = whole[len(before) :]
    assert plain.loglikelihood(_ask("loglikelihood", request))[0][0] == _sum(plain, before, after)
    assert prefixed.loglikelihood(_ask("loglikelihood", request))[0][0] == _sum(
        plain, [plain.eot_token_id, *before], after
    )


def test_what_a_tokenizer_begins_texts_with_stands_before_contexts_not_conversations(
    checkpoint, tokenizer_dir, tmp_path
):
    begins = write_beginning(tokenizer_dir, tmp_path / "tokenizer")
    lm = SynthdivLM(load_checkpoint(write_checkpoint(tmp_path / "m", tmp_path / "tokenizer")))
    assert lm.prefix_token_id == begins
    before, after = (lm.tok_encode(text) for text in ("The statement", " is true"))
    found = lm.loglikelihood(_ask("loglikelihood", ("The statement", " is true"), ("", " is true")))
    assert [f[0] for f in found] == [
        _sum(lm, [begins, *before], after),
        _sum(lm, [begins], after),
    ]
    talk = lm.apply_chat_template([{"role": "user", "content": "What is a statement?"}])
    (said,) = lm.loglikelihood(_ask("loglikelihood", (talk, "A line.")))
    whole = lm.tok_encode(talk + "A line.")
    kept = len(lm.tok_encode(talk.rstrip()))
    assert whole[0] == lm.eot_token_id
    assert said[0] == _sum(lm, whole[:kept], whole[kept:])


def test_equal_requests_get_equal_answers_in_order(lm):
    asked = [("The statement is", f" {word}") for word in ("true", "false", "true", "not", "true")]
    found = lm.loglikelihood(_ask("loglikelihood", *asked))
    assert found[0] == found[2] == found[4] and len(set(found)) == 3
    assert found == [lm.loglikelihood(_ask("loglikelihood", a))[0] for a in asked]


def test_a_context_that_is_too_long_is_cut_on_the_left_and_counted(lm):
    text = texts()[0] * 20
    before, after = lm.tok_encode(text), lm.tok_encode(text + " is true")
    after = after[len(before) :]
    assert len(before) > CONFIG.max_length
    short, long = lm.loglikelihood(
        _ask("loglikelihood", ("The statement", " is true"), (text.rstrip(), " is true"))
    )
    assert lm.truncated == {"a_task": 1}
    kept = (lm.tok_encode(text.rstrip() + " is true"))[-(CONFIG.max_length + 1) :]
    assert long[0] == _sum(lm, kept[: -len(after)], after)
    assert short != long


def test_a_continuation_that_cannot_fit_is_refused_by_task_and_question(lm):
    with pytest.raises(UserError, match="task a_task, question 1: a continuation of .* tokens is"):
        lm.loglikelihood(_ask("loglikelihood", ("a", " b"), ("a", texts()[0] * 20)))


def test_a_continuation_without_tokens_is_refused(lm):
    with pytest.raises(UserError, match="task a_task, question 0: the continuation '' has no tok"):
        lm.loglikelihood(_ask("loglikelihood", ("a", "")))


def test_rolling_reads_each_token_once_with_full_context_at_the_end(lm):
    text = (texts()[0] * 9)[:2400]
    tokens = lm.tok_encode(text)
    m = CONFIG.max_length
    assert 2 * m < len(tokens) < 4 * m
    (found,) = lm.loglikelihood_rolling(_ask("loglikelihood_rolling", (text,)))
    expected = _sum(lm, [lm.eot_token_id], tokens[:m])
    whole = (len(tokens) - 1) // m * m
    for start in range(m, whole, m):
        expected += _sum(lm, tokens[start - 1 : start], tokens[start : start + m])
    rest = len(tokens) - whole
    expected += _sum(lm, tokens[-(m + 1) : -rest], tokens[-rest:])
    assert found == pytest.approx(expected, rel=1e-6)
    assert sum(map(len, lm.score_texts([text])[0])) == len(tokens)


def test_an_empty_text_has_log_likelihood_zero(lm):
    assert lm.loglikelihood_rolling(_ask("loglikelihood_rolling", ("",))) == [0.0]


def test_conversations_begin_with_end_of_text_and_are_cut_as_in_fine_tuning(loaded):
    template = ChatTemplate(system="Answer briefly.")
    lm = SynthdivLM(loaded, template=template)
    messages = [
        {"role": "user", "content": "What is a statement?"},
        {"role": "assistant", "content": "A line."},
        {"role": "user", "content": "And an expression?"},
    ]
    text = lm.apply_chat_template(messages)
    answered = [*messages, {"role": "assistant", "content": "A value."}]
    ((tokens, is_answer),) = template.encode([answered], loaded.tokenizer)
    last_answer = len(tokens) - int(np.argmin(is_answer[::-1]))  # it ends the conversation
    assert lm.tok_encode(text) == tokens[:last_answer].tolist()
    assert lm.tok_encode(text).count(lm.eot_token_id) == 2
    assert "Answer briefly." in text


def test_generation_stops_at_stop_sequences_and_keeps_its_answers(loaded, tmp_path):
    lm = SynthdivLM(loaded, answers=tmp_path / "answers.sqlite")
    prompts = ["The statement", "A function is", "def f(x):", "\n\n"]
    free = lm.generate_until(_ask("generate_until", *((p, {"max_gen_toks": 40}) for p in prompts)))
    assert all(free)
    stop = free[0][len(free[0]) // 2 :][:3]
    asked = _ask("generate_until", *((p, {"until": [stop], "max_gen_toks": 40}) for p in prompts))
    stopped = lm.generate_until(asked)
    assert stopped == [text.split(stop)[0] for text in free]
    lm.store.close()
    again = SynthdivLM(loaded, answers=tmp_path / "answers.sqlite")
    again.model = _OnlyLengths(CONFIG.max_length)
    assert again.generate_until(asked) == stopped


class _OnlyLengths:
    """Stands where a model is, and can only say how long its context is."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def row_lengths(self) -> list[int]:
        return [256, self.max_length]

    def rows_a_batch(self, length: int, rows: int) -> int:
        return rows


def test_answers_are_kept_for_the_same_model_and_no_other(loaded, checkpoint, tmp_path):
    asked = _ask("loglikelihood", ("The statement is", " true"), ("The statement is", " false"))
    first = SynthdivLM(loaded, answers=tmp_path / "answers.sqlite")
    found = first.loglikelihood(asked)
    first.store.close()
    again = SynthdivLM(loaded, answers=tmp_path / "answers.sqlite")
    again.model = _OnlyLengths(CONFIG.max_length)
    assert again.loglikelihood(asked) == found
    other = load_checkpoint(checkpoint, dtype="bfloat16", batch_tokens=1024)
    assert other.fingerprint != loaded.fingerprint
    half = SynthdivLM(other, answers=tmp_path / "answers.sqlite").loglikelihood(asked)
    assert half != found
    np.testing.assert_allclose([f[0] for f in half], [f[0] for f in found], rtol=0.05)


def test_a_file_that_keeps_no_answers_is_refused(loaded, tmp_path):
    (tmp_path / "answers.sqlite").write_text("not a database, but long enough to be looked at")
    with pytest.raises(UserError, match="cannot keep answers in"):
        SynthdivLM(loaded, answers=tmp_path / "answers.sqlite")


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"num_beams": 4}, "generation with num_beams=4 is not supported"),
        ({"do_sample": True, "temperature": 1.0, "top_k": 5}, "with top_k=5 is not supported"),
        (
            {"do_sample": True, "temperature": 1.0, "top_p": 2},
            "top_p must be above 0 and at most 1",
        ),
        ({"max_gen_toks": 320}, "generates 320 tokens, which leaves no room for a prompt"),
    ],
)
def test_generation_that_cannot_be_done_is_refused(lm, settings, complaint):
    with pytest.raises(UserError, match=complaint):
        lm.generate_until(_ask("generate_until", ("The", settings)))


def test_tasks_may_draw_from_the_likeliest_tokens(lm):
    """As good as nothing is left of them at a tiny `top_p`: greedy."""
    drawn = {"do_sample": True, "temperature": 2.0, "max_gen_toks": 8}
    narrow = lm.generate_until(_ask("generate_until", ("The", drawn | {"top_p": 1e-6})))
    wide = lm.generate_until(_ask("generate_until", ("The", drawn)))
    greedy = lm.generate_until(_ask("generate_until", ("The", {"max_gen_toks": 8, "top_p": 0.5})))
    assert narrow == greedy and wide != greedy


def test_fingerprints_tell_checkpoints_apart(loaded, checkpoint, tokenizer_dir, tmp_path):
    from tests.evaluation.small import write_checkpoint

    assert load_checkpoint(checkpoint).fingerprint == loaded.fingerprint
    other = load_checkpoint(write_checkpoint(tmp_path, tokenizer_dir, seed=1))
    assert other.fingerprint != loaded.fingerprint


def test_a_checkpoint_without_a_tokenizer_or_with_a_larger_one_is_refused(
    checkpoint, tokenizer_dir, tmp_path
):
    import shutil

    shutil.copytree(checkpoint, tmp_path / "bare")
    for file in (tmp_path / "bare").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="has no tokenizer; name one with `tokenizer`"):
        load_checkpoint(tmp_path / "bare")
    assert load_checkpoint(tmp_path / "bare", tokenizer=tokenizer_dir).tokenizer.vocab_size
    with pytest.raises(UserError, match="Evaluate.dtype='float8' is not one of float32"):
        load_checkpoint(checkpoint, dtype="float8")
