"""The page of one score: what a score directory's files say, in one file.

It says first what was found, then the figure with its interval and what casts doubt on it, then how
it was made. Then come what the corpus is made of, what is missing, where documents come from, and
every document and round to look up. Documents are other people's text: they enter the page
escaped, or as JSON that the page's one script puts there as text.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from synthdiv.files import write_text
from synthdiv.reporting import charts, findings, pages
from synthdiv.reporting.pages import DIRECTIONS, Metric
from synthdiv.reporting.score_data import Grouped, memberships, page_data
from synthdiv.reporting.score_figures import distributions, on_the_scale, running_mean
from synthdiv.reporting.score_files import ScoreFiles
from synthdiv.reporting.score_made import made
from synthdiv.reporting.sources import beginning, constant, same_words, source_tables, told
from synthdiv.reporting.values import facet_values

_EXAMPLE = 600  # characters shown of a group's example


class Origin(Protocol):
    """A value of a provenance column or criterion that a group has more of than the corpus.

    Attributes:
        column, value: such as "style", "blog post".
        share: of the group that has it.
        lift: that share over the share in the corpus.
    """

    @property
    def column(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def share(self) -> float: ...
    @property
    def lift(self) -> float: ...


class Group(Grouped, Protocol):
    """Clusters of different rounds that are about the same thing.

    Attributes:
        name, names: the name that holds most documents, and others.
        within: the broader values it belongs to.
        reason: why one of its clusters stood apart.
        share: of all document places in the rounds.
        rounds: share of the rounds in which it occurs.
        documents: how many different documents.
        members: places of its clusters among those of all rounds.
        valid: share of its clusters that self-verification accepted.
        examples: indices of documents to show.
        marks: values of criteria that set it apart.
        origins: where its documents come from, most telling first.
    """

    @property
    def valid(self) -> float: ...
    @property
    def examples(self) -> Sequence[int]: ...
    @property
    def marks(self) -> Sequence[Origin]: ...
    @property
    def origins(self) -> Sequence[Origin]: ...


def write_score_page(
    score_dir: str | Path,
    files: ScoreFiles,
    groups: Sequence[Group],
    metrics: Mapping[str, Metric],
    back: str | None = None,
) -> Path:
    """Writes `report.html` into a score directory and returns its path; see `score_page`."""
    path = Path(score_dir) / "report.html"
    write_text(path, score_page(files, groups, metrics, back))
    return path


def score_page(
    files: ScoreFiles,
    groups: Sequence[Group],
    metrics: Mapping[str, Metric],
    back: str | None = None,
) -> str:
    """Returns the page of a score as text.

    Args:
        files: what the score directory holds; documents may be missing, any part of score.json too.
        groups: of clusters that come back, or of one value, largest first.
        metrics: the baselines that are known, by their names in score.json.
        back: address of the page of the comparison that the score is part of.
    """
    from markupsafe import Markup

    score, rounds, documents = files.score, files.rounds, files.documents
    facets = facet_values(score.get("codebooks") or (), files.values)
    data = page_data(files, groups)
    level = findings.headline_level(score) if score.get("codebooks") else ""
    running, scale = running_mean(rounds), on_the_scale(score)
    return pages.render(
        "score_page",
        script="score_page.js" if rounds else None,
        score=score,
        title=(score.get("corpus") or {}).get("name") or "corpus",
        back=back,
        findings=findings.found(score, facets, groups, findings.one_codebook(files)),
        rule=findings.rule_of_words(bool(facets)),
        read=findings.what_was_read(score),
        levels=score.get("levels") or (),
        what=findings.plural(level.partition(".")[2]) if level else "clusters",
        counted=_counted(score.get("baselines") or {}, metrics),
        level=level,
        made=made(score),
        scale=Markup(charts.svg(scale)) if scale else "",
        figures=[Markup(charts.svg(figure)) for figure in distributions(rounds)],
        running=Markup(charts.svg(running)) if running else "",
        baselines=_baselines(score.get("baselines") or {}, metrics),
        agreement=_agreement(score.get("agreement") or {}),
        facets=facets,
        groups=groups,
        number_of={
            tuple(map(same_words, (*group.within, group.name))): number
            for number, group in enumerate(groups)
        },
        sources=source_tables(documents, memberships(files, groups)),
        constants=constant(map(told, documents.values())),
        documents=documents,
        beginning=lambda index: beginning(documents[index].text, _EXAMPLE),
        data=data,
        blocks=[(name, Markup(pages.inline_json(block))) for name, block in data.blocks],
        has_rounds=bool(rounds),
        all_rounds=len(rounds),
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
    """Known baselines in the order of `metrics`."""
    return [
        _Row(m.title, values[name], DIRECTIONS[m.direction], m.what, m.confounds)
        for name, m in metrics.items()
        if isinstance(values.get(name), (int, float))
    ]


def _counted(values: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[tuple[str, float]]:
    """What else score.json has of the baselines: of how much they were taken."""
    return [
        (name.replace("_", " "), value)
        for name, value in values.items()
        if name not in metrics and isinstance(value, (int, float))
    ]
