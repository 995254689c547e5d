"""What fine-tuning and evaluation would take: the FLOPs of what they read, told before they do.

A token is taken to be four bytes. Of evaluation, forward passes are counted: the beginning that two
requests share once, and all that is read again at its place in the sequence. What a task has models
write is not counted.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from synthdiv.errors import UserError, needs_extra
from synthdiv.model.config import ModelConfig
from synthdiv.study.budget import TOKEN_BYTES
from synthdiv.study.config import STDLIB, Model, Plan
from synthdiv.study.work import Work

Read = tuple[float, float]  # tokens of a sequence that are read, and how long it is


def after_training(study: Plan, scratch: Path) -> dict[str, float | str]:
    """Returns FLOPs of all fine-tuning and of all evaluation, or why nobody can tell yet.

    Args:
        study: what to study.
        scratch: a directory for what a study makes itself: instructions, questions, held-out text.
    """
    work = Work(study, scratch)
    each = len(study.cells) * len(study.mixtures) * len(study.seeds)
    found: dict[str, float | str] = {}
    if "sft" in study.config.phases:
        found["fine-tuning"] = _told(lambda: each * _fine_tuning(study, work))
    found["evaluation"] = _told(lambda: each * len(study.config.phases) * _evaluation(study, work))
    return found


def _told(flops: Callable[[], float]) -> float | str:
    try:
        return flops()
    except UserError as error:
        return str(error)
    except ModuleNotFoundError as error:
        lacking = needs_extra(error)
        if lacking is None:
            raise
        return str(lacking)


def _fine_tuning(study: Plan, work: Work) -> float:
    """FLOPs of fine-tuning each model once."""
    from synthdiv.data import sft_examples

    if study.config.instructions == STDLIB:
        work.instructions()
    flops = 0.0
    for model in study.models:
        template = model.sft.template.of_model(None)
        examples = sft_examples(work.instructions_file, model.sft.format)
        flops += fine_tuning_flops(
            model, sum(_tokens(template.render(messages)) for messages in examples)
        )
    return flops


def fine_tuning_flops(model: Model, tokens: float) -> float:
    """FLOPs of fine-tuning on conversations of so many tokens, in whole batches.

    Args:
        model: and how it is fine-tuned.
        tokens: of all conversations.
    """
    sizes, config = model.pretrain.model, model.sft
    length = config.sequence_length or sizes.max_length
    sequences = math.ceil(tokens / length)
    steps = math.ceil(config.epochs * sequences / config.batch_size)
    return steps * config.batch_size * length * sizes.flops_per_token(length)


def _evaluation(study: Plan, work: Work) -> float:
    """FLOPs of evaluating each model once."""
    from synthdiv.evaluation.planning import requests_of
    from synthdiv.evaluation.tasks import load_tasks
    from synthdiv.evaluation.text_loss import read_texts

    config, how = study.config, study.evaluate
    requests: list[str] = []
    if config.tasks:
        if config.asks_the_world:
            work.questions()
        loaded = load_tasks(list(config.tasks), work.data_dir(), how.num_fewshot)
        for task in loaded.loaded["tasks"].values():
            requests += requests_of(task, how.limit)
    texts = [
        _tokens(text)
        for name in config.heldout
        for text in read_texts(work.heldout(name), how.text_loss)
    ]
    asked = reads(requests)
    return sum(
        evaluation_flops(model.pretrain.model, asked, texts, how.max_length)
        for model in study.models
    )


def reads(requests: Iterable[str]) -> list[Read]:
    """What is read for requests: each once, without the beginning that the one before has, too."""
    found: list[Read] = []
    before = b""
    for text in sorted({request.encode("utf-8", "replace") for request in requests}):
        shared = len(os.path.commonprefix([before, text]))
        found.append(((len(text) - shared) / TOKEN_BYTES, len(text) / TOKEN_BYTES))
        before = text
    return found


def evaluation_flops(
    sizes: ModelConfig, asked: Iterable[Read], texts: Sequence[float], longest: int = 0
) -> float:
    """FLOPs of one evaluation, a third of what training on as much takes.

    Args:
        sizes: of the model.
        asked: what is read for the tasks' requests.
        texts: tokens of each held-out document; a long one is read in windows.
        longest: sequence; 0: the model's context.
    """
    longest = min(longest or sizes.max_length, sizes.max_length)
    sequences = [(min(new, longest), min(length, longest)) for new, length in asked]
    for tokens in texts:
        windows = math.ceil(tokens / longest)
        sequences += [(longest, longest)] * windows if windows > 1 else [(tokens, tokens)]
    return sum(new * sizes.flops_per_token(round(length)) for new, length in sequences) / 3


def _tokens(text: str) -> float:
    return len(text.encode("utf-8", "replace")) / TOKEN_BYTES
