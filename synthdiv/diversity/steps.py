"""The steps of a score, one after the other, as a pause for the answers of batch files tells them.

The last ones cost by far the most, so a pause leaves what is judged by where people can read it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import Basis, sets_json
from synthdiv.diversity.prompts import load_prompts
from synthdiv.files import output_dir, write_json
from synthdiv.llm import Awaiting, Steps

CRITERIA = "criteria.json"


def steps_of(config: ScoreConfig) -> Steps:
    """Returns the steps that a score takes, and the stages of each."""
    prompts = load_prompts(config.prompts)
    rounds = prompts.stage, f"second_{prompts.stage}"
    steps: dict[str, Sequence[str]] = {}
    if prompts.facets:
        if config.criteria is None:
            steps = {"notes": ["notes"], "gathering": ["gathering"]}
            if config.coverage_documents:
                steps["coverage (where it is low, notes and gathering once more)"] = ["coverage"]
    elif config.criteria is None:
        gathering = ["gather_metadata", "gather_metrics"]
        steps = {"criteria": ["criteria"], "gathering": gathering, "summary": ["summary"]}
    steps[prompts.stage] = rounds
    if prompts.review and config.verify:
        steps[prompts.review] = [prompts.review]
    if config.target_ci is not None:
        *_, last = steps
        steps[f"{last}, and all of it anew until the interval is narrow enough"] = steps.pop(last)
    return steps


@contextlib.contextmanager
def readable(
    directory: Path | str | None, config: ScoreConfig, sets: Callable[[], Sequence[Basis]]
) -> Iterator[None]:
    """Where the rounds await their answers, writes down what they are judged by.

    Args:
        directory: to write criteria.json into; None for nowhere.
        config: nothing is written where it names criteria.
        sets: returns the criteria sets or codebooks that are there.
    """
    try:
        yield
    except Awaiting as pause:
        if directory is None or config.criteria is not None or not sets():
            raise
        path = output_dir(directory) / CRITERIA
        write_json(path, sets_json(sets()))
        words = (
            f"what is judged by can be read in {path}, and a changed copy of it be given"
            " as `criteria=FILE` to a score in another directory"
        )
        message = "; ".join(filter(None, [str(pause), words]))
        raise Awaiting(message, pause.flags, pause.stages) from None
