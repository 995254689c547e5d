"""A study from topics to figure, read top to bottom: corpora, scores, tokens, models, accuracies.

Everything is kept in the study's directory: one folder for each cell, `shared/` for what the cells
have in common, and in the end `study.json`, `report.html` and the figures. Each stage is done once;
a study that was interrupted continues where it stopped.
"""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from synthdiv import __version__, files
from synthdiv.claims import FINGERPRINT, check_claim, claim
from synthdiv.data import MixtureConfig
from synthdiv.errors import UserError
from synthdiv.progress import say
from synthdiv.study.analysis import analyse
from synthdiv.study.config import Cell, Model, Plan, inputs_of
from synthdiv.study.outcomes import mean_of, outcome_of
from synthdiv.study.report import write_report
from synthdiv.study.stages import Stages, fingerprint, record_of

PHASES = ("pretrain", "sft")


def run_study(plan: Plan, workdir: str | Path, command: str) -> dict[str, Any]:
    """Runs a study, or goes on with it, and writes its results.

    Args:
        plan: what to study.
        workdir: where; one study a directory.
        command: the command line, which the report repeats.

    Returns:
        The content of `study.json` (its keys: docs/formats.md).

    Raises:
        UserError: the directory holds another study, or an input is missing or unusable.
        Paused: a backend is waiting for answers, or a budget is spent.
    """
    workdir = Path(workdir)
    with claim(record_of(workdir), study_work(plan, workdir), "study"):
        settings = workdir / "study.gin"
        if not settings.exists() or settings.read_text(encoding="utf-8") != plan.settings:
            files.write_text(settings, plan.settings)
        return _run(plan, workdir, command)


def study_work(plan: Plan, workdir: Path) -> dict[str, Any]:
    """What makes a study what it is, for the claim on its directory.

    Raises:
        UserError: the directory holds a study of other settings, which is seen before anything is
            read; or an input is missing or unusable.
    """
    record = workdir / FINGERPRINT
    before = files.read_json(record) if record.exists() else None
    if isinstance(before, dict):
        check_claim(record, before | fingerprint(plan.settings), "study")
    return fingerprint(plan.settings, inputs_of(plan))


def _run(plan: Plan, workdir: Path, command: str) -> dict[str, Any]:
    stages = Stages(workdir, total=stage_count(plan))
    shared = files.output_dir(workdir / "shared")
    for cell in plan.cells:
        if not cell.config.corpus:
            stages.run(f"{cell.name}: generate", partial(_generate, plan, cell, workdir))
    for cell in plan.cells:
        stages.run(f"{cell.name}: score", partial(_score, plan, cell, workdir))
    stages.run("shared: real text, questions and tokenizer", partial(_share, plan, workdir, shared))
    stages.run("shared: tokens", partial(_tokenize, plan, workdir, shared))
    for model in plan.models:
        for cell in plan.cells:
            for seed in plan.seeds:
                _train(plan, model, cell, seed, workdir, stages)
    study = collect(plan, workdir) | {
        "command": command,
        "synthdiv_version": __version__,
        "seconds": round(stages.seconds, 1),
    }
    files.write_json(workdir / "study.json", study)
    write_report(workdir, study)
    say(f"report: {workdir / 'report.html'}")
    return study


def _train(plan: Plan, model: Model, cell: Cell, seed: int, workdir: Path, stages: Stages) -> None:
    """One training run: pre-training, fine-tuning, and the evaluation of both."""
    shared = workdir / "shared"
    where = run_directory(plan, workdir, cell.name, model.name, seed)
    name = f"{cell.name}: {model.name}"
    if len(plan.seeds) > 1:
        name += f" seed {seed}"
    if plan.config.seeds:
        model = dataclasses.replace(
            model,
            pretrain=dataclasses.replace(model.pretrain, seed=seed),
            sft=dataclasses.replace(model.sft, seed=seed),
        )
    mixed = partial(mixture, plan, cell, workdir, shared)
    stages.run(f"{name} pretrain", partial(_pretrain, plan, model, mixed, where))
    stages.run(f"{name} sft", partial(_fine_tune, plan, model, where, shared))
    for phase in PHASES:
        # Versions that measured accuracy alone called it "evaluate": it is done again, from the
        # answers that are kept.
        stages.run(f"{name} measure {phase}", partial(_evaluate, plan, phase, where, shared))


