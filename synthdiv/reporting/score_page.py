"""The page of one score: what a score directory's files say, in one file.

What a statistician asks comes first (score, interval, running mean, distributions), then what a
person who writes prompts asks: which clusters come back, where their documents come from, and
every round to browse. Documents are other people's text: they enter the page escaped, or as JSON
that the page's one script puts there as text.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from synthdiv.files import Document, write_text
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Figure, Histogram, Lines, Series
from synthdiv.reporting.pages import DIRECTIONS, Metric
from synthdiv.reporting.plots import plot
from synthdiv.reporting.score_files import Round, ScoreFiles, read_score_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

ROUNDS_IN_BLOCK = 100
DOCUMENTS_IN_BLOCK = 200
TEXT_BUDGET = 8_000_000  # characters of documents in one page, shared among them
LONGEST, SHORTEST = 2000, 160  # characters shown of one document, and as many of its provenance
_EXAMPLE = 600  # characters shown of a group's example
_VALUE = 120  # characters shown of one provenance value
_PLOTTED = 400  # points of the running mean


class Origin(Protocol):
    """A value of a provenance column that a group has more of than the corpus.

    Attributes:
        column, value: such as "style", "blog post".
        share: of the group's documents that have it.
        lift: that share over the share among all documents.
    """

    @property
    def column(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def share(self) -> float: ...
    @property
    def lift(self) -> float: ...


class Group(Protocol):
    """Clusters of different rounds that are about the same thing.

    Attributes:
        name, names: the name that holds most documents, and others.
        reason: why one of its clusters stood apart.
        share: of all document places in the rounds.
        rounds: share of the rounds in which it occurs.
        valid: share of its clusters that self-verification accepted.
        documents: how many different documents.
        examples: indices of documents to show.
        origins: where its documents come from, most telling first.
    """

    @property
    def name(self) -> str: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def reason(self) -> str: ...
    @property
    def share(self) -> float: ...
    @property
    def rounds(self) -> float: ...
    @property
    def valid(self) -> float: ...
    @property
    def documents(self) -> int: ...
    @property
    def examples(self) -> Sequence[int]: ...
    @property
    def origins(self) -> Sequence[Origin]: ...


def write_score_page(
    score_dir: str | Path,
    files: ScoreFiles,
    recurring: Sequence[Group],
    metrics: Mapping[str, Metric],
) -> Path:
    """Writes `report.html` into a score directory and returns its path; see `score_page`."""
    path = Path(score_dir) / "report.html"
    write_text(path, score_page(files, recurring, metrics))
    return path


def score_page(files: ScoreFiles, recurring: Sequence[Group], metrics: Mapping[str, Metric]) -> str:
    """Returns the page of a score as text.

    Args:
        files: what the score directory holds; documents may be missing, any part of score.json too.
        recurring: groups of clusters that come back, largest first.
        metrics: the baselines that are known, by their names in score.json.
    """
    from markupsafe import Markup

    score, rounds, documents = files.score, files.rounds, files.documents
    blocks, about = _browser_blocks(rounds, documents)
    return pages.render(
        "score_page",
        script="score_page.js" if rounds else None,
        score=score,
        title=score.get("corpus", {}).get("name") or "corpus",
        figures=[Markup(charts.svg(figure)) for figure in distributions(rounds)],
        running=Markup(charts.svg(running)) if (running := running_mean(rounds)) else "",
        baselines=_baselines(score.get("baselines", {}), metrics),
        agreement=_agreement(score.get("agreement") or {}),
        recurring=recurring,
        documents=documents,
        beginning=lambda index: _beginning(documents[index].text, _EXAMPLE),
        blocks=[(name, Markup(pages.inline_json(block))) for name, block in blocks],
        about=Markup(pages.inline_json(about)),
        has_rounds=bool(rounds),
    )


def _beginning(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + " …"


def _browser_blocks(
    rounds: Sequence[Round], documents: Mapping[int, Document]
) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """What the round browser reads: blocks of rounds and of documents, and how to find them."""
    indices = sorted({i for round_ in rounds for i in round_.indices})
    number = {index: i for i, index in enumerate(indices)}
    characters = max(min(TEXT_BUDGET // max(len(indices), 1), LONGEST), SHORTEST)
    shown_rounds = [_shown_round(round_, number) for round_ in rounds]
    blocks: list[tuple[str, Any]] = [
        (f"rounds-{i // ROUNDS_IN_BLOCK}", shown_rounds[i : i + ROUNDS_IN_BLOCK])
        for i in range(0, len(shown_rounds), ROUNDS_IN_BLOCK)
    ]
    for start in range(0, len(indices), DOCUMENTS_IN_BLOCK):
        block = [
            _shown_document(index, documents.get(index), characters)
            for index in indices[start : start + DOCUMENTS_IN_BLOCK]
        ]
        blocks.append((f"documents-{start // DOCUMENTS_IN_BLOCK}", block))
    about = {
        "rounds": [round_.number for round_ in rounds],
        "flags": [_flags(round_) for round_ in rounds],
        "roundsInBlock": ROUNDS_IN_BLOCK,
        "documentsInBlock": DOCUMENTS_IN_BLOCK,
        "sets": len({round_.criteria_set for round_ in rounds}),
    }
    return blocks, about


def _shown_round(round_: Round, number: Mapping[int, int]) -> dict[str, Any]:
    return {
        "round": round_.number,
        "set": round_.criteria_set,
        "size": len(round_.indices),
        "C": round_.C,
        "S": round_.S,
        "score": round_.score,
        "repaired": round_.repaired,
        "failed": round_.failed,
        "clusters": [
            {
                "name": cluster.name,
                "reason": cluster.reason,
                "valid": cluster.valid,
                "documents": [number[i] for i in cluster.documents],
            }
            for cluster in round_.clusters
        ],
    }


def _flags(round_: Round) -> list[str]:
    flags = {
        "failed": round_.failed,
        "repaired": round_.repaired,
        "rejected": any(not cluster.valid for cluster in round_.clusters),
        "alike": round_.C == 1,
    }
    return [name for name, on in flags.items() if on]


def _shown_document(index: int, document: Document | None, characters: int) -> list[Any]:
    """[index, id, text, characters left out, [[column, value], ...]]."""
    if document is None:
        return [index, str(index), "", 0, []]
    provenance = []
    left = characters
    for column, value in document.provenance.items():
        words = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        if words is None or left <= 0 or not (shown := _beginning(str(words), _VALUE)).strip():
            continue
        provenance.append([column, shown])
        left -= len(column) + len(shown)
    text = document.text[:characters]
    return [index, document.id, text, len(document.text) - len(text), provenance]


def plot_score(score_dir: str | Path) -> "MatplotlibFigure":
    """Returns the running mean and the distributions of a score directory through matplotlib.

    Raises:
        UserError: score.json or rounds.parquet is missing, or matplotlib is not installed.
    """
    rounds = read_score_files(score_dir).rounds
    running = running_mean(rounds)
    return plot([*([running] if running else []), *distributions(rounds)], columns=3)


def distributions(rounds: Sequence[Round]) -> list[Figure]:
    """Returns Figure 10 of the paper: how C and S are distributed over the rounds."""
    done = [round_ for round_ in rounds if not round_.failed]
    if not done:
        return []
    size = max(len(round_.indices) for round_ in done)
    clusters = [round_.C for round_ in done]
    sizes = [round_.S for round_ in done if round_.S]
    figures: list[Figure] = []
    for group, (values, label, width) in enumerate(
        (
            (clusters, "C, valid clusters in a round", 1.0),
            (sizes, "S, mean documents in a cluster", size / 20),
        )
    ):
        if not values:
            continue
        mean = sum(values) / len(values)
        figures.append(
            Histogram(
                values,
                title=f"Distribution of {label}",
                description=f"{len(values)} rounds, mean {charts.number(mean)}.",
                x_label=label,
                low=0.0,
                high=float(size),
                width=width,
                group=group,
                mark=mean,
            )
        )
    return figures


def running_mean(rounds: Sequence[Round]) -> Lines | None:
    """Returns the mean of the first n rounds against n, or None for fewer than two rounds.

    The band is 1.96 standard errors of independent rounds.
    """
    scores = [round_.score for round_ in rounds if not round_.failed]
    if len(scores) < 2:
        return None
    total = squares = 0.0
    xs, ys, low, high = [], [], [], []
    step = max(len(scores) // _PLOTTED, 1)
    for count, value in enumerate(scores, 1):
        total += value
        squares += value * value
        if count >= 2 and (count % step == 0 or count == len(scores)):
            mean = total / count
            variance = max(squares - count * mean * mean, 0.0) / (count - 1)
            error = 1.96 * math.sqrt(variance / count)
            xs.append(count)
            ys.append(mean)
            low.append(mean - error)
            high.append(mean + error)
    # The first few rounds' band would flatten everything after them.
    settled = [i for i, x in enumerate(xs) if x >= min(10, len(scores) / 2)]
    floor, ceiling = min(low[i] for i in settled), max(high[i] for i in settled)
    pad = (ceiling - floor) * 0.06 or 0.1
    return Lines(
        [Series("running mean", xs, ys, low, high)],
        title="Running mean of the score",
        description=f"After {len(scores)} rounds the mean is {charts.number(ys[-1])}.",
        x_label="rounds",
        y_label="mean score so far",
        y_range=(floor - pad, ceiling + pad),
    )


def _agreement(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The agreement figures that there are, each with what the judge was held against."""
    second = found.get("second_judge", {})
    titles = {
        "labels": f"the labels ({found.get('labels', {}).get('column')})",
        "test_retest": "itself, the documents in another order",
        "second_judge": f"a second judge ({second.get('model')})",
        "offline_judge": "the offline judge",
    }
    return [(title, found[name]) for name, title in titles.items() if found.get(name)]


@dataclasses.dataclass(frozen=True)
class _Row:
    """A line of the table of baselines."""

    title: str
    value: float
    direction: str
    what: str
    confounds: str


def _baselines(values: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[_Row]:
    """Known baselines in the order of `metrics`, then whatever else score.json has."""
    rows = [
        _Row(m.title, values[name], DIRECTIONS[m.direction], m.what, m.confounds)
        for name, m in metrics.items()
        if isinstance(values.get(name), (int, float))
    ]
    others = [n for n, v in values.items() if n not in metrics and isinstance(v, (int, float))]
    return rows + [_Row(name.replace("_", " "), values[name], "", "", "") for name in others]
