"""What the models of a study are judged by: the outcomes in a cell's results, by name."""

from collections.abc import Mapping, Sequence
from typing import Any


def outcome_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a study keeps of an evaluation's results."""
    kept = {key: results[key] for key in ("accuracy", "stderr", "bits_per_byte", "tasks")}
    # Results of earlier versions have no more than that.
    return kept | {
        "chance": results.get("chance"),
        "measures": results.get("measures", {}),
        "texts": {
            name: {key: text[key] for key in ("bits_per_byte", "standard_error")}
            for name, text in results["corpora"].items()
        },
    }


def figures(outcome: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns `value`, `stderr` (over questions or documents) and `chance` of each outcome.

    Names are those of `reporting.outcomes`; bits per byte of the second held-out text and later
    ones are `bits_per_byte/NAME`.

    Args:
        outcome: of one model and phase in `study.json`.
    """
    found: dict[str, dict[str, Any]] = {}
    if outcome["accuracy"] is not None:
        found["accuracy"] = {
            "value": outcome["accuracy"],
            "stderr": outcome["stderr"],
            "chance": outcome.get("chance"),
        }
    for name, measure in outcome.get("measures", {}).items():
        found[name] = {key: measure[key] for key in ("value", "stderr", "chance")}
    if outcome["bits_per_byte"] is not None:
        texts = outcome.get("texts") or {"": {"bits_per_byte": outcome["bits_per_byte"]}}
        for place, (name, text) in enumerate(texts.items()):
            found[f"bits_per_byte/{name}" if place else "bits_per_byte"] = {
                "value": text["bits_per_byte"],
                "stderr": text.get("standard_error"),
                "chance": None,
            }
    return found


def mean_of(runs: Sequence[Any]) -> Any:
    """Returns the mean of several runs' results, figure by figure; None where one has none.

    Standard errors are of questions that all runs were asked, so that their mean stands for them.
    """
    first = runs[0]
    if isinstance(first, Mapping):
        return {key: mean_of([run[key] for run in runs]) for key in first}
    if isinstance(first, list):
        return [mean_of(list(each)) for each in zip(*runs, strict=True)]
    if None in runs:
        return None
    same = isinstance(first, str) or all(run == first for run in runs)
    return first if same else sum(runs) / len(runs)