def run_directory(plan: Plan, workdir: Path, cell: str, model: str, seed: int) -> Path:
    """Where one training run is: `CELL/MODEL`, and with several seeds `CELL/MODEL/seed_N`."""
    where = workdir / cell / model
    return where / f"seed_{seed}" if len(plan.seeds) > 1 else where


def stage_count(plan: Plan) -> int:
    """How many stages a study has."""
    generated = sum(not cell.config.corpus for cell in plan.cells)
    runs = len(plan.models) * len(plan.seeds)
    return generated + len(plan.cells) * (1 + 4 * runs) + 2


def corpus_of(cell: Cell, workdir: Path) -> files.Corpus:
    """The cell's corpus: the one named, or the one generated."""
    path = cell.config.corpus or workdir / cell.name / "corpus"
    return files.Corpus(path, cell.config.text_column)


def _generate(plan: Plan, cell: Cell, workdir: Path) -> None:
    from synthdiv.generation import generate
    from synthdiv.llm import open_session

    output = files.output_dir(workdir / cell.name / "corpus")
    with open_session(plan.writer, output / "answers.sqlite") as session:
        generate(plan.topics, output, cell.generate, session)


def _score(plan: Plan, cell: Cell, workdir: Path) -> None:
    from synthdiv.diversity import cluster_score
    from synthdiv.llm import open_session

    output = files.output_dir(workdir / cell.name / "score")
    with open_session(plan.judge, output / "answers.sqlite") as session:
        cluster_score(corpus_of(cell, workdir), plan.score, session, output)


def _share(plan: Plan, workdir: Path, shared: Path) -> None:
    """What all cells have in common: real text, instructions, questions, the tokenizer."""
    from synthdiv.data import load_tokenizer, stdlib_instructions, train_tokenizer

    real = _real_corpora(plan, shared)
    _heldout_corpora(plan, shared)
    if plan.config.instructions == "stdlib":
        stdlib_instructions(
            shared / "instructions.jsonl", plan.config.max_instructions, plan.config.seed
        )
    if not plan.config.data_dir:
        _write_questions(plan, shared)
    choice = plan.tokenizer
    if choice.path:
        load_tokenizer(choice.path).save(shared / "tokenizer")
    else:
        corpora = real + [corpus_of(cell, workdir) for cell in plan.cells]
        train_tokenizer(
            corpora, shared / "tokenizer", choice.vocab_size, choice.kind, choice.max_bytes
        )


def _real_corpora(plan: Plan, shared: Path) -> list[files.Corpus]:
    from synthdiv.data import stdlib_corpus

    return [
        files.Corpus(stdlib_corpus(shared / "real" / "stdlib") if name == "stdlib" else name)
        for name in plan.config.real
    ]


def _heldout_corpora(plan: Plan, shared: Path) -> list[files.Corpus]:
    from synthdiv.data import stdlib_corpus

    return [
        files.Corpus(
            stdlib_corpus(shared / "real" / "stdlib_heldout", heldout=True)
            if name == "stdlib"
            else name
        )
        for name in plan.config.heldout
    ]


def _write_questions(plan: Plan, shared: Path) -> None:
    """Questions about the world's facts, over topics of which each cell has seen its share."""
    from synthdiv.generation.topics import choose_topics, read_topics
    from synthdiv.offline.world import World

    config = plan.config
    topics = choose_topics(read_topics(plan.topics), config.question_topics, config.seed)
    questions = World().questions(
        [topic.path for topic in topics], config.seed, config.questions_per_topic
    )
    directory = files.output_dir(shared / "questions")
    lines = (json.dumps(q, ensure_ascii=False) + "\n" for q in questions)
    files.write_text(directory / "world_facts.jsonl", "".join(lines))


def _tokenize(plan: Plan, workdir: Path, shared: Path) -> None:
    """Tokenizes the real text and every cell's corpus with the one tokenizer of the study."""
    from synthdiv.data import load_tokenizer, tokenize_corpus

    tokenizer = load_tokenizer(shared / "tokenizer")
    how = dataclasses.asdict(plan.tokenize)
    for corpus in _real_corpora(plan, shared):
        tokenize_corpus(corpus, shared / "tokens" / corpus.name, tokenizer, **how)
    for cell in plan.cells:
        tokenize_corpus(corpus_of(cell, workdir), workdir / cell.name / "tokens", tokenizer, **how)


