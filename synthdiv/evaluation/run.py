"""Evaluates one checkpoint: tasks through lm-eval, bits per byte on corpora, one JSON of it all."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.config import settle
from synthdiv.data.chat import ChatTemplate
from synthdiv.errors import UserError, closest
from synthdiv.evaluation import measures
from synthdiv.evaluation.tasks import PAPER, PAPER_METRICS, Tasks, load_tasks, quiet
from synthdiv.evaluation.text_loss import TextLossConfig, text_loss
from synthdiv.files import Corpus
from synthdiv.reporting.outcomes import OUTCOMES, Outcome
from synthdiv.storage import told

_CHAT = ("auto", "on", "off")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How to evaluate. Gin name `Evaluate`.

    Attributes:
        num_fewshot: examples before each question; None: as each task's definition says, which is
            none in the paper's suite.
        limit: how many questions of each task are asked, from the first on; 0 for all.
        chat: ask in conversation: "on", "off", or "auto", which is on for a checkpoint that we
            fine-tuned.
        template: the conversations' template and system prompt. "auto" is the checkpoint's own:
            that of its fine-tuning, or the one beside its tokenizer.
        prefix_end_of_text: put end-of-text before every context. Training does; lm-eval's `hf` does
            not unless the tokenizer does, and the default gives its numbers. Conversations always
            begin with it.
        dtype: of the computation; "" for the checkpoint's own.
        batch_tokens: positions in a batch, over all devices; 0 chooses by the kind of device.
        max_length: the longest sequence read; 0 for the model's context. Longer contexts are cut on
            the left and counted.
        bootstrap: resamples for the standard error of metrics that are not means.
        log_samples: write every question and answer beside the results.
        text_loss: how much of a corpus is read for bits per byte.
    """

    num_fewshot: int | None = None
    limit: int = 0
    chat: str = "auto"
    template: ChatTemplate = ChatTemplate()
    prefix_end_of_text: bool = False
    dtype: str = ""
    batch_tokens: int = 0
    max_length: int = 0
    bootstrap: int = 1000
    log_samples: bool = False
    text_loss: TextLossConfig = TextLossConfig()

    def __post_init__(self) -> None:
        settle(self)
        if self.chat not in _CHAT:
            raise UserError(
                f"Evaluate.chat={self.chat!r} is not one of {', '.join(_CHAT)}"
                f"{closest(self.chat, _CHAT)}"
            )


