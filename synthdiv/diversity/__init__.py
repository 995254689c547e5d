"""How diverse a corpus is: the LLM cluster score, its interval, and baseline metrics.

Of a corpus on disk:

    from synthdiv.diversity import ScoreConfig, cluster_score
    from synthdiv.files import Corpus

    result = cluster_score(Corpus("corpus.jsonl"), ScoreConfig(rounds=300))
    result.mean, result.ci95
"""

from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.corpora import score_corpora
from synthdiv.diversity.partial import PartialScore
from synthdiv.diversity.results import ComparisonResult, Difference, ScoreResult
from synthdiv.diversity.scoring import cluster_score
from synthdiv.diversity.validation import Validation, plan_validation, validate
from synthdiv.diversity.validation_result import ValidationResult
from synthdiv.diversity.work import check_score_claim, claim_score, score_work

__all__ = [
    "ComparisonResult",
    "Difference",
    "PartialScore",
    "ScoreConfig",
    "ScoreResult",
    "Validation",
    "ValidationResult",
    "check_score_claim",
    "claim_score",
    "cluster_score",
    "plan_validation",
    "score_corpora",
    "score_work",
    "validate",
]
