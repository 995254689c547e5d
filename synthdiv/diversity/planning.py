"""What a scoring run would take, for --dry_run: calls, tokens and money of each step."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from synthdiv.diversity import typical
from synthdiv.diversity.agent import Agent, DrawnRound
from synthdiv.diversity.codebook import Codebook, read_codebook
from synthdiv.diversity.coding import Handful, assign_request, note_request
from synthdiv.diversity.coding import gather_request as gather_values_request
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import (
    Basis,
    Criteria,
    CriteriaSet,
    Kind,
    criteria_of,
    gather_request,
    given_basis,
    proposal_request,
    read_criteria,
    summary_request,
)
from synthdiv.diversity.documents import read_documents
from synthdiv.diversity.inquiry import make_draws
from synthdiv.diversity.prompts import Prompts, load_prompts
from synthdiv.diversity.ruling import Rule
from synthdiv.diversity.schemas import Attribute, CriteriaProposal, Metric
from synthdiv.files import Corpus
from synthdiv.llm import Plan, Request, Session, Stage

TYPICAL_CRITERIA = "configs/score/criteria.json"  # of the length that a judge's own have
TYPICAL_CODEBOOK = "configs/score/criteria/pretraining-1.json"
_EXAMPLES = 20


def plan_score(
    inputs: Sequence[Corpus], config: ScoreConfig, session: Session, gathered: bool = False
) -> Plan:
    """Estimates calls, tokens and cost without sending anything.

    The first rounds are made as they would be asked; what depends on the judge's replies is made
    of typical criteria. Verification is counted for every round; rounds of singletons skip it.

    Args:
        inputs: the corpora.
        config: the parameters.
        session: who would answer.
        gathered: whether the criteria or codebooks are there already, from another run.

    Returns:
        the plan; printed, it is a table.

    Raises:
        UserError: as `given_basis`, or a corpus is smaller than a round.
    """
    prompts = load_prompts(config.prompts)
    given = given_basis(config)
    if prompts.facets:
        return _plan_by_codebook(inputs, config, session, prompts, given, gathered)
    criteria = criteria_of(given[0]) if given else read_criteria(TYPICAL_CRITERIA)
    examples: dict[str, list[Request[Any]]] = {"criteria": [], "clustering": [], "verification": []}
    each = max(_EXAMPLES // len(inputs), 1)
    for corpus in inputs:
        drawn = make_draws(corpus, config)[0]
        rounds = [
            DrawnRound(n, CriteriaSet(0, criteria), tuple(drawn.round(n).tolist()))
            for n in range(each)
        ]
        handfuls = [drawn.criteria(n, config.criteria_documents).tolist() for n in range(each)]
        wanted = [i for r in rounds for i in r.documents] + [i for h in handfuls for i in h]
        documents = read_documents(corpus, wanted, config.document_words)
        agent = Agent(session, documents, prompts, config)
        for number, handful in enumerate(handfuls):
            shown = [documents[i] for i in handful]
            examples["criteria"].append(proposal_request(shown, number, prompts, config))
        for round_ in rounds:
            clusters = typical.clusters(len(round_.documents))
            reply = typical.clustering(clusters, criteria, config.explain)
            request = agent.clustering_request(round_)
            examples["clustering"].append(typical.expecting(request, reply))
            verdicts = typical.verification(len(clusters), config.explain)
            verifying = agent.verification_request(round_, clusters)
            examples["verification"].append(typical.expecting(verifying, verdicts))
    calls = config.rounds * config.repeats * len(inputs)
    stages: dict[str, Stage] = {}
    if not (given or gathered):
        stages |= _criteria_stages(criteria, examples["criteria"], len(inputs), config)
    asked = calls + _again(config, len(inputs))
    stages["clustering"] = Stage(examples["clustering"][:asked], asked)
    if config.verify:
        stages["verification"] = Stage(examples["verification"][:calls], calls)
    return session.plan(stages)


def _plan_by_codebook(
    inputs: Sequence[Corpus],
    config: ScoreConfig,
    session: Session,
    prompts: Prompts,
    given: Sequence[Basis],
    gathered: bool,
) -> Plan:
    """The plan where a codebook is used; one more gathering of each codebook is not in it."""
    codebook = given[0] if given else read_codebook(TYPICAL_CODEBOOK)
    assert isinstance(codebook, Codebook)  # prompts with facets take no other basis
    coding = prompts.coding
    notes, coverage = [], []
    rounds: dict[str, list[Request[Any]]] = {}
    each = max(_EXAMPLES // len(inputs), 1)
    for corpus in inputs:
        drawn = make_draws(corpus, config)[0]
        shown = [tuple(drawn.round(n).tolist()) for n in range(each)]
        handfuls = [drawn.criteria(n, config.criteria_documents).tolist() for n in range(each)]
        wanted = [i for indices in (*shown, *handfuls) for i in indices]
        documents = read_documents(corpus, wanted, config.document_words)
        for number, handful in enumerate(handfuls):
            noted = Handful(number, [documents[i] for i in handful])
            notes.append(note_request(noted, coding, config))
        agent = Agent(session, documents, prompts, config, prompts.stage)
        for number, indices in enumerate(shown):
            round_ = [documents[i] for i in indices]
            request = assign_request(round_, codebook, coding, config, "coverage")
            coverage.append(typical.expecting(request, typical.codes(len(round_), codebook)))
            drawn_round = DrawnRound(number, CriteriaSet(0, codebook), indices)
            for request in _round_by_codebook(agent, drawn_round, codebook):
                rounds.setdefault(request.stage, []).append(request)
    calls = config.rounds * config.repeats * len(inputs)
    stages: dict[str, Stage] = {}
    if not (given or gathered):
        sets = config.sets * config.repeats * len(inputs)
        count = sets * config.proposals_per_set
        stages["notes"] = Stage(notes[:count], count)
        likely = typical.notes(config.proposals_per_set, config.criteria_documents, codebook)
        gathering = [
            gather_values_request(likely, facet, coding, config)
            for facet in range(len(coding.facets))
        ]
        stages["gathering"] = Stage(gathering, sets * len(coding.facets))
        parts = math.ceil(config.coverage_documents / config.documents_per_round)
        stages["coverage"] = Stage(coverage[: sets * parts], sets * parts)
    for stage, requests in rounds.items():
        asked = calls + (_again(config, len(inputs)) if stage == prompts.stage else 0)
        stages[stage] = Stage(requests[:asked], asked)
    return session.plan(stages)


def _again(config: ScoreConfig, corpora: int) -> int:
    """Rounds asked once more in another order, which are not verified."""
    return round(config.rounds * config.repeat_fraction) * corpora


def _round_by_codebook(
    agent: Agent, drawn: DrawnRound, codebook: Codebook
) -> Iterator[Request[Any]]:
    """What one round under a codebook asks."""
    if agent.prompts.way == "values":
        codes = typical.codes(len(drawn.documents), codebook)
        yield typical.expecting(agent.codes_request(drawn, codebook), codes)
        return
    rule, explain = Rule(codebook, agent.config.level), agent.config.explain
    clusters = typical.clusters(len(drawn.documents))
    sorting = agent.sorting_request(drawn, rule)
    yield typical.expecting(sorting, typical.sorting(clusters, explain))
    if agent.config.verify:
        review = agent.review_request(drawn, clusters, [c.name for c in clusters], rule)
        yield typical.expecting(review, typical.review(len(clusters), explain))


def _criteria_stages(
    criteria: Criteria, proposals: list[Request[Any]], corpora: int, config: ScoreConfig
) -> dict[str, Stage]:
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
    kinds: tuple[Kind, ...] = ("metadata", "metrics")
    for kind in kinds:
        request = gather_request(pool, kind, prompts, config)
        if request is not None:
            found[f"gather_{kind}"] = Stage([request], sets)
    found["summary"] = Stage([summary_request(metadata, metrics, prompts, config)], sets)
    return found
