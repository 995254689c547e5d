"""Steps 1 to 3 of the cluster agent: from a few documents at a time to criteria for all.

The M proposals of step 1 are dealt over B criteria sets without overlap, and each set is gathered
and summed up from its own share. The sets are then independent draws of "criteria that this
procedure comes up with", which is what lets the spread between them into the interval of the score.
(Sets gathered from resamples of one common pool would agree with one another more than with those
of a new run, and the interval would be too narrow.)
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from synthdiv.config import find
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.documents import Shown
from synthdiv.diversity.prompts import Prompts
from synthdiv.diversity.schemas import (
    Attribute,
    CriteriaProposal,
    CriteriaSummary,
    Criterion,
    GatheredMetadata,
    GatheredMetrics,
    Metric,
)
from synthdiv.errors import UserError
from synthdiv.files import read_json
from synthdiv.llm import Request, Sampling, Session, fence

_MOST_DEFINITIONS = 30  # of one name shown to step 2: more say nothing new and cost a context
_MOST_NAMES = 150

CriteriaSet = tuple[Criterion, ...]


def sampling(config: ScoreConfig) -> Sampling:
    """How the judge's replies are drawn."""
    return Sampling(temperature=config.temperature, max_tokens=config.max_tokens)


def proposal_request(
    documents: Sequence[Shown], number: int, prompts: Prompts, config: ScoreConfig
) -> Request:
    """Step 1 for one handful of documents."""
    messages = prompts.messages(
        "criteria",
        documents=fence("document", [d.text for d in documents]),
        count=len(documents),
        low=config.criteria_low,
        high=config.criteria_high,
    )
    # Small corpora give the same handful twice: `number` makes it a question of its own.
    return Request(messages, CriteriaProposal, sampling(config), "criteria", repeat=number)


def gather_criteria(
    session: Session,
    handfuls: Sequence[Sequence[Shown]],
    sets: int,
    prompts: Prompts,
    config: ScoreConfig,
    first: int = 0,
) -> list[CriteriaSet]:
    """Runs steps 1 to 3.

    Args:
        session: who answers.
        handfuls: the documents of each proposal; the first share of them makes the first set.
        sets: how many sets to gather; divides the number of handfuls.
        prompts: the templates.
        config: how many criteria, how replies are drawn.
        first: number of the first handful, where earlier ones were gathered before.

    Raises:
        UserError: the judge gave no usable criteria for a set.
    """
    requests = [
        proposal_request(documents, first + i, prompts, config)
        for i, documents in enumerate(handfuls)
    ]
    replies = session.ask_all(requests, label="criteria", check=check_proposal)
    share = len(handfuls) // sets
    pools = [
        [r.value for r in replies[s * share : (s + 1) * share] if r.value is not None]
        for s in range(sets)
    ]
    for number, pool in enumerate(pools):
        if not pool:
            failure = next((r.failure for r in replies if r.failure), "no reply")
            raise UserError(f"no usable proposal for criteria set {number}: {failure}")
    metadata, metrics = _gather(session, pools, prompts, config)
    return _summarise(session, metadata, metrics, prompts, config)


def check_proposal(request: Request, value: CriteriaProposal) -> str | None:
    """A proposal without metadata and without metrics is none."""
    if not value.metadata and not value.metrics:
        return "the proposal names neither metadata nor metrics"
    return None


def gather_request(
    pool: Sequence[CriteriaProposal], kind: str, prompts: Prompts, config: ScoreConfig
) -> Request | None:
    """Step 2 for one pool and one kind ("metadata" or "metrics"); None if nobody proposed any."""
    named: dict[str, list[tuple[str, str]]] = {}
    for proposal in pool:
        for entry in getattr(proposal, kind):
            key = " ".join(entry.name.casefold().split())
            if key:
                named.setdefault(key, []).append((entry.name.strip(), _defined(entry)))
    if not named:
        return None
    ranked = sorted(named.values(), key=lambda definitions: -len(definitions))[:_MOST_NAMES]
    blocks = [
        "\n".join(
            [
                definitions[0][0],
                f"proposed {len(definitions)} times",
                *dict.fromkeys(text for _, text in definitions[:_MOST_DEFINITIONS]),
            ]
        )
        for definitions in ranked
    ]
    messages = prompts.messages(
        f"gather_{kind}",
        proposals=fence("proposal", blocks),
        low=config.criteria_low,
        high=config.criteria_high,
    )
    schema = GatheredMetadata if kind == "metadata" else GatheredMetrics
    return Request(messages, schema, sampling(config), f"gather_{kind}")


def _defined(entry: Attribute | Metric) -> str:
    """One definition on one line, as step 2 shows it."""
    if isinstance(entry, Attribute):
        more = f" Values: {'; '.join(entry.values)}." if entry.values else ""
    else:
        levels = "; ".join(f"{i}: {line}" for i, line in enumerate(entry.rubric, 1))
        more = f" Scores: {levels}." if levels else ""
    return " ".join(f"{entry.definition}{more}".split())


