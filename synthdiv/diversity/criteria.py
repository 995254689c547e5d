"""Steps 1 to 3 of the cluster agent: from a few documents at a time to criteria for all.

The M proposals of step 1 are dealt over B criteria sets without overlap, and each set is gathered
and summed up from its own share. The sets are then independent draws of "criteria that this
procedure comes up with", which is what lets the spread between them into the interval of the score.
(Sets gathered from resamples of one common pool would agree with one another more than with those
of a new run, and the interval would be too narrow.)
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synthdiv.diversity.codebook import Codebook, judged_by, read_codebook
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.documents import Shown, fenced_documents
from synthdiv.diversity.prompts import Prompts, load_prompts
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
from synthdiv.llm import Request, Sampling, Session, fence, together

_MOST_DEFINITIONS = 30  # of one name shown to step 2: more say nothing new and cost a context
_MOST_NAMES = 150
_NUMBERED = re.compile(r"^\s*(?:score\s+)?[1-5]\s*[:.)=-]\s*", re.IGNORECASE)  # as rubrics begin

Criteria = tuple[Criterion, ...]
Basis = Criteria | Codebook
Kind = Literal["metadata", "metrics"]
Entry = Attribute | Metric


@dataclass(frozen=True)
class CriteriaSet:
    """What heads the rounds of one group.

    Attributes:
        number: of the group; rounds with the same number are one unit of the interval.
        basis: criteria to sort documents by, or a codebook to describe them by.
    """

    number: int
    basis: Basis

    @property
    def codebook(self) -> Codebook | None:
        """The codebook, where documents are described by one."""
        return self.basis if isinstance(self.basis, Codebook) else None

    @property
    def criteria(self) -> Criteria:
        """The criteria; of a codebook, its facets at each level."""
        return criteria_of(self.basis)

    @functools.cached_property
    def text(self) -> str:
        """The criteria or the codebook as they head a round's prompt."""
        return self.basis.text if isinstance(self.basis, Codebook) else criteria_text(self.basis)


def criteria_of(basis: Basis) -> Criteria:
    """The criteria of a set; of a codebook, its facets at each level."""
    return basis.criteria if isinstance(basis, Codebook) else basis


def sampling(config: ScoreConfig) -> Sampling:
    """How the judge's replies are drawn."""
    return Sampling(temperature=config.temperature, max_tokens=config.max_tokens)


async def gather_criteria(
    session: Session,
    handfuls: Sequence[Sequence[Shown]],
    first: int,
    prompts: Prompts,
    config: ScoreConfig,
) -> Criteria:
    """Runs steps 1 to 3 for one criteria set.

    Args:
        session: who answers.
        handfuls: the documents of each proposal.
        first: number of the first handful among those of all sets.
        prompts: the templates.
        config: how many criteria, how replies are drawn.

    Raises:
        UserError: the judge proposed nothing of use.
    """
    proposals = await together(
        *(
            session.ask(proposal_request(documents, number, prompts, config))
            for number, documents in enumerate(handfuls, first)
        )
    )
    pool = [reply.value for reply in proposals if reply.value is not None]
    if not pool:
        failure = next((reply.failure for reply in proposals if reply.failure), "no reply")
        raise UserError(f"no usable proposal for criteria set {first // len(handfuls)}: {failure}")
    metadata, metrics = await together(
        _gathered(session, pool, "metadata", prompts, config),
        _gathered(session, pool, "metrics", prompts, config),
    )
    reply = await session.ask(summary_request(metadata, metrics, prompts, config))
    if reply.value is not None and reply.value.criteria:
        return _one_name_each(reply.value.criteria)
    # The definitions themselves are criteria too, only longer ones.
    return tuple(
        Criterion(
            name=entry.name,
            kind="metadata" if isinstance(entry, Attribute) else "metric",
            sentence=_defined(entry),
        )
        for entry in (*metadata, *metrics)
    )


def proposal_request(
    documents: Sequence[Shown], number: int, prompts: Prompts, config: ScoreConfig
) -> Request[CriteriaProposal]:
    """Step 1 for one handful of documents."""

    def check(proposal: CriteriaProposal) -> str | None:
        if proposal.metadata or proposal.metrics:
            return None
        return "the proposal names neither metadata nor metrics"

    messages = prompts.messages(
        "criteria",
        documents=fenced_documents(documents),
        count=len(documents),
        low=config.criteria_low,
        high=config.criteria_high,
    )
    # Small corpora give the same handful twice: `number` makes it a question of its own.
    how = sampling(config)
    return Request(messages, CriteriaProposal, how, "criteria", repeat=number, check=check)