def evaluate(
    checkpoint: str | Path,
    tasks: Sequence[str],
    output: str | Path | None = None,
    data_dir: str | Path | None = None,
    config: EvaluateConfig | None = None,
    corpora: Sequence[Corpus | str | Path] = (),
    tokenizer: str | Path | None = None,
    include_path: str | Path | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint.

    Args:
        checkpoint: one of ours, a workdir (its newest), or a Hugging Face Llama.
        tasks: see `load_tasks`; none with `corpora` alone.
        output: JSON file of the results. `OUTPUT.answers.sqlite` beside it keeps answers while the
            evaluation runs and afterwards, so that a killed one can resume. None writes nothing.
        data_dir: directory of the tasks' data files.
        config: how.
        corpora: texts to measure bits per byte on.
        tokenizer: for a checkpoint that has none.
        include_path: directory of more task definitions, as lm-eval's.

    Returns:
        lm-eval's results, and: `accuracy`, `stderr` and `tasks` (the mean over tasks of the metric
        that the paper reports, its standard error, and each task's), `chance` (the accuracy of
        guessing, None where a task is not multiple choice), `measures` (probability of the right
        answer and more, see `measures.py`, over multiple-choice tasks), `bits_per_byte` of the
        first corpus (None without one), `corpora` (all that is measured on each), `questions` (each
        question's hash, score and measures, for paired comparison), `truncated` (requests cut on
        the left).

    Raises:
        UserError: see `load_tasks`, `load_checkpoint`, `text_loss`; `output` cannot be written.
    """
    config = config or EvaluateConfig()
    output = files.check_file(output) if output is not None else None
    if not tasks and not corpora:
        raise UserError("nothing to evaluate: give `tasks`, `corpora`, or both")
    opened = [Corpus.of(c) for c in corpora]
    data_dir = Path(data_dir) if data_dir is not None else None
    loaded = load_tasks(list(tasks), data_dir, config.num_fewshot, include_path) if tasks else None
    if output is not None:
        files.output_dir(output.parent)

    from synthdiv.evaluation.checkpoint import load_checkpoint
    from synthdiv.evaluation.harness import SynthdivLM
    from synthdiv.evaluation.processes import is_first

    began = time.monotonic()
    lm = SynthdivLM(
        load_checkpoint(
            checkpoint, config.dtype, config.batch_tokens, config.max_length, tokenizer
        ),
        answers=None if output is None else output.with_name(output.name + ".answers.sqlite"),
        template=config.template,
        prefix_end_of_text=config.prefix_end_of_text,
    )
    if loaded:
        lm.places = loaded.places
    try:
        results, samples = _run_tasks(lm, loaded, config) if loaded else ({}, {})
        names = [corpus.name for corpus in opened]
        measured = {
            corpus.name if names.count(corpus.name) == 1 else corpus.origin: text_loss(
                lm, corpus, config.text_loss
            )
            for corpus in opened
        }
    finally:
        lm.store.close()
    first = next(iter(measured.values()), None)
    empty = {"accuracy": None, "stderr": None, "chance": None}
    results = empty | {"measures": {}, "tasks": {}, "questions": {}} | results
    results |= {
        "bits_per_byte": first and first["bits_per_byte"],
        "corpora": measured,
        "truncated": dict(lm.truncated),
        "checkpoint": told(checkpoint),
        "fingerprint": lm.checkpoint.fingerprint,
        "evaluate": dataclasses.asdict(config),
        "seconds": round(time.monotonic() - began, 3),
    }
    if output is not None and is_first():
        if config.log_samples:
            _write_samples(output, samples)
        files.write_json(output, results)
    return results


def _run_tasks(
    lm: Any, loaded: Tasks, config: EvaluateConfig
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    import lm_eval
    from lm_eval.evaluator import evaluate as run

    chat = config.chat == "on" or (config.chat == "auto" and lm.checkpoint.tuned)
    with quiet():
        found = run(
            lm=lm,
            task_dict=loaded.loaded,
            limit=config.limit or None,
            bootstrap_iters=config.bootstrap,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    samples = found.pop("samples")
    metrics = {name: _main_metric(name, found["higher_is_better"][name]) for name in loaded.names}
    questions = {
        name: _questions(loaded.loaded["tasks"][name], samples[name], metric)
        for name, metric in metrics.items()
        if metric is not None
    }
    summary = {
        name: _task_summary(found["results"][name], asked["metric"])
        | {
            "chance": asked["chance"].get("accuracy"),
            "measures": measures.summarize(asked["measures"], asked["chance"]),
        }
        for name, asked in questions.items()
    }
    results = _plain(dict(found)) | {
        "lm_eval_version": lm_eval.__version__,
        "tasks": summary,
        "chat": _chat(lm.template) if chat else None,
    }
    results |= _average(list(summary.values()))
    results["measures"] = measures.average(
        [one["measures"] for one in summary.values() if one["measures"]]
    )
    if PAPER in loaded.loaded["groups"]:
        paper = _average([summary[name] for name in PAPER_METRICS])
        entry = {
            "alias": PAPER,
            "average,none": paper["accuracy"],
            "average_stderr,none": paper["stderr"],
        }
        results["results"][PAPER] = entry
        results.setdefault("groups", {})[PAPER] = entry
    results["questions"] = questions
    results["data_files"] = {
        name: {"path": str(path), "sha256": files.sha256_file(path)}
        for name, path in loaded.files.items()
    }
    return results, samples


def _chat(template: ChatTemplate) -> dict[str, str]:
    return {"from": str(template.path), "template": template.source, "system": template.system}


def _main_metric(name: str, higher_is_better: dict[str, bool]) -> str | None:
    """The metric that represents a task: the paper's, or else the first common one it has."""
    if name in PAPER_METRICS:
        return PAPER_METRICS[name]
    usual = ("acc", "exact_match", "acc_norm", "f1")
    return next((metric for metric in usual if metric in higher_is_better), None)


