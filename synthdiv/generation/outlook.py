"""What growing a corpus takes at most, told before it begins, and what decides how it grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv import files
from synthdiv.claims import FINGERPRINT, check_claim
from synthdiv.diversity.planning import plan_score
from synthdiv.diversity.steps import CRITERIA
from synthdiv.diversity.work import score_work
from synthdiv.errors import UserError
from synthdiv.generation.generator import check_apart, examples, writers_of
from synthdiv.generation.plan import CorpusPlan
from synthdiv.generation.waves import CALLED
from synthdiv.llm import Plan as Asked
from synthdiv.plans import Plan
from synthdiv.prompts import Templates

if TYPE_CHECKING:
    from synthdiv.diversity import ScoreConfig
    from synthdiv.generation.config import GenerateConfig, LoopConfig
    from synthdiv.generation.writers import Writers
    from synthdiv.llm import Session
    from synthdiv.llm.plan import StagePlan

_STAND_INS = 100  # documents that a plan shows the judge: there are none yet


def plan_growth(
    topics: Path | None,
    output: Path,
    config: GenerateConfig,
    loop: LoopConfig,
    score: ScoreConfig,
    session: Session | Sequence[Session],
    judge: Session,
    sources: files.Corpus | None = None,
) -> Plan:
    """What `grow` would take at most, without sending or writing anything; see `loop.grow`."""
    check_apart(output, topics, sources)
    plan, writers = CorpusPlan(topics, config, sources), writers_of(config, session)
    score, output = cheap(score), Path(output)
    most = most_documents(plan, loop, score)
    check_claim(output / FINGERPRINT, growth_work(plan, writers, loop, score, judge), "corpus")
    waves, documents = 0, 0
    while documents < most:
        documents += max(loop.wave, int(loop.growth * documents))
        waves += 1
    facts = {
        "until": f"{CALLED[loop.measure]} of {loop.target:g}" if loop.target else "it adds nothing",
        "at most": f"{most:,} documents in {waves:,} waves",
        "judge": f"{judge.model}: {loop.rounds:,} rounds after each wave",
    }
    asked = examples(plan, writers, most).stages
    asked += _judging(waves * loop.rounds, score, judge, (output / CRITERIA).exists())
    if loop.target is not None and loop.batches > 1:
        again = loop.rounds * (2**loop.batches - 2)
        facts["judge"] += f", and up to {again:,} more where it is near the target"
        near = _judging(waves * again, score, judge, True)
        asked += tuple(
            dataclasses.replace(stage, stage=f"{stage.stage}, near the target") for stage in near
        )
    return Plan(facts=facts, parts={"writers and judge, at most": Asked(stages=asked)})


def _judging(
    rounds: int, score: ScoreConfig, judge: Session, gathered: bool
) -> tuple[StagePlan, ...]:
    """What so many rounds would take, of documents as long as the judge is shown."""
    wanted = max(score.documents_per_round, score.criteria_documents, _STAND_INS)
    texts = [" ".join([f"{n}", *["texts"] * (score.document_words - 1)]) for n in range(wanted)]
    asked = dataclasses.replace(score, rounds=rounds, repeats=1, repeat_fraction=0.0)
    return plan_score([files.Corpus(texts)], asked, judge, gathered).stages


def most_documents(plan: CorpusPlan, loop: LoopConfig, score: ScoreConfig) -> int:
    """The most documents that there can be; refuses a target that they cannot reach."""
    most, size = min(len(plan), loop.documents or len(plan)), score.documents_per_round
    target = loop.target or 0.0
    if loop.measure == "score" and target > size:
        raise UserError(
            f"rounds of {size} documents have a score of {size} at most: `target_score={target:g}`"
            " cannot be reached"
        )
    if loop.measure == "effective_clusters" and target >= most:
        raise UserError(
            f"the plan ends at {most:,} documents, which have fewer effective clusters:"
            f" `target_effective_clusters={target:g}` cannot be reached"
        )
    return most


def cheap(score: ScoreConfig) -> ScoreConfig:
    """How a growing corpus is judged: without verification."""
    return dataclasses.replace(score, verify=False, policy=None)


def growth_work(
    plan: CorpusPlan, writers: Writers, loop: LoopConfig, score: ScoreConfig, judge: Session
) -> dict[str, Any]:
    """What must be the same in every run of a growing corpus."""
    steered = ("arms", "depth", "steer", "wave", "growth", "rounds", "batches")
    kept = {name: getattr(loop, name) for name in steered}
    kept["notes"] = bool(loop.notes) and Templates(loop.notes).get("note").filename
    if kept["notes"]:
        kept["notes"] = files.sha256_file(kept["notes"])
    scored = score_work([], score, judge.config)
    return plan.fingerprint(writers) | {
        "loop": kept | {"measure": loop.measure, "arms": list(loop.arms)},
        "score": scored["score"],
        "judge": {"backend": judge.backend, "model": judge.model},
    }
