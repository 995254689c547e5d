"""Marks of quality: asked once, kept in the documents, and what is below a bound goes."""

import json
from pathlib import Path
from typing import Any

import pytest

from synthdiv.corpora import Corpus
from synthdiv.curation import FilterConfig, FilterWork, Judge, filter_corpus, plan_filter
from synthdiv.errors import Paused, UserError
from synthdiv.llm import LLMConfig, open_session
from tests.curation.test_filter import GOOD, sentences

SOURCE = "The Severn Bridge was opened on 8 September 1966. It is 1,597 metres long."
LESSON = " ".join(
    [GOOD, "They do so because winter brings no nectar, so that a colony without honey starves.",
     "For example, a hive of 20,000 bees eats about 15 kilograms between October and April.",
     "If the keeper takes more, then sugar is given first, which means syrup in September."]
)  # fmt: skip
ROWS = [
    {"id": "lesson", "text": LESSON, "source": ""},
    {"id": "chatter", "text": "yes " * 40, "source": ""},
    {"id": "true", "text": "Opened on 8 September 1966, the Severn Bridge has 1,597 metres.",
     "source": "bridge"},
    {"id": "false", "text": "Opened in May 1870, the Tower of Bristol cost Brunel 88,000 pounds.",
     "source": "bridge"},
]  # fmt: skip
CHECKS = ("low_quality", "low_factuality")


def marked(tmp_path: Path, calls: int | None = None, **settings: Any) -> dict[str, Any]:
    """Filters the rows by marks alone."""
    llm = LLMConfig(backend="offline", max_calls=calls)
    with open_session(llm, tmp_path / "out" / "answers.sqlite") as session:
        config = FilterConfig(drop=CHECKS, count=(), **settings)
        judge = Judge(session, config, Corpus([{"id": "bridge", "text": SOURCE}]))
        return filter_corpus(FilterWork(Corpus(ROWS), config, judge=judge), tmp_path / "out", 0)


def test_what_is_marked_too_low_goes_with_the_reason(tmp_path: Path) -> None:
    manifest = marked(tmp_path, least_quality=2, least_factuality=4)
    kept = {document.id: document.provenance for document in Corpus(tmp_path / "out")}
    lines = (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()
    dropped = {one["id"]: one for one in map(json.loads, lines)}
    assert {name: one["reason"] for name, one in dropped.items()} == {
        "chatter": "low_quality",
        "false": "low_factuality",
    }
    assert "stand-in" in dropped["false"]["evidence"]
    assert kept["lesson"]["quality"] > kept["true"]["quality"]
    assert kept["true"]["factuality"] == 5 and kept["lesson"]["factuality"] is None
    marks = manifest["marks"]
    assert marks["factuality"]["documents"] == 1 and marks["usage"]["calls"]["sent"] == 6


def test_a_cap_pauses_and_no_mark_is_paid_for_twice(tmp_path: Path) -> None:
    with pytest.raises(Paused):
        marked(tmp_path, calls=4, least_quality=2)
    manifest = marked(tmp_path, least_quality=2)
    assert manifest["marks"]["usage"]["calls"] == {
        "sent": 2, "cached": 4, "retried": 0, "repaired": 0, "failed": 0
    }  # fmt: skip


def test_a_bound_needs_a_judge_and_a_plan_tells_the_calls(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="need a judge"):
        FilterWork(Corpus(ROWS), FilterConfig(least_quality=3))
    config = FilterConfig()
    with open_session(LLMConfig(backend="offline"), None, asking=False) as session:
        work = FilterWork(Corpus(ROWS), config, judge=Judge(session, config))
        plan = plan_filter(work, tmp_path / "out")
    assert plan.parts["judge, at most"].calls == 4  # type: ignore[attr-defined]


def test_the_command_tells_the_marks(tmp_path: Path, run_command: Any) -> None:
    rows = [{"text": LESSON}, {"text": sentences(1)}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = run_command(
        "filter", f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out", "--llm=offline"
    )
    assert done.code == 0 and "by offline-stand-in (not an LLM)" in done.stdout
    assert [d.provenance["quality"] > 1 for d in Corpus(tmp_path / "out")] == [True, True]