def _gather(
    session: Session,
    pools: Sequence[Sequence[CriteriaProposal]],
    prompts: Prompts,
    config: ScoreConfig,
) -> tuple[list[list[Attribute]], list[list[Metric]]]:
    """Step 2 for all pools: metadata and metrics of each."""
    wanted = [(kind, pool) for kind in ("metadata", "metrics") for pool in pools]
    requests = [gather_request(pool, kind, prompts, config) for kind, pool in wanted]
    asked = [r for r in requests if r is not None]
    replies = iter(session.ask_all(asked, label="gathering criteria"))
    gathered = []
    for (kind, pool), request in zip(wanted, requests, strict=True):
        reply = next(replies) if request is not None else None
        if reply is not None and reply.value is not None and getattr(reply.value, kind):
            gathered.append(getattr(reply.value, kind)[: config.criteria_high])
        else:
            gathered.append(_most_frequent(pool, kind, config.criteria_high))
    return gathered[: len(pools)], gathered[len(pools) :]


def _most_frequent(pool: Sequence[CriteriaProposal], kind: str, most: int) -> list:
    """What step 2 falls back on when the judge's reply is of no use: the most proposed names."""
    named: dict[str, list] = {}
    for proposal in pool:
        for entry in getattr(proposal, kind):
            named.setdefault(" ".join(entry.name.casefold().split()), []).append(entry)
    ranked = sorted(named.values(), key=lambda entries: -len(entries))
    return [entries[0] for entries in ranked[:most]]


def summary_request(
    metadata: Sequence[Attribute], metrics: Sequence[Metric], prompts: Prompts, config: ScoreConfig
) -> Request:
    """Step 3 for one set."""
    messages = prompts.messages(
        "summary",
        metadata=fence("attribute", [f"{a.name}\n{_defined(a)}" for a in metadata]),
        metrics=fence("metric", [f"{m.name}\n{_defined(m)}" for m in metrics]),
        count=len(metadata) + len(metrics),
    )
    return Request(messages, CriteriaSummary, sampling(config), "summary")


def _summarise(
    session: Session,
    metadata: Sequence[Sequence[Attribute]],
    metrics: Sequence[Sequence[Metric]],
    prompts: Prompts,
    config: ScoreConfig,
) -> list[CriteriaSet]:
    requests = [
        summary_request(a, m, prompts, config) for a, m in zip(metadata, metrics, strict=True)
    ]
    replies = session.ask_all(requests, label="criteria in a sentence each", check=check_summary)
    sets = []
    for reply, attributes, scores in zip(replies, metadata, metrics, strict=True):
        if reply.value is not None and reply.value.criteria:
            sets.append(_one_name_each(reply.value.criteria))
            continue
        # The definitions themselves are criteria too, only longer ones.
        sets.append(
            tuple(
                Criterion(name=e.name, kind=kind, sentence=_defined(e))
                for kind, entries in (("metadata", attributes), ("metric", scores))
                for e in entries
            )
        )
    return sets


def check_summary(request: Request, value: CriteriaSummary) -> str | None:
    """A summary without a criterion is none."""
    return None if value.criteria else "the list of criteria is empty"


def _one_name_each(criteria: Sequence[Criterion]) -> CriteriaSet:
    unique: dict[str, Criterion] = {}
    for criterion in criteria:
        unique.setdefault(criterion.name.casefold().strip(), criterion)
    return tuple(unique.values())


def read_criteria(path: str | Path) -> CriteriaSet:
    """Reads criteria from a file: a list of {name, kind, sentence}, or a score.json that has one.

    Raises:
        UserError: there is no such file, or it holds no such list.
    """
    from pydantic import ValidationError

    content = read_json(find(path))
    if isinstance(content, Mapping):
        content = content.get("criteria")
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} holds no list of criteria")
    try:
        criteria = [
            Criterion.model_validate({k: c.get(k) for k in ("name", "kind", "sentence")})
            for c in content
        ]
    except (ValidationError, AttributeError):
        raise UserError(
            f'{path}: a criterion has a "name", a "kind" ("metadata" or "metric") and a "sentence"'
        ) from None
    return _one_name_each(criteria)


def criteria_text(criteria: CriteriaSet) -> str:
    """The criteria as they head the clustering prompt; fenced: documents had a say in them."""
    return fence("criterion", [f"{c.name} ({c.kind}): {c.sentence}" for c in criteria])


def criteria_json(criteria: CriteriaSet) -> list[dict[str, str]]:
    """The criteria as score.json has them."""
    return [json.loads(c.model_dump_json()) for c in criteria]