def _task_summary(found: dict[str, Any], metric: str) -> dict[str, Any]:
    key = next(k for k in found if k.startswith(f"{metric},"))
    error = found.get(key.replace(",", "_stderr,", 1))
    return {
        "metric": metric,
        "value": float(found[key]),
        "stderr": float(error) if isinstance(error, int | float) else None,
        "questions": found["sample_len"],
    }


def _average(summaries: list[dict[str, Any]]) -> dict[str, float | None]:
    """The unweighted mean over tasks; its standard error takes the tasks as independent."""
    if not summaries:
        return {"accuracy": None, "stderr": None, "chance": None}
    errors, levels = ([s[key] for s in summaries] for key in ("stderr", "chance"))
    n = len(summaries)
    stderr = None if None in errors else math.sqrt(sum(e * e for e in errors)) / n
    chance = None if None in levels else sum(levels) / n
    return {"accuracy": sum(s["value"] for s in summaries) / n, "stderr": stderr, "chance": chance}


def _questions(task: Any, samples: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Each question's hash (of its content), score and measures; of the task's first filter."""
    kept = [s for s in samples if s["filter"] == samples[0]["filter"] and metric in s]
    kept.sort(key=lambda s: s["doc_id"])
    options = measures.read_options(task, kept)
    level = measures.chance(options) if options else {}
    if metric not in measures.CHOSEN:
        level.pop("accuracy", None)
    return {
        "metric": metric,
        "hashes": [s["doc_hash"][:16] for s in kept],
        "scores": [float(s[metric]) for s in kept],
        "measures": measures.measure(options) if options else {},
        "chance": level,
    }


def table(results: dict[str, Any]) -> str:
    """Returns the results' main figures as lines of text."""
    rows: list[tuple[str, ...]] = [("task", "metric", "value", "std. error", "chance", "of")]

    def add(name: str, metric: str, outcome: Outcome, found: Mapping[str, Any], of: str) -> None:
        figures = (found[key] for key in ("value", "stderr", "chance"))
        shown = ("" if f is None else outcome.text(f) + outcome.unit for f in figures)
        rows.append((name, metric, *shown, of))

    for name, task in results["tasks"].items():
        add(name, task["metric"], OUTCOMES["accuracy"], task, f"{task['questions']:,} questions")
    over = next(iter(results["tasks"]), "")
    if len(results["tasks"]) > 1:
        over = "average"
        whole = {key: results[key] for key in ("stderr", "chance")}
        of = f"{len(results['tasks'])} tasks"
        add(over, "", OUTCOMES["accuracy"], whole | {"value": results["accuracy"]}, of)
    for measure, found in results["measures"].items():
        of = f"{sum(measure in task['measures'] for task in results['tasks'].values())} tasks"
        add(over, measure, OUTCOMES[measure], found, of if over == "average" else "")
    for name, found in results.get("results", {}).items():
        for key, value in found.items() if name not in (*results["tasks"], PAPER) else ():
            metric, _, filtered = key.partition(",")
            if filtered and not metric.endswith("_stderr"):
                rows.append((name, metric, str(value), "", "", ""))
    for name, found in results["corpora"].items():
        whole = {"value": found["bits_per_byte"], "stderr": found["standard_error"]}
        of = f"{found['documents']:,} documents"
        add(name, "bits/byte", OUTCOMES["bits_per_byte"], whole | {"chance": None}, of)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = "<<>>><"  # words on the left, numbers on the right
    lines = [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        )
        for row in rows
    ]
    if results["truncated"]:
        cut = ", ".join(f"{name} {count:,}" for name, count in results["truncated"].items())
        lines.append(f"requests whose context was too long for the model, cut on the left: {cut}")
    return "\n".join(line.rstrip() for line in lines)


def _write_samples(output: Path, samples: dict[str, list[dict[str, Any]]]) -> None:
    import json

    for name, rows in samples.items():
        path = output.with_name(f"{output.stem}.samples.{name.replace('/', '_')}.jsonl")
        lines = (json.dumps(_plain(row), ensure_ascii=False) + "\n" for row in rows)
        files.write_text(path, "".join(lines))


def _plain(value: Any) -> Any:
    """Turns lm-eval's results into plain JSON: functions by name, NumPy numbers as numbers."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "item"):
        return _plain(value.item())
    return getattr(value, "__name__", str(value))
