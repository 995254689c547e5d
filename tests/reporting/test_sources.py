"""Where documents come from: what is constant, and what tells them apart."""

import pytest

from synthdiv.files import Document
from synthdiv.reporting.sources import constant, source_tables, told


def documents():
    return {
        n: Document(
            str(n),
            "",
            {
                "model": "one",
                "style": "story" if n < 12 else "lesson",
                "title": f"title {n}",
                "keywords": ["a", "b"] if n % 2 else ["a"],
                "nothing": None,
            },
        )
        for n in range(20)
    }


def test_what_all_documents_share_is_constant():
    pairs = [told(document) for document in documents().values()]
    assert constant(pairs) == {"model": "one"}
    assert constant(pairs[:1]) == {} and constant([]) == {}
    assert "model" not in constant([*pairs, set()])


def test_tables_leave_out_what_is_constant_and_what_is_different_everywhere():
    groups = {n: [0, 1] if n < 12 else [-1 - n] for n in range(20)}
    style, keywords = source_tables(documents(), groups)
    assert (style.column, keywords.column) == ("style", "keywords")
    story, lesson = style.rows
    assert (story.value, story.documents, story.share) == ("story", 12, pytest.approx(0.6))
    assert story.groups == ((0, 0.5), (1, 0.5))
    assert story.effective_groups == pytest.approx(24 * 23 / (2 * 12 * 11))
    assert lesson.groups == (), "these are in groups that no list names"
    assert lesson.effective_groups is None
    assert [row.documents for row in keywords.rows] == [20, 10] and keywords.more == 0
