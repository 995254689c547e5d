"""What a scoring run would take, for --dry_run: calls, tokens and money of each step."""

from collections.abc import Sequence

from synthdiv.config import find
from synthdiv.diversity.agent import Agent, Round
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import (
    gather_request,
    proposal_request,
    read_criteria,
    summary_request,
)
from synthdiv.diversity.documents import read_documents
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.schemas import Attribute, CriteriaProposal, Criterion, Metric
from synthdiv.diversity.scoring import make_draws
from synthdiv.files import Corpus
from synthdiv.llm import Session

TYPICAL_CRITERIA = "configs/score/criteria.json"  # of the length that a judge's own have
_EXAMPLES = 20


def plan_score(inputs: Sequence[Corpus], config: ScoreConfig, session: Session) -> object:
    """Estimates calls, tokens and cost without sending anything.

    The first rounds are made as they would be asked; what depends on the judge's replies is made
    of typical criteria. Verification is counted for every round; rounds of singletons skip it.

    Args:
        inputs: the corpora.
        config: the parameters.
        session: who would answer.

    Returns:
        a plan; printed, it is a table.
    """
    from synthdiv.llm import Stage

    prompts = load_prompts(config.prompts)
    criteria = read_criteria(config.criteria or find(TYPICAL_CRITERIA))
    examples: dict[str, list] = {"criteria": [], "clustering": [], "verification": []}
    each = max(_EXAMPLES // len(inputs), 1)
    for corpus in inputs:
        drawn = make_draws(corpus, config)[0]
        rounds = [Round(n, 0, tuple(drawn.round(n).tolist())) for n in range(each)]
        handfuls = [drawn.criteria(n, config.criteria_documents) for n in range(each)]
        wanted = [i for r in rounds for i in r.indices] + [int(i) for h in handfuls for i in h]
        documents = read_documents(corpus, wanted, config.document_words)
        agent = Agent(session, documents, [criteria], prompts, config)
        for number, handful in enumerate(handfuls):
            shown = [documents[int(i)] for i in handful]
            examples["criteria"].append(proposal_request(shown, number, prompts, config))
        for round_ in rounds:
            examples["clustering"].append(agent.cluster_request(round_))
            _typical_clusters(round_)
            examples["verification"].append(agent.verify_request(round_))
    calls = config.rounds * config.repeats * len(inputs)
    stages: dict[str, Stage] = {}
    if not config.criteria:
        stages |= _criteria_stages(criteria, examples["criteria"], len(inputs), config)
    stages["clustering"] = Stage(examples["clustering"][:calls], calls)
    if config.verify:
        stages["verification"] = Stage(examples["verification"][:calls], calls)
    return session.plan(stages)


def _typical_clusters(round_: Round) -> None:
    """Two documents a cluster, described at the length that judges describe them."""
    size = len(round_.indices)
    round_.clusters = [list(range(p, min(p + 2, size))) for p in range(0, size, 2)]
    round_.names = ["a name of four words"] * len(round_.clusters)
    round_.reasons = ["its documents treat one subject for one kind of reader"] * len(
        round_.clusters
    )


def _criteria_stages(
    criteria: Sequence[Criterion], proposals: list, corpora: int, config: ScoreConfig
) -> dict[str, object]:
    from synthdiv.llm import Stage

    prompts = load_prompts(config.prompts)
    metadata = [
        Attribute(name=c.name, definition=c.sentence, values=["one", "another", "a third"])
        for c in criteria
        if c.kind == "metadata"
    ]
    metrics = [
        Metric(name=c.name, definition=c.sentence, rubric=[c.sentence] * 5)
        for c in criteria
        if c.kind == "metric"
    ]
    pool = [CriteriaProposal(metadata=metadata, metrics=metrics)] * config.proposals_per_set
    sets = config.sets * config.repeats * corpora
    calls = sets * config.proposals_per_set
    found = {"criteria": Stage(proposals[:calls], calls)}
    for kind in ("metadata", "metrics"):
        request = gather_request(pool, kind, prompts, config)
        if request is not None:
            found[f"gather_{kind}"] = Stage([request], sets)
    found["summary"] = Stage([summary_request(metadata, metrics, prompts, config)], sets)
    return found
