"""What a study would take, before it runs: calls, tokens and money, FLOPs, chip-hours and disk.

Inputs that are not there yet are named and planned for by what the study says of them: a plan of a
study at full scale needs neither its corpora nor its accelerators.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from synthdiv import files, plans
from synthdiv.config import find
from synthdiv.errors import UserError
from synthdiv.llm import LLMConfig
from synthdiv.llm.plan import Plan as Asked
from synthdiv.llm.plan import StagePlan
from synthdiv.progress import say
from synthdiv.study.after_training import after_training
from synthdiv.study.budget import budget, rounded
from synthdiv.study.config import STDLIB, Cell, Plan, StudyConfig
from synthdiv.study.graph import make_graph
from synthdiv.study.inputs import inputs_of
from synthdiv.study.run import check_tasks, outlook
from synthdiv.study.work import Work

_SAMPLE = 24  # documents, more than a round holds
_PER_SECOND = 50.0  # tokens that a call in flight is taken to write
_OF_TEXT = 1 / 1.15  # of the tokens of a reply, which is JSON


@dataclasses.dataclass(frozen=True)
class Lines(plans.Plan):
    """A plan that is printed line by line."""

    lines: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines)


def preview(study: Plan, workdir: Path | None, device: str, mfu: float, jobs: int) -> plans.Plan:
    """Returns what a study would take. Sends nothing and leaves nothing behind.

    In the place of a corpus that is yet to be generated, a few texts of the offline writer give the
    judge's prompts about the length that they will have.

    Args:
        study: what to study.
        workdir: where, for what is done there already; None where that is not known yet.
        device: the accelerator that hours are counted of.
        mfu: the share of its peak that training is taken to reach.
        jobs: accelerators, or groups of them, that train side by side.

    Raises:
        UserError: settings that make no study, or a device that is not known.
    """
    missing, inputs = [], {}
    try:
        check_tasks(study)
    except UserError as error:
        missing.append(str(error))
    try:
        inputs = inputs_of(study)
    except UserError as error:
        missing.append(str(error))
    if not study.topics.exists():
        study = dataclasses.replace(study, topics=find(StudyConfig.topics))
    runs = study.runs()
    who = dict.fromkeys(w.backend for c in study.cells if c.config.generated for w in c.writers)
    about = {
        "study": f"{len(study.cells)} corpora x {len(study.mixtures)} mixtures x "
        f"{len(study.models)} models x {len(study.seeds)} seeds = {len(runs)} training runs; "
        f"{f'written by {chr(32).join(who)}, ' if who else ''}judged by {study.judge.backend}"
    }
    if missing:
        about["not here yet"] = "; ".join(missing)
    parts: dict[str, plans.Plan] = {}
    if not missing and workdir is not None and workdir.exists():
        stages = make_graph(study, workdir, inputs)
        parts["stages"] = Lines(lines=outlook(stages, stages.stages))
    tokens: dict[str, float] = {}
    asked: list[StagePlan] = []
    asking: list[tuple[LLMConfig, Asked]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for cell in study.cells:
            say(f"planning {cell.name}")
            for name, part in _asked(study, cell, Path(scratch) / cell.name).items():
                parts[f"{cell.name}: {name}"] = part
                asked += part.stages
                asking.append((cell.writers[0] if name == "generate" else study.judge, part))
                if name == "generate":
                    tokens[cell.name] = _OF_TEXT * sum(s.output for s in part.stages)
        say("planning fine-tuning and evaluation")
        beside = after_training(study, Path(scratch))
    whole = Asked(stages=tuple(asked))
    about["language models"] = (
        f"{whole.calls:,} calls, {sum(s.input for s in asked):,} tokens read and "
        f"{sum(s.output for s in asked):,} written, "
        + ("price unknown" if whole.cost_usd is None else f"{whole.cost_usd:,.2f} USD")
    )
    cap = study.judge.max_cost_usd
    if cap is not None:
        about["language models"] += f"; the study stops at {cap:,.2f} USD"
    each = [(w.concurrency, asking_hours(w, part)) for w, part in asking]
    hours = sum(some for _, some in each)
    if hours:
        in_flight = " or ".join(f"{n:,}" for n in sorted({n for n, some in each if some}))
        about["hours of asking"] = (
            f"about {rounded(hours)}, if each of {in_flight} calls in flight (LLM.concurrency) "
            f"writes {_PER_SECOND:g} tokens a second"
        )
    parts |= budget(study, tokens, device, mfu, jobs, beside)
    return plans.Plan(about, {"asking_hours": hours}, parts)


def asking_hours(whom: LLMConfig, asked: Asked) -> float:
    """Hours until all is answered: by what calls in flight write, within the account's limits.

    The stand-in takes next to none, and when a batch file is answered is its server's affair.
    """
    if whom.backend in ("offline", "batch") or not asked.calls:
        return 0.0
    written = sum(stage.output for stage in asked.stages)
    read = sum(stage.input for stage in asked.stages)
    minutes = [written / _PER_SECOND / min(whom.concurrency, asked.calls) / 60]
    if whom.requests_per_minute is not None:
        minutes.append(asked.calls / whom.requests_per_minute)
    if whom.tokens_per_minute is not None:
        minutes.append((read + written) / whom.tokens_per_minute)
    return max(minutes) / 60


def _asked(study: Plan, cell: Cell, scratch: Path) -> dict[str, Asked]:
    """What language models would be asked for one corpus."""
    from synthdiv.diversity.planning import plan_score
    from synthdiv.llm import open_session

    found: dict[str, Asked] = {}
    if cell.config.generated:
        found["generate"] = _generation(study, cell, scratch / "sources")
    corpus = _like(study, cell, scratch / "corpus")
    with open_session(study.judge, None, asking=False) as session:
        found["score"] = plan_score([corpus], study.score, session)
    return found


def _generation(study: Plan, cell: Cell, scratch: Path) -> Asked:
    from synthdiv.generation import CorpusPlan, read_topics
    from synthdiv.generation.writers import Writers
    from synthdiv.llm import open_session

    config, sources = cell.generate, _sources(study, cell, scratch)
    few = dataclasses.replace(config, topics=min(config.topics or _SAMPLE, _SAMPLE))
    if sources is not None:
        few = dataclasses.replace(few, documents=min(config.documents or _SAMPLE, len(sources)))
    examples = CorpusPlan(study.topics, few, sources)
    subjects = config.topics or len(read_topics(study.topics))
    if not examples.topics:
        subjects = config.documents or len(sources or ())
    with contextlib.ExitStack() as stack:
        sessions = [
            stack.enter_context(open_session(writer, None, asking=False)) for writer in cell.writers
        ]
        writers = Writers(sessions, list(config.writers.values()))
        return writers.plan(examples, range(len(examples)), subjects * config.generations)


def _sources(study: Plan, cell: Cell, scratch: Path) -> files.Corpus | None:
    """The real documents that a family shows; where they are not here yet, Python's own."""
    path = cell.config.sources
    if not path:
        return None
    with contextlib.suppress(UserError):
        if path != STDLIB:
            return cell.config.open(path)
    return Work(study, scratch).real(STDLIB)


def _like(study: Plan, cell: Cell, scratch: Path) -> files.Corpus:
    """Returns the cell's corpus, or a small one of the same kind."""
    from synthdiv.generation import generate
    from synthdiv.llm import open_session

    if cell.config.corpus:
        with contextlib.suppress(UserError):
            return cell.config.open(cell.config.corpus)
    if cell.config.packages:
        work = Work(study, scratch)
        work.cut(cell)
        return work.corpus(cell)
    config = cell.generate
    topics = min(config.topics or _SAMPLE, _SAMPLE)
    sources = _sources(study, cell, scratch.with_name("shown"))
    few = dataclasses.replace(
        config,
        topics=topics,
        documents=min(config.documents or _SAMPLE, _SAMPLE) if sources is not None else 0,
        generations=-(-_SAMPLE // topics),
        writers={},
        token_budget=0,
    )
    with open_session(LLMConfig(), None) as session:
        generate(study.topics, scratch, few, session, sources)
    return files.Corpus(scratch)
