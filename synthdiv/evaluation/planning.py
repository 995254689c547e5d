"""What an evaluation would do: questions, requests, tokens, memory; nothing is run or written."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synthdiv.errors import UserError
from synthdiv.evaluation.run import EvaluateConfig
from synthdiv.evaluation.tasks import load_tasks, quiet
from synthdiv.files import Corpus
from synthdiv.plans import Plan

if TYPE_CHECKING:
    from lm_eval.api.task import Task


def plan(
    checkpoint: str | Path,
    tasks: Sequence[str],
    data_dir: str | Path | None = None,
    config: EvaluateConfig | None = None,
    corpora: Sequence[Corpus] = (),
    tokenizer: str | Path | None = None,
    include_path: str | Path | None = None,
) -> Plan:
    """Returns what `evaluate` would do with the same arguments.

    Raises:
        UserError: whatever `evaluate` would refuse before it runs the model.
    """
    from synthdiv.evaluation.checkpoint import tokenizer_of
    from synthdiv.model.weights import describe, find_checkpoint

    config = config or EvaluateConfig()
    if not tasks and not corpora:
        raise UserError("nothing to evaluate: give `tasks`, `corpora`, or both")
    found = find_checkpoint(checkpoint)
    model, tokenizer_dir = describe(found)
    loaded_tokenizer = tokenizer_of(found, tokenizer or tokenizer_dir)
    size = model.parameters * (4 if (config.dtype or model.dtype) == "float32" else 2)
    parameters = f"{model.parameters:,} parameters, {size / 1e9:,.2f} GB on each device"
    facts = {"checkpoint": f"{found}: {parameters}"}
    if tasks:
        loaded = load_tasks(
            list(tasks),
            None if data_dir is None else Path(data_dir),
            config.num_fewshot,
            include_path,
        )
        for name, task in loaded.loaded["tasks"].items():
            requests = requests_of(task, config.limit)
            tokens = sum(map(len, loaded_tokenizer.encode_batch(list(set(requests)))))
            asked = min(len(task.eval_docs), config.limit or len(task.eval_docs))
            facts[name] = (
                f"{asked:,} questions, {len(requests):,} requests, {tokens:,} tokens "
                f"(before shared beginnings are read once), from "
                f"{loaded.files.get(name, task.config.dataset_path)}"
            )
    for corpus in corpora:
        facts[f"bits per byte on {corpus.origin}"] = f"{len(corpus):,} documents"
    return Plan(facts)


def requests_of(task: "Task", limit: int = 0) -> list[str]:
    """Returns what a model is given to read in each request of a task: question and answer.

    Args:
        task: of lm-eval.
        limit: as `EvaluateConfig.limit`.
    """
    with quiet():
        task.build_all_requests(limit=limit or None)
    return [
        "".join(part for part in request.args[:2] if isinstance(part, str))
        for request in task.instances
    ]
