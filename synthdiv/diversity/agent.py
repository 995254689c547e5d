"""Steps 4 and 5 of the cluster agent: rounds of a few documents, sorted and then checked.

A reply that is no partition of the round's documents is asked for once more with the fault named
(the session does that) and then repaired by the rule of `repair_partition`; repairs are counted.
Clusters of one document need no verdict, so a round of singletons is not sent to step 5.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from synthdiv.diversity.arithmetic import (
    Partition,
    counted_sizes,
    fault_of_partition,
    repair_partition,
    round_score,
)
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import CriteriaSet, criteria_text, sampling
from synthdiv.diversity.documents import Shown
from synthdiv.diversity.prompts import Prompts
from synthdiv.diversity.schemas import Clustering, Verification
from synthdiv.llm import Request, Session, fence, unfence

_SINGLE = "a cluster of one document"
_NOT_PLACED = "the judge placed it nowhere"


@dataclasses.dataclass
class Round:
    """One clustering round.

    Attributes:
        number: of the round; its documents follow from it and the seed.
        criteria_set: which criteria headed its prompt.
        indices: documents of the corpus, in the order shown, `[K]`.
        clusters: positions 0..K-1 of each cluster: a partition, whatever the judge replied.
        names, reasons: what the judge said of each cluster.
        metadata, metrics: its values and 1-5 scores of each cluster, by criterion name.
        verdicts, verdict_reasons: step 5.
        repaired: 1 if the partition or the verdicts had to be repaired.
        failed: the judge gave no usable clustering; the round is in no figure.
        answered: all that was to be asked about it has been answered, failures included.
    """

    number: int
    criteria_set: int
    indices: tuple[int, ...]
    clusters: Partition = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)
    metadata: list[dict[str, str]] = dataclasses.field(default_factory=list)
    metrics: list[dict[str, int]] = dataclasses.field(default_factory=list)
    verdicts: list[bool] = dataclasses.field(default_factory=list)
    verdict_reasons: list[str] = dataclasses.field(default_factory=list)
    repaired: int = 0
    failed: bool = False
    failure: str = ""
    answered: bool = False

    def sizes(self, policy: str) -> list[int]:
        """Sizes of the clusters that count under `policy`."""
        sizes = [len(cluster) for cluster in self.clusters]
        return counted_sizes(sizes, self.verdicts, policy)

    def score(self, policy: str) -> float:
        """The paper's C / S; NaN for a failed round or one without a cluster that counts."""
        return float("nan") if self.failed else round_score(self.sizes(policy))


