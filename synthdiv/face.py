"""What `import synthdiv` offers: a score, a comparison, the baselines, of whatever holds texts."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synthdiv.corpora import Corpus, check_names
from synthdiv.errors import UserError

if TYPE_CHECKING:
    from synthdiv.baselines.compute import BaselineConfig
    from synthdiv.corpora.sources import Data
    from synthdiv.diversity import ComparisonResult, ScoreConfig, ScoreResult
    from synthdiv.llm import LLMConfig, Session


def diversity_score(
    data: "Data | Corpus",
    *,
    text_column: str | int = "text",
    text_template: str | None = None,
    rounds: int | None = None,
    config: "ScoreConfig | None" = None,
    judge: "LLMConfig | Session | None" = None,
    output: str | Path | None = None,
) -> "ScoreResult":
    """Scores how diverse a corpus is, by the LLM cluster-agent.

    Args:
        data: a path or address, texts, dicts, a pandas or polars frame, a pyarrow table, a
            `datasets.Dataset`; see `Corpus`.
        text_column: the column that holds the text.
        text_template: makes the text out of several columns, `{instruction}\\n{output}`.
        rounds: clustering rounds; more make the interval narrower. One alone has none: `ci95` is
            NaN, which a warning says.
        config: everything that can be set; the paper's parameters by default.
        judge: who clusters: settings, or a session that is open. By default the offline stand-in,
            which is no language model.
        output: directory for score.json, every round and the report; also keeps the judge's
            answers, so that nothing is paid for twice. It is claimed for this score, and another
            corpus, judge or setting is refused. None writes nothing.

    Raises:
        UserError: the corpus cannot be read or is smaller than a round; `output` holds another
            score; an argument is not what is asked for.
        PartialScore: a cap was reached; its result is of the rounds so far.
        Paused: the judge stopped before that; call again to go on.
    """
    from synthdiv.diversity import cluster_score

    corpus = Corpus.of(data, text_column, text_template=text_template)
    settings = _settings(config, rounds)
    with _session(judge, output, [corpus], settings) as session:
        return cluster_score(corpus, settings, session, output)


def compare_corpora(
    corpora: "Mapping[str, Data | Corpus]",
    *,
    text_column: str | int = "text",
    text_template: str | None = None,
    rounds: int | None = None,
    config: "ScoreConfig | None" = None,
    judge: "LLMConfig | Session | None" = None,
    output: str | Path | None = None,
) -> "ComparisonResult":
    """Scores several corpora by one set of criteria and at matched lengths, to be compared.

    Args:
        corpora: name -> corpus, see `diversity_score`; each name becomes a directory's.
        text_column: as `diversity_score`, as are all others.

    Raises:
        UserError: as `diversity_score`; or there is one corpus only.
        PartialScore: as `diversity_score`.
        Paused: as `diversity_score`.
    """
    from synthdiv.diversity import ComparisonResult, score_corpora

    if not isinstance(corpora, Mapping):
        raise UserError(
            f"compare_corpora takes names and corpora, {{'a': ..., 'b': ...}}, not a "
            f"{type(corpora).__name__}"
        )
    if len(corpora) < 2:
        raise UserError("a comparison needs two corpora or more")
    check_names(list(corpora), len(corpora))
    settings = _settings(config, rounds)
    opened = [
        Corpus.of(data, text_column, text_template=text_template, name=name)
        for name, data in corpora.items()
    ]
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(_session(judge, output, opened, settings, compare=True))
        directory = output or stack.enter_context(tempfile.TemporaryDirectory())
        result = score_corpora(opened, directory, settings, session, compare=True)
    assert isinstance(result, ComparisonResult)  # there are two corpora or more
    return result


def baseline_metrics(
    data: "Data | Corpus",
    *,
    text_column: str | int = "text",
    text_template: str | None = None,
    config: "BaselineConfig | None" = None,
) -> dict[str, float]:
    """Computes the other diversity metrics: compression ratio, n-grams, self-repetition, ...

    Args:
        data: as `diversity_score`, as are `text_column` and `text_template`.
        config: which metrics; those that need nothing beside the text by default.

    Returns:
        Metric name -> value.

    Raises:
        UserError: the corpus cannot be read.
    """
    from synthdiv.baselines import BaselineConfig, compute_baselines

    if config is not None and not isinstance(config, BaselineConfig):
        raise UserError(f"config takes a BaselineConfig, not a {type(config).__name__}")
    return compute_baselines(Corpus.of(data, text_column, text_template=text_template), config)


def _settings(config: "ScoreConfig | None", rounds: int | None) -> "ScoreConfig":
    from synthdiv.diversity import ScoreConfig

    settings = ScoreConfig() if config is None else config
    if not isinstance(settings, ScoreConfig):
        raise UserError(f"config takes a ScoreConfig, not a {type(settings).__name__}")
    return settings if rounds is None else dataclasses.replace(settings, rounds=rounds)


@contextlib.contextmanager
def _session(
    judge: "LLMConfig | Session | None",
    output: str | Path | None,
    corpora: Sequence[Corpus],
    config: "ScoreConfig",
    compare: bool = False,
) -> "Iterator[Session]":
    """The judge's session, with `output` claimed for the score for as long as it is open."""
    from synthdiv.diversity import claim_score
    from synthdiv.llm import LLMConfig, Session, open_session

    judge = LLMConfig() if judge is None else judge
    if not isinstance(judge, LLMConfig | Session):
        raise UserError(
            f"judge takes an LLMConfig or an open session, not a {type(judge).__name__}: "
            "LLMConfig(backend='openai', model=...) of synthdiv.llm"
        )
    if output is not None and (not isinstance(output, str | Path) or output == ""):
        raise UserError(f"output takes the path of a directory, not {output!r}")
    with contextlib.ExitStack() as stack:
        directory = None if output is None else Path(output)
        if directory is not None:
            llm = judge.config if isinstance(judge, Session) else judge
            stack.enter_context(claim_score(directory, corpora, config, llm, compare))
        if isinstance(judge, LLMConfig):
            store = None if directory is None else directory / "answers.sqlite"
            judge = stack.enter_context(open_session(judge, store))
        yield judge