def gather_request(
    pool: Sequence[CriteriaProposal], kind: Kind, prompts: Prompts, config: ScoreConfig
) -> Request[Any] | None:
    """Step 2 for one pool and one kind; None if nobody proposed any."""
    named: dict[str, list[tuple[str, str]]] = {}
    for entry in _entries(pool, kind):
        key = _plain(entry.name)
        if key:
            named.setdefault(key, []).append((entry.name.strip(), _defined(entry)))
    if not named:
        return None
    ranked = sorted(named.values(), key=lambda definitions: -len(definitions))[:_MOST_NAMES]
    blocks = [
        "\n".join(
            [
                definitions[0][0],
                "proposed once" if len(definitions) == 1 else f"proposed {len(definitions)} times",
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
    if kind == "metadata":
        return Request(messages, GatheredMetadata, sampling(config), "gather_metadata")
    return Request(messages, GatheredMetrics, sampling(config), "gather_metrics")


async def _gathered(
    session: Session,
    pool: Sequence[CriteriaProposal],
    kind: Kind,
    prompts: Prompts,
    config: ScoreConfig,
) -> list[Entry]:
    """Step 2 of one kind; without a usable reply, the names proposed most often."""
    request = gather_request(pool, kind, prompts, config)
    value = None if request is None else (await session.ask(request)).value
    if value is not None:
        gathered: Sequence[Entry] = getattr(value, kind)
        if gathered:
            return list(gathered[: config.criteria_high])
    named: dict[str, list[Entry]] = {}
    for entry in _entries(pool, kind):
        named.setdefault(_plain(entry.name), []).append(entry)
    ranked = sorted(named.values(), key=lambda entries: -len(entries))
    return [entries[0] for entries in ranked[: config.criteria_high]]


def _entries(pool: Sequence[CriteriaProposal], kind: Kind) -> list[Entry]:
    return [entry for proposal in pool for entry in getattr(proposal, kind)]


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _defined(entry: Entry) -> str:
    """One definition on one line, as step 2 shows it."""
    if isinstance(entry, Attribute):
        more = f" Values: {'; '.join(entry.values)}." if entry.values else ""
    else:
        lines = [_NUMBERED.sub("", line) for line in entry.rubric]
        levels = "; ".join(f"{i}: {line}" for i, line in enumerate(lines, 1))
        more = f" Scores: {levels}." if levels else ""
    return " ".join(f"{entry.definition}{more}".split())


def summary_request(
    metadata: Sequence[Entry], metrics: Sequence[Entry], prompts: Prompts, config: ScoreConfig
) -> Request[CriteriaSummary]:
    """Step 3 for one set."""

    def check(summary: CriteriaSummary) -> str | None:
        return None if summary.criteria else "the list of criteria is empty"

    messages = prompts.messages(
        "summary",
        metadata=fence("attribute", [f"{a.name}\n{_defined(a)}" for a in metadata]),
        metrics=fence("metric", [f"{m.name}\n{_defined(m)}" for m in metrics]),
        count=len(metadata) + len(metrics),
    )
    return Request(messages, CriteriaSummary, sampling(config), "summary", check=check)


def _one_name_each(criteria: Sequence[Criterion]) -> Criteria:
    unique: dict[str, Criterion] = {}
    for criterion in criteria:
        unique.setdefault(criterion.name.casefold().strip(), criterion)
    return tuple(unique.values())


def read_criteria(path: str | Path) -> Criteria:
    """Reads criteria from a file: a list of {name, kind, sentence}, or what has `criteria`.

    Raises:
        UserError: there is no such file, or it holds no such list.
    """
    from pydantic import ValidationError

    content = judged_by(path, valued=False)
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
    for number, criterion in enumerate(criteria, 1):
        if not criterion.name.strip() or not criterion.sentence.strip():
            raise UserError(f"{path}: criterion {number} has no name or no sentence")
    kept = _one_name_each(criteria)
    if len(kept) < len(criteria):
        raise UserError(f"{path}: {len(criteria) - len(kept)} criteria have the name of another")
    return kept


def read_basis(path: str | Path, prompts: Prompts) -> Basis:
    """Reads what rounds are judged by: criteria for clusters, a codebook for values.

    Raises:
        UserError: there is no such file, or it is for the other way of asking.
    """
    content = judged_by(path, valued=bool(prompts.facets))
    described = isinstance(content, Mapping) and (
        content.get("codebooks") or ("facets" in content and "criteria" not in content)
    )
    if prompts.facets and not described:
        raise UserError(f"{path} holds no codebook, which the prompts in {prompts.directory} need")
    if described and not prompts.facets:
        raise UserError(
            f"{path} is a codebook, and the prompts in {prompts.directory} sort into clusters:"
            " `Score.prompts='prompts/levels'`"
        )
    return read_codebook(path) if described else read_criteria(path)


def given_basis(config: ScoreConfig) -> list[Basis]:
    """What a configuration gives to judge by; none where it is to be gathered.

    Raises:
        UserError: as `read_basis`; or the headline's level is none of the codebook's, or of the
            facets that one is to be gathered for.
    """
    prompts = load_prompts(config.prompts)
    given = [read_basis(config.criteria, prompts)] if config.criteria else []
    if prompts.facets:
        codebook = given[0] if given else None
        book = codebook if isinstance(codebook, Codebook) else Codebook(prompts.facets)
        book.find(config.level)
    return given


def criteria_text(criteria: Criteria) -> str:
    """The criteria as they head the clustering prompt: fenced, since documents shaped them."""
    return fence("criterion", [f"{c.name} ({c.kind}): {c.sentence}" for c in criteria])


def criteria_json(criteria: Criteria) -> list[dict[str, str]]:
    """The criteria as score.json has them."""
    return [criterion.model_dump(mode="json") for criterion in criteria]


def sets_json(sets: Sequence[Basis]) -> dict[str, Any]:
    """What rounds were judged by, as score.json has it: the first set, all sets, the codebooks."""
    codebooks = [one.as_json() for one in sets if isinstance(one, Codebook)]
    return {
        "criteria": criteria_json(criteria_of(sets[0])),
        "criteria_sets": [criteria_json(criteria_of(one)) for one in sets],
        **({"codebooks": codebooks} if codebooks else {}),
    }
