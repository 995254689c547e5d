"""What the judge sees of a document, and which documents it sees."""

import json

import numpy as np
import pytest

from synthdiv.diversity.documents import Draws, matched_limits, read_documents, show
from synthdiv.errors import UserError
from synthdiv.files import Corpus


def test_a_short_text_is_shown_as_it_is():
    assert show("Two  words,\nand more. ", 10) == ("Two  words,\nand more.", 4, False, False)


def test_a_long_text_is_cut_at_a_word():
    text, words, cut, cleaned = show("one two three four", 2)
    assert (text, words, cut, cleaned) == ("one two", 2, True, False)


def test_a_word_without_end_is_cut_too():
    text, words, cut, _ = show("A" * 1_000_000, 50)
    assert len(text) == 50 * 24 and words == 1 and cut


@pytest.mark.parametrize("text", ["", "   \n\t "])
def test_nothing_is_shown_as_nothing(text):
    assert show(text, 10) == ("", 0, False, False)


def test_what_is_no_text_is_replaced():
    text, _, cut, cleaned = show("a\x00b\x1b[31m \ud800 end\r\nline", 10)
    assert text == "a\ufffdb\ufffd[31m ? end\nline" and cleaned and not cut
    text.encode("utf-8")


def test_right_to_left_text_is_left_alone():
    hebrew = "שלום עולם \u202e הפוך"
    assert show(hebrew, 10)[0] == hebrew


def test_draws_depend_on_seed_and_round_alone():
    one, other = Draws(1000, 500, 3, 10), Draws(1000, 500, 3, 10)
    assert one.round(7).tolist() == other.round(7).tolist()
    assert one.round(7).tolist() != one.round(8).tolist()
    assert one.round(7).tolist() != Draws(1000, 500, 4, 10).round(7).tolist()
    assert one.round(7).tolist() != one.controls(8)[7].tolist()
    assert sorted(one.order(7).tolist()) == list(range(10))


def test_a_round_has_different_documents_all_of_the_subset():
    draws = Draws(1000, 100, 0, 10)
    seen = set()
    for number in range(200):
        drawn = draws.round(number)
        assert len(set(drawn.tolist())) == 10
        seen |= set(drawn.tolist())
    assert len(seen) == 100 and max(seen) < 1000


def test_rounds_draw_uniformly():
    draws = Draws(50, 50, 0, 10)
    counts = np.bincount(np.concatenate([draws.round(n) for n in range(2000)]), minlength=50)
    chi_squared = ((counts - 400) ** 2 / (400 * 0.8)).sum()
    assert chi_squared < 90  # 49 degrees of freedom; p = 0.0003


def test_too_small_a_corpus_is_refused():
    with pytest.raises(UserError, match="corpus 'c' has 7 documents and a round takes 10"):
        Draws(7, 100, 0, 10, "corpus 'c'")


def test_documents_are_read_in_one_pass_and_cut(tmp_path):
    path = tmp_path / "c.jsonl"
    rows = [{"id": f"d{i}", "text": "word " * (i + 1), "label": i} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_documents(Corpus(path), [5, 2, 5, 19], 10, {19: 3})
    assert sorted(found) == [2, 5, 19]
    assert found[2].id == "d2" and found[2].provenance == {"label": 2}
    assert [found[i].words for i in (2, 5, 19)] == [3, 6, 3]
    assert [found[i].cut for i in (2, 5, 19)] == [False, False, True]


def test_matched_lengths_have_one_distribution():
    generator = np.random.default_rng(0)
    short = dict(enumerate(generator.integers(20, 80, 3000).tolist()))
    long = dict(enumerate(generator.integers(50, 400, 2000).tolist()))
    limits = matched_limits([short, long])
    shown = [
        np.minimum(list(lengths.values()), list(limit.values()))
        for lengths, limit in zip((short, long), limits, strict=True)
    ]
    for rank in (0.1, 0.5, 0.9):
        assert np.quantile(shown[0], rank) == pytest.approx(np.quantile(shown[1], rank), abs=1.5)
    assert (shown[0] >= np.array(list(short.values())) - 1).mean() > 0.95  # the short is hardly cut
