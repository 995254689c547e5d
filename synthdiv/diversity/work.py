"""What makes a score what it is, and the claims on the directories that it is written to."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from synthdiv.claims import FINGERPRINT, check_claim, claim
from synthdiv.config import find
from synthdiv.corpora.names import check_names, numbered
from synthdiv.diversity.config import ScoreConfig
from synthdiv.errors import UserError
from synthdiv.files import Corpus, sha256_file
from synthdiv.llm.config import LLMConfig

# What refines a score, or only adds to it, may change between two runs in one directory.
_MAY_CHANGE = (
    *("rounds", "target_ci", "repeat_fraction", "second_fraction", "labels"),
    *("validation", "bootstrap", "with_baselines", "baselines"),
)


def score_work(
    corpora: Sequence[Corpus], config: ScoreConfig, judge: LLMConfig, compare: bool = False
) -> dict[str, Any]:
    """Returns what makes a score what it is, for the claim on its directory."""
    asked = dataclasses.asdict(config) | {"policy": config.policy_in_force}
    if config.criteria:
        asked["criteria"] = sha256_file(_file(config.criteria))
    return {
        "kind": "score",
        "corpora": {corpus.name: corpus.sha256 for corpus in corpora},
        "score": {name: value for name, value in asked.items() if name not in _MAY_CHANGE},
        "judge": {"backend": judge.backend, "model": judge.model},
        "compare": compare,
    }


def _file(path: str | Path) -> Path:
    found = find(path)
    if found.is_dir():
        raise UserError(f"{path} is a directory: `Score.criteria` takes a file, as its score.json")
    return found


def directory_names(corpora: Sequence[Corpus]) -> list[str]:
    """Returns what the directories of several corpora are called, in a score's directory."""
    return check_names(numbered([corpus.name for corpus in corpora]), len(corpora))


@contextlib.contextmanager
def claim_score(
    directory: Path,
    corpora: Sequence[Corpus],
    config: ScoreConfig,
    judge: LLMConfig,
    compare: bool = False,
) -> Iterator[None]:
    """Claims a directory for a score, and of several corpora each one's directory in it.

    Raises:
        UserError: as `claims.claim`.
    """
    with contextlib.ExitStack() as stack:
        for record, work in _works(directory, corpora, config, judge, compare):
            stack.enter_context(claim(record, work, "score"))
        yield


def check_score_claim(
    directory: Path,
    corpora: Sequence[Corpus],
    config: ScoreConfig,
    judge: LLMConfig,
    compare: bool = False,
) -> None:
    """Refuses directories that hold other scores; writes and locks nothing.

    Raises:
        UserError: as `claims.check_claim`.
    """
    for record, work in _works(directory, corpora, config, judge, compare):
        check_claim(record, work, "score")


def _works(
    directory: Path,
    corpora: Sequence[Corpus],
    config: ScoreConfig,
    judge: LLMConfig,
    compare: bool,
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The record of each directory, and what it says."""
    yield directory / FINGERPRINT, score_work(corpora, config, judge, compare)
    if len(corpora) > 1:
        for name, corpus in zip(directory_names(corpora), corpora, strict=True):
            work = score_work([corpus], config, judge, compare)
            yield directory / name / FINGERPRINT, work | {"kind": "one of several scores"}