class Agent:
    """Asks the rounds.

    Args:
        session: who answers.
        documents: those of all rounds, by index.
        sets: the criteria sets; a round's number among them is taken modulo their number.
        prompts: the templates.
        config: verification, policy, how replies are drawn.
    """

    def __init__(
        self,
        session: Session,
        documents: Mapping[int, Shown],
        sets: Sequence[CriteriaSet],
        prompts: Prompts,
        config: ScoreConfig,
    ) -> None:
        self._session = session
        self._documents = documents
        self._prompts = prompts
        self._config = config
        self._criteria = [criteria_text(criteria) for criteria in sets]

    def cluster_request(self, round_: Round) -> Request:
        """Step 4 of one round."""
        messages = self._prompts.messages(
            "cluster",
            criteria=self._criteria[round_.criteria_set % len(self._criteria)],
            documents=self._fenced(round_),
            count=len(round_.indices),
        )
        return Request(messages, Clustering, sampling(self._config), "clustering")

    def verify_request(self, round_: Round) -> Request:
        """Step 5 of one round."""
        clusters = [
            f"{_line(name)}\nDocuments: {', '.join(str(p + 1) for p in cluster)}\n"
            f"Reason: {_line(reason)}"
            for name, cluster, reason in zip(
                round_.names, round_.clusters, round_.reasons, strict=True
            )
        ]
        messages = self._prompts.messages(
            "verify",
            criteria=self._criteria[round_.criteria_set % len(self._criteria)],
            documents=self._fenced(round_),
            clusters=fence("cluster", clusters),
            clusters_count=len(clusters),
        )
        return Request(messages, Verification, sampling(self._config), "verification")

    def _fenced(self, round_: Round) -> str:
        return fence("document", [self._documents[i].text for i in round_.indices])

    def run(self, rounds: Sequence[Round], label: str = "clustering") -> None:
        """Asks steps 4 and 5 of all of `rounds` and fills them in.

        Raises:
            Paused: the session stopped; what was answered is stored, and asked no more.
        """
        if self._session.capped:
            self._round_by_round(rounds, label.replace("clustering", "rounds"))
            return
        self._each(rounds, self.cluster_request, check_clustering, _fill, label)
        doubtful = [r for r in rounds if self._verdicts_wanted(r)]
        label = label.replace("clustering", "verification")
        self._each(doubtful, self.verify_request, check_verification, _judge, label)

    def _verdicts_wanted(self, round_: Round) -> bool:
        """Ends step 4 of a round: whether step 5 is to be asked, or the round is answered."""
        wanted = self._config.verify and any(len(cluster) > 1 for cluster in round_.clusters)
        round_.answered = not wanted
        return wanted

    def _each(
        self,
        rounds: Sequence[Round],
        ask: Callable[[Round], Request],
        check: Callable,
        fill: Callable,
        label: str,
    ) -> None:
        requests: Iterator[Request] = (ask(round_) for round_ in rounds)
        for index, reply in self._session.iter(requests, label, check, len(rounds)):
            fill(rounds[index], reply.value, reply.failure)

    def _round_by_round(self, rounds: Sequence[Round], label: str) -> None:
        """Both steps of one round after the other, so that a cap leaves whole rounds behind it.

        No more than a tenth of the rounds are between their two steps at any time.
        """
        most = max(8, len(rounds) // 10)
        asked: list[Round] = []
        doubtful: deque[Round] = deque()
        under_way = 0

        def requests() -> Iterator[Request | None]:
            nonlocal under_way
            waiting = deque(rounds)
            while waiting or doubtful or under_way:
                if doubtful:
                    asked.append(doubtful.popleft())
                    yield self.verify_request(asked[-1])
                elif waiting and under_way < most:
                    under_way += 1
                    asked.append(waiting.popleft())
                    yield self.cluster_request(asked[-1])
                else:
                    yield None

        steps = 2 if self._config.verify else 1
        for index, reply in self._session.iter(requests(), label, _check, steps * len(rounds)):
            round_ = asked[index]
            if not round_.clusters and not round_.failed:
                _fill(round_, reply.value, reply.failure)
                if self._verdicts_wanted(round_):
                    doubtful.append(round_)
            else:
                _judge(round_, reply.value, reply.failure)
            under_way -= round_.answered


def _line(text: str) -> str:
    return " ".join(text.split())


def _check(request: Request, value: Clustering | Verification) -> str | None:
    check = check_clustering if isinstance(value, Clustering) else check_verification
    return check(request, value)


def check_clustering(request: Request, value: Clustering) -> str | None:
    """Says in words why a clustering is no partition of the documents that the prompt shows."""
    size = len(unfence("document", request.messages[-1]["content"]))
    return fault_of_partition([c.documents for c in value.clusters], size)


def check_verification(request: Request, value: Verification) -> str | None:
    """Says in words which clusters that the prompt shows have no verdict."""
    clusters = len(unfence("cluster", request.messages[-1]["content"]))
    missing = sorted(set(range(1, clusters + 1)) - {v.cluster for v in value.verdicts})
    if not missing:
        return None
    return f"there is no verdict on cluster {', '.join(map(str, missing))} (of 1 to {clusters})"


def _fill(round_: Round, value: Clustering | None, failure: str | None) -> None:
    if value is None or not value.clusters:
        round_.failed, round_.failure = True, failure or "the judge named no cluster"
        return
    given = value.clusters
    round_.clusters, origin = repair_partition([c.documents for c in given], len(round_.indices))
    if failure:
        round_.repaired = 1
    for place in origin:
        cluster = given[place] if place >= 0 else None
        round_.names.append(cluster.name if cluster else "not placed")
        round_.reasons.append(cluster.reason if cluster else _NOT_PLACED)
        round_.metadata.append({m.name: m.value for m in cluster.metadata} if cluster else {})
        round_.metrics.append(
            {m.name: m.score for m in cluster.metrics if 1 <= m.score <= 5} if cluster else {}
        )
    round_.verdicts = [True] * len(round_.clusters)
    round_.verdict_reasons = [_SINGLE if len(c) == 1 else "" for c in round_.clusters]


def _judge(round_: Round, value: Verification | None, failure: str | None) -> None:
    """Takes the verdicts over: the first on each cluster, valid where there is none."""
    round_.answered = True
    if failure:
        round_.repaired = 1
    seen: set[int] = set()
    for verdict in value.verdicts if value is not None else ():
        place = verdict.cluster - 1
        if place in seen or not 0 <= place < len(round_.clusters):
            continue
        seen.add(place)
        if len(round_.clusters[place]) > 1:  # one document: valid by definition, whatever is said
            round_.verdicts[place] = verdict.valid
            round_.verdict_reasons[place] = verdict.reason
