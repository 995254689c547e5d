"""Gathers what the stages of a study wrote into the content of `study.json`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.errors import UserError
from synthdiv.reporting.study_statistics import too_few
from synthdiv.study.analysis import analyse
from synthdiv.study.config import Cell, Mixture, Model, Plan, Run, trained
from synthdiv.study.origins import notices, origin_of
from synthdiv.study.outcomes import mean_of, outcome_of
from synthdiv.study.work import manifest_of


def collect(plan: Plan, workdir: Path) -> dict[str, Any]:
    """Returns the content of `study.json`, but for what differs from run to run."""
    runs = plan.runs()
    own = {cell.name: [run for run in runs if run.cell is cell] for cell in plan.cells}
    cells = [_cell(plan, cell, own[cell.name], workdir) for cell in plan.cells]
    return (
        {"cells": cells}
        | analyse(cells)
        | {
            "trained": {
                trained(model, mixture): _trained(model, mixture)
                for model in plan.models
                for mixture in plan.mixtures
            },
            "seed": plan.config.seed,
            "seeds": list(plan.seeds),
            "notices": [
                *notices(cells),
                *_empty_texts(plan, workdir),
                *filter(None, [too_few(len(cells))]),
            ],
        }
    )


def _empty_texts(plan: Plan, workdir: Path) -> Iterator[str]:
    """Says of each corpus how many of its documents have no text."""
    for cell in plan.cells:
        manifest = manifest_of(workdir / cell.name / "tokens")
        if empty := manifest.get("empty_documents"):
            yield (
                f"{cell.name}: {empty:,} of {empty + manifest['documents']:,} documents have no "
                "text, and count for nothing."
            )


def _trained(model: Model, mixture: Mixture) -> dict[str, Any]:
    """What is behind a name in `models`."""
    return {
        "model": model.name,
        "mixture": mixture.name,
        "parameters": model.pretrain.model.parameters,
        "synthetic_tokens": mixture.synthetic_tokens,
        "real_tokens": mixture.real_tokens,
        "tokens": model.pretrain.tokens or mixture.synthetic_tokens + mixture.real_tokens,
    }


def _cell(plan: Plan, cell: Cell, runs: list[Run], workdir: Path) -> dict[str, Any]:
    where = workdir / cell.name
    score = _made(where / "score" / "score.json", workdir / "stages" / f"{cell.name}.score.json")
    manifest = manifest_of(where / "tokens")
    topics, generations, family = cell.config.packages or None, cell.config.pages or None, None
    if cell.config.generated:
        made = cell.generate
        topics, generations, family = made.topics, made.generations, made.family
    models: dict[str, Any] = {}
    for run in runs:
        models.setdefault(run.key, []).append(run)
    return {
        "corpus": {
            "name": cell.name,
            "topics": topics,
            "generations": generations,
            "family": family,
            "documents": manifest["documents"],
            "tokens": manifest["tokens"],
            "epochs": plan.mixtures[0].synthetic_tokens / max(manifest["tokens"], 1),
        },
        "origin": origin_of(cell.config.corpus or where / "corpus", score),
        "score": {key: score["score"][key] for key in ("mean", "ci95", "standard_error")},
        "baselines": score["baselines"],
        "models": {
            key: {phase: _outcome(workdir, some, phase) for phase in plan.config.phases}
            for key, some in models.items()
        },
    }


def _made(path: Path, *beside: Path) -> Any:
    """Reads what a stage made; `beside` is what has to go with it for the stage to be done again.

    Raises:
        UserError: it cannot be read; says what to remove.
    """
    try:
        return files.read_json(path)
    except UserError as error:
        names = " and ".join(map(str, (path, *beside)))
        raise UserError(f"{error}: remove {names} to have it made again") from None


def _outcome(workdir: Path, runs: list[Run], phase: str) -> dict[str, Any]:
    """The mean of a model's runs, and each run."""
    found = [outcome_of(_made(workdir / run.folder / f"{phase}.json")) for run in runs]
    each = [{"seed": run.seed} | one for run, one in zip(runs, found, strict=True)]
    return {**mean_of(found), "runs": each}
