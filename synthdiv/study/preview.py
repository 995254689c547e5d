"""What a study would take, before it runs: calls, tokens, money, and FLOPs of training."""

import dataclasses
import tempfile
from pathlib import Path

from synthdiv import files, plans
from synthdiv.study.config import Cell, Plan

_SAMPLE = 24  # documents, more than a round holds


def preview(study: Plan) -> plans.Plan:
    """Returns what a study would take. Sends nothing and leaves nothing behind.

    In the place of a corpus that is yet to be generated, a few texts of the offline writer give the
    judge's prompts about the length that they will have.

    Raises:
        UserError: as `plan_score` and `plan_generation`; `inputs_of` looks at the rest.
    """
    from synthdiv.diversity.planning import plan_score
    from synthdiv.generation import plan_generation
    from synthdiv.llm import open_session

    about = {
        "study": f"{len(study.cells)} corpora x {len(study.models)} models x "
        f"{len(study.seeds)} seeds; written by {study.writer.backend}, "
        f"judged by {study.judge.backend}"
    }
    parts: dict[str, plans.Plan] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for cell in study.cells:
            if not cell.config.corpus:
                with open_session(study.writer, None, asking=False) as session:
                    parts[f"{cell.name}: generate"] = plan_generation(
                        study.topics, cell.generate, session
                    )
            corpus = _like(study, cell, Path(scratch) / cell.name)
            with open_session(study.judge, None, asking=False) as session:
                parts[f"{cell.name}: score"] = plan_score([corpus], study.score, session)
    tokens = study.config.real_tokens + study.config.synthetic_tokens
    times = len(study.cells) * len(study.seeds)
    models = {}
    for model in study.models:
        sizes = model.pretrain.model
        flops = sizes.flops_per_token(study.tokenize.sequence_length) * tokens
        models[model.name] = (
            f"{sizes.parameters:,} parameters, trained {times} times on "
            f"{tokens:,} tokens ({flops:.3g} FLOPs each), then fine-tuned and evaluated twice"
        )
    return plans.Plan(about, parts=parts | {"models": plans.Plan(models)})


def _like(study: Plan, cell: Cell, scratch: Path) -> files.Corpus:
    """Returns the cell's corpus, or a small one of the same kind."""
    from synthdiv.generation import generate
    from synthdiv.llm import LLMConfig, open_session

    if cell.config.corpus:
        return files.Corpus(cell.config.corpus, cell.config.text_column)
    topics = min(cell.generate.topics or _SAMPLE, _SAMPLE)
    few = dataclasses.replace(cell.generate, topics=topics, generations=-(-_SAMPLE // topics))
    with open_session(LLMConfig(), None) as session:
        generate(study.topics, scratch, few, session)
    return files.Corpus(scratch)
