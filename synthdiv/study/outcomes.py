"""What the models of a study are judged by: the outcomes in a cell's results, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from synthdiv.study.regression import regress


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


def relate(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Relates every outcome that all cells have to their scores.

    Args:
        cells: as in `study.json`.

    Returns:
        {model: {phase: {outcome: what `regress` returns, `chance`, and `figures`: a cell each}}}.
    """
    scores = [cell["score"]["mean"] for cell in cells]
    found: dict[str, Any] = {}
    for model, phases in cells[0]["models"].items():
        for phase in phases:
            each = [figures(cell["models"][model][phase]) for cell in cells]
            found.setdefault(model, {})[phase] = {
                name: regress(scores, [one[name]["value"] for one in each])
                | {"chance": each[0][name]["chance"], "figures": [one[name] for one in each]}
                for name in each[0]
                if all(name in one for one in each)
            }
    return found
