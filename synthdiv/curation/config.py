"""What a filter looks for, and what it does with what it finds: one frozen dataclass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synthdiv.config import PathName, settle
from synthdiv.errors import UserError, closest

# In the order in which a document's reason is chosen where it has several faults.
CHECKS = {
    "short": "fewer words than `least_words`",
    "refusal": "begins with a refusal to write",
    "leaked_prompt": "holds words of a prompt, of a chat template, or of an answer to a request",
    "self_reference": 'speaks of "this passage"',
    "language": "its beginning or its end is in another language",
    "truncated": "breaks off",
    "repetition": "repeats itself",
    "opening": "begins with a stock opening",
    "contaminated": "has a run of `ngram` words in common with an evaluation task",
    "contaminated_fuzzy": "holds most words of an evaluation task's question, in its order",
    "duplicate": "has the same words as an earlier document",
    "near_duplicate": "has nearly the same words as an earlier document",
    "low_quality": "the judge finds it teaches too little",
    "low_factuality": "the judge finds it says what its source does not",
}


@dataclass(frozen=True)
class FilterConfig:
    """What is looked for; gin scope `Filter`.

    Attributes:
        drop: checks whose documents are dropped.
        count: checks that are counted and drop nothing; what is in neither is not looked for.
        least_words: of a document.
        languages: codes of ISO 639 (`("en", "de")`); (): the one most of the beginning is in.
        language_confidence: that a text is in another language, from 0 to 1.
        phrases: file of what refusals, leaked prompts and texts about themselves say.
        openings: file of stock openings, one a line.
        prompts: files and directories of prompts whose words must not come back.
        most_repeated: share of a text's 5-word runs that came before in it.
        ngram: words in a run that a document may not share with an evaluation task.
        most_items: n-grams that more items of the tasks have are nobody's own and not looked for.
        fuzzy_words: an item needs so many words to be found in part.
        fuzzy_share: share of an item's words, weighted by how rare they are, in its order.
        shingle: words in a shingle of near-duplicates.
        permutations: values of a MinHash signature, a multiple of 4.
        near_threshold: Jaccard similarity of the shingles from which documents are near-duplicates.
        judge_prompts: directory of the judge's prompts.
        judge_words: of a document, and of its source, are shown to the judge at most.
        least_quality, least_factuality: means of the judge's answers, from 1 to 5, below which a
            document is dropped.
        shard_documents: documents in a Parquet shard.

    Raises:
        UserError: a value that makes no sense.
    """

    drop: tuple[str, ...] = tuple(name for name in CHECKS if name != "opening")
    count: tuple[str, ...] = ("opening",)
    least_words: int = 1
    languages: tuple[str, ...] = ()
    language_confidence: float = 0.9
    phrases: PathName = "filter/phrases.json"
    openings: PathName = "prompts/generation/openings.txt"
    prompts: tuple[str, ...] = ("prompts/generation",)
    most_repeated: float = 0.3
    ngram: int = 13
    most_items: int = 10
    fuzzy_words: int = 8
    fuzzy_share: float = 0.8
    shingle: int = 5
    permutations: int = 64
    near_threshold: float = 0.7
    judge_prompts: PathName = "prompts/filter"
    judge_words: int = 1500
    least_quality: float = 0.0
    least_factuality: float = 0.0
    shard_documents: int = 10_000

    def __post_init__(self) -> None:
        settle(self)
        for name in ("drop", "count", "languages", "prompts"):
            if isinstance(getattr(self, name), str):
                raise UserError(f"Filter.{name} is a list of names, not one name")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for check in (*self.drop, *self.count):
            if check not in CHECKS:
                known = ", ".join(CHECKS)
                raise UserError(f"no check {check!r}; there are {known}{closest(check, CHECKS)}")
        for check in self.drop:
            if check in self.count:
                raise UserError(f"{check!r} is in Filter.drop and in Filter.count: choose one")
        for name in ("ngram", "shingle"):
            if not 2 <= getattr(self, name) <= 64:
                raise UserError(f"Filter.{name} is from 2 to 64")
        for name in ("shard_documents", "judge_words", "most_items", "fuzzy_words"):
            if getattr(self, name) < 1:
                raise UserError(f"Filter.{name} must be at least 1")
        if self.permutations < 16 or self.permutations % 4:
            raise UserError("Filter.permutations is a multiple of 4, at least 16")
        for name in ("near_threshold", "fuzzy_share", "language_confidence", "most_repeated"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"Filter.{name} is above 0 and at most 1")

    def wants(self, *checks: str) -> bool:
        """Whether any of these checks is looked for."""
        return any(check in self.drop or check in self.count for check in checks)

    def reason(self, faults: Iterable[str]) -> str | None:
        """The first of a document's faults, in the order of CHECKS, for which it is dropped."""
        found = set(faults)
        return next((name for name in CHECKS if name in found and name in self.drop), None)
