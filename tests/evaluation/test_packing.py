"""Prefix trees in rows: every sequence is read whole, shared tokens stand once, rows hold."""

import numpy as np
import pytest

from synthdiv.evaluation.packing import Continuation, common_prefix, pack

LENGTHS = [32, 64]


def _continuation(tokens: list[int], targets: int) -> Continuation:
    tokens = np.asarray(tokens, np.int32)
    return Continuation(tokens[:-1], tokens[len(tokens) - targets :])


def _random(random: np.random.Generator, questions: int) -> list[Continuation]:
    """Questions with options; some contexts begin alike, some continuations repeat."""
    shots = random.integers(0, 50, 10).tolist()
    made = []
    for _ in range(questions):
        context = shots * int(random.integers(2)) + random.integers(0, 50, 8).tolist()
        for _ in range(int(random.integers(1, 5))):
            n = int(random.integers(1, 9))
            made.append(_continuation(context + random.integers(0, 3, n).tolist(), n))
    return made


def _seen(row, place: int) -> list[int]:
    """The places that a query sees, by the rule in the module's docstring."""
    return [k for k in range(place + 1) if place < row.ends[k]]


@pytest.mark.parametrize("seed", range(4))
def test_every_sequence_is_read_whole_and_sees_nothing_else(seed):
    continuations = _random(np.random.default_rng(seed), 30)
    found = {}
    for length, rows in pack(continuations, LENGTHS).items():
        for row in rows:
            assert len(row) <= length
            for owner, places in zip(row.owners, row.scored, strict=True):
                assert owner not in found
                found[owner] = True
                inputs = continuations[owner].inputs
                last = _seen(row, places[-1])
                assert row.tokens[last].tolist() == inputs.tolist()
                assert row.positions[last].tolist() == list(range(len(inputs)))
                n = len(continuations[owner].targets)
                assert last[len(last) - n :] == places.tolist()
    assert sorted(found) == list(range(len(continuations)))


def test_shared_beginnings_are_read_once():
    context = list(range(100, 120))
    options = [_continuation([*context, i, i + 1], 2) for i in range(5)]
    rows = pack(options, LENGTHS)
    assert [len(row) for row in rows[32]] == [20 + 5]  # the second token of an option is not read
    assert 64 not in rows


def test_equal_requests_and_one_token_options_cost_nothing_more():
    context = list(range(20))
    yes_no = [_continuation([*context, 50], 1), _continuation([*context, 51], 1)]
    (row,) = pack([*yes_no, yes_no[0]], LENGTHS)[32]
    assert len(row) == 20
    assert [places.tolist() for places in row.scored] == [[19]] * 3


def test_few_shot_prompts_are_shared_between_questions_until_a_row_is_full():
    shots = list(range(40))
    questions = [_continuation([*shots, 100 + i, 200 + i, 1], 1) for i in range(20)]
    rows = pack(questions, LENGTHS)
    assert set(rows) == {64}
    assert len(rows[64]) == 2  # 12 questions of 2 new tokens fit beside the 40 of the shots
    assert sum(map(len, rows[64])) == 2 * 40 + 20 * 2


def test_rows_are_full_and_the_same_every_time():
    continuations = _random(np.random.default_rng(7), 200)
    rows, again = pack(continuations, LENGTHS), pack(continuations, LENGTHS)
    used = sum(len(row) for length in rows for row in rows[length])
    assert used > 0.9 * sum(length * len(rows[length]) for length in rows)
    for length in rows:
        for a, b in zip(rows[length], again[length], strict=True):
            assert a.owners == b.owners and a.tokens.tolist() == b.tokens.tolist()


def test_common_prefix():
    a = np.array([1, 2, 3])
    assert common_prefix(a, np.array([1, 2, 4, 5])) == 2
    assert common_prefix(a, np.array([1, 2, 3, 9])) == 3
    assert common_prefix(a, np.array([9])) == 0
