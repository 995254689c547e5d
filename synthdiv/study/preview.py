"""What a study would take, before it runs: calls, tokens, money, and FLOPs of training."""

import dataclasses
import tempfile
from pathlib import Path

from synthdiv import files
from synthdiv.study.config import Cell, Plan

_SAMPLE = 24  # documents, more than a round holds


def preview(plan: Plan) -> str:
    """Returns the plan in words and tables. Sends nothing and leaves nothing behind.

    In the place of a corpus that is yet to be generated, a few texts of the offline writer give the
    judge's prompts about the length that they will have.
    """
    from synthdiv.diversity.planning import plan_score
    from synthdiv.generation import plan_generation
    from synthdiv.llm import open_session

    parts: list[str] = [
        f"{len(plan.cells)} corpora x {len(plan.models)} models; written by {plan.writer.backend}, "
        f"judged by {plan.judge.backend}"
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for cell in plan.cells:
            if not cell.config.corpus:
                with open_session(plan.writer, None) as session:
                    writing = plan_generation(plan.topics, cell.generate, session)
                parts.append(f"{cell.name}: generate\n{writing}")
            corpus = _like(plan, cell, Path(scratch) / cell.name)
            with open_session(plan.judge, None) as session:
                judging = plan_score([corpus], plan.score, session)
            parts.append(f"{cell.name}: score\n{judging}")
    tokens = plan.config.real_tokens + plan.config.synthetic_tokens
    for model in plan.models:
        sizes = model.pretrain.model
        flops = sizes.flops_per_token(plan.tokenize.sequence_length) * tokens
        parts.append(
            f"{model.name}: {sizes.parameters:,} parameters, trained {len(plan.cells)} times on "
            f"{tokens:,} tokens ({flops:.3g} FLOPs each), then fine-tuned and evaluated twice"
        )
    return "\n\n".join(parts)


def _like(plan: Plan, cell: Cell, scratch: Path) -> files.Corpus:
    """Returns the cell's corpus, or a small one of the same kind."""
    from synthdiv.generation import generate
    from synthdiv.llm import LLMConfig, open_session

    if cell.config.corpus:
        return files.Corpus(cell.config.corpus, cell.config.text_column)
    topics = min(cell.generate.topics or _SAMPLE, _SAMPLE)
    few = dataclasses.replace(cell.generate, topics=topics, generations=-(-_SAMPLE // topics))
    with open_session(LLMConfig(), None) as session:
        generate(plan.topics, scratch, few, session)
    return files.Corpus(scratch)