def mixture(plan: Plan, cell: Cell, workdir: Path, shared: Path) -> MixtureConfig:
    """The cell's corpus and the real text, each weighted to its effective tokens (section 3).

    Real corpora share `Study.real_tokens` in proportion to their sizes.
    """
    real = [shared / "tokens" / corpus.name for corpus in _real_corpora(plan, shared)]
    sizes = [_manifest(directory)["tokens"] for directory in real]
    sources = [(str(workdir / cell.name / "tokens"), float(plan.config.synthetic_tokens))]
    for directory, size in zip(real, sizes, strict=True):
        sources.append((str(directory), plan.config.real_tokens * size / sum(sizes)))
    return MixtureConfig(tuple(sources), names=(cell.name, *(d.name for d in real)))


def _pretrain(plan: Plan, model: Model, mixed: Callable[[], MixtureConfig], where: Path) -> None:
    from synthdiv.training import pretrain

    config = dataclasses.replace(model.pretrain, mixture=mixed())
    pretrain(config, where / "pretrain", plan.settings)


def _fine_tune(plan: Plan, model: Model, where: Path, shared: Path) -> None:
    from synthdiv.training import sft

    name = plan.config.instructions
    instructions = shared / "instructions.jsonl" if name == "stdlib" else Path(name)
    sft(model.sft, where / "pretrain", instructions, where / "sft", plan.settings)


def _evaluate(plan: Plan, phase: str, where: Path, shared: Path) -> None:
    from synthdiv.evaluation import evaluate

    evaluate(
        where / phase,
        plan.config.tasks,
        where / f"{phase}.json",
        plan.config.data_dir or shared / "questions",
        plan.evaluate,
        corpora=_heldout_corpora(plan, shared),
    )


def collect(plan: Plan, workdir: Path) -> dict[str, Any]:
    """Gathers what the stages wrote into the content of `study.json`."""
    cells = [_collect_cell(plan, cell, workdir) for cell in plan.cells]
    return (
        {"cells": cells}
        | analyse(cells)
        | {
            "seed": plan.config.seed,
            "seeds": list(plan.seeds),
            "notices": _notices(plan),
        }
    )


def _collect_cell(plan: Plan, cell: Cell, workdir: Path) -> dict[str, Any]:
    where = workdir / cell.name
    score = files.read_json(where / "score" / "score.json")
    manifest = _manifest(where / "tokens")
    generated = not cell.config.corpus
    return {
        "corpus": {
            "name": cell.name,
            "topics": cell.generate.topics if generated else None,
            "generations": cell.generate.generations if generated else None,
            "family": cell.generate.family if generated else None,
            "documents": manifest["documents"],
            "tokens": manifest["tokens"],
            "epochs": plan.config.synthetic_tokens / max(manifest["tokens"], 1),
        },
        "score": {key: score["score"][key] for key in ("mean", "ci95", "standard_error")},
        "baselines": score["baselines"],
        "models": {
            model.name: {phase: _outcome(plan, workdir, cell, model, phase) for phase in PHASES}
            for model in plan.models
        },
    }


def _manifest(tokens: Path) -> dict[str, Any]:
    manifest = files.read_manifest(tokens)
    if manifest is None:
        raise UserError(
            f"{str(tokens)!r} has lost its manifest.json: remove the study and run it again"
        )
    return manifest


def _outcome(plan: Plan, workdir: Path, cell: Cell, model: Model, phase: str) -> dict[str, Any]:
    """The mean of a model's runs, and each run."""
    runs = []
    for seed in plan.seeds:
        where = run_directory(plan, workdir, cell.name, model.name, seed)
        runs.append(outcome_of(files.read_json(where / f"{phase}.json")))
    each = [{"seed": seed} | run for seed, run in zip(plan.seeds, runs, strict=True)]
    return {**mean_of(runs), "runs": each}


def _notices(plan: Plan) -> list[str]:
    """What a reader must know before reading on."""
    roles = (("written", plan.writer), ("judged", plan.judge))
    offline = [role for role, settings in roles if settings.backend == "offline"]
    if not offline:
        return []
    return [
        f"The corpora were {' and '.join(offline)} by the offline stand-in, which is not an LLM: "
        "this shows that the whole study works, and says nothing about any language model."
    ]
