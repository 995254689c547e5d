"""What the diversity score can be told: one frozen dataclass, by default as in the paper."""

import dataclasses

from synthdiv.baselines import BaselineConfig
from synthdiv.config import PathName, settle
from synthdiv.diversity.prompts import load_prompts
from synthdiv.errors import UserError

ONE_SIDED = ("drop", "split", "keep")  # what becomes of clusters that verification rejects
CORRECTED = "corrected"
POLICIES = (*ONE_SIDED, CORRECTED)


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """The LLM cluster-agent and its estimator (paper, section 2.1 and appendix D).

    Attributes:
        rounds: clustering rounds (N); the most there will be with `target_ci`.
        documents_per_round: documents sorted in one round (K).
        criteria_rounds: proposals of criteria (M).
        criteria_documents: documents that one proposal looks at (J).
        criteria_sets: groups into which the proposals are dealt; each is gathered into criteria of
            its own and heads an equal share of the rounds, so that the interval covers how the
            criteria came out. 1 is the paper's procedure, with an interval that takes them as
            given.
        criteria_low, criteria_high: how many metadata and how many metrics are asked for.
        criteria: file of criteria to use as they are (JSON as in score.json); skips steps 1 to 3.
        verify: whether step 5 is asked. Without it every cluster counts as valid.
        policy: what becomes of a rejected cluster: "drop" leaves it and its documents out (the
            paper), "split" makes each of its documents a cluster, "keep" ignores the verdict;
            "corrected", where verification looks both ways, counts the clusters as it mends them.
            None is "corrected" where that can be, else "drop".
        explain: whether replies give reasons. Without them they are a third as long or less.
        sample: documents drawn from the corpus, without replacement; rounds draw from these.
        document_words: a longer document is cut to this many words before the judge sees it.
        repeats: the whole procedure this many times, with new documents and new criteria each
            time (the paper's error bar: 10).
        target_ci: stop as soon as the 95% interval, valid at any time of looking, is mean +- this.
        block_rounds: with `target_ci`, rounds under one set of criteria; looks come between blocks.
        look_rounds: with `target_ci`, rounds asked between two looks; at least `block_rounds`.
        control_rounds: rounds that the offline judge clusters for nothing, to know its own mean:
            it is then a control variate. 0 switches it off; an offline judge never has one.
        repeat_fraction: share of the rounds asked again with their documents in another order.
        second_fraction: share of the rounds that the second judge, where there is one, clusters.
        labels: column of ground-truth labels: measures the judge.
        match_length: with several corpora under one set of criteria, cut documents so that all
            corpora show the judge the same distribution of lengths.
        temperature, max_tokens: of the judge's replies.
        prompts: directory of the Jinja templates. It decides the way of asking: "prompts/score"
            sorts documents into clusters as the paper does, "prompts/rule" by one rule at a level
            of a codebook, "prompts/levels" gives each document values at all levels.
        level: with a codebook, the level whose score is the headline, as facet.level.
        coverage_documents: with a codebook, documents that did not make it, described to see
            whether it covers the corpus; 0 leaves that out.
        least_coverage: share of them that must have a value at the headline's level; below it the
            values are gathered once more, with what was missed.
        validation: file that `synthdiv validate` wrote of this judge, to be shown with the score.
        bootstrap: resamples of the two-level bootstrap.
        with_baselines: whether the baseline metrics are computed too.
        baselines: how.
        seed: of every random draw; the same seed asks the same questions.
    """

    rounds: int = 5000
    documents_per_round: int = 10
    criteria_rounds: int = 100
    criteria_documents: int = 5
    criteria_sets: int = 10
    criteria_low: int = 3
    criteria_high: int = 5
    criteria: PathName | None = None
    verify: bool = True
    policy: str | None = None
    explain: bool = True
    sample: int = 1_000_000
    document_words: int = 600
    repeats: int = 1
    target_ci: float | None = None
    block_rounds: int = 50
    look_rounds: int = 200
    control_rounds: int = 2000
    repeat_fraction: float = 0.0
    second_fraction: float = 0.1
    labels: str | None = None
    match_length: bool = True
    temperature: float = 0.0
    max_tokens: int = 4096
    prompts: PathName = "prompts/score"
    level: str = "subject.discipline"
    coverage_documents: int = 40
    least_coverage: float = 0.9
    validation: PathName | None = None
    bootstrap: int = 2000
    with_baselines: bool = True
    baselines: BaselineConfig = dataclasses.field(default_factory=BaselineConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)

        def refuse(name: str, value: object, wanted: str) -> None:
            raise UserError(f"Score.{name} is {value!r}; it must be {wanted}")

        at_least = {
            "rounds": 1,
            "documents_per_round": 2,
            "criteria_rounds": 1,
            "criteria_documents": 1,
            "criteria_sets": 1,
            "criteria_low": 1,
            "sample": 2,
            "document_words": 1,
            "repeats": 1,
            "block_rounds": 2,
            "look_rounds": 1,
            "control_rounds": 0,
            "coverage_documents": 0,
            "bootstrap": 100,
            "max_tokens": 64,
            "seed": 0,
        }
        for name, low in at_least.items():
            if getattr(self, name) < low:
                refuse(name, getattr(self, name), f"at least {low}")
        if self.criteria_high < self.criteria_low:
            refuse("criteria_high", self.criteria_high, f"at least {self.criteria_low}")
        if self.policy is not None and self.policy not in POLICIES:
            refuse("policy", self.policy, f"one of {', '.join(POLICIES)}")
        for name in ("repeat_fraction", "second_fraction", "least_coverage"):
            if not 0 <= getattr(self, name) <= 1:
                refuse(name, getattr(self, name), "between 0 and 1")
        if self.target_ci is not None and self.target_ci <= 0:
            refuse("target_ci", self.target_ci, "above 0")
        if self.target_ci is not None and self.repeats > 1:
            refuse(
                "repeats", self.repeats, "1 with target_ci, which decides how many rounds to ask"
            )

    @property
    def policy_in_force(self) -> str:
        """The policy, or what its being None stands for.

        Raises:
            UserError: nothing is corrected with these prompts.
        """
        by_rule = load_prompts(self.prompts).way == "rule"
        if self.policy == CORRECTED and not by_rule:
            raise UserError(
                f"Score.policy='{CORRECTED}' needs prompts whose verification looks both ways:"
                " `Score.prompts='prompts/rule'`"
            )
        return self.policy or (CORRECTED if by_rule else ONE_SIDED[0])

    @property
    def sets(self) -> int:
        """Criteria sets that can be gathered: never more than there are proposals or rounds."""
        return max(1, min(self.criteria_sets, self.criteria_rounds, self.rounds))

    @property
    def proposals_per_set(self) -> int:
        """Proposals of step 1 that one criteria set is gathered from."""
        return max(1, self.criteria_rounds // self.sets)
