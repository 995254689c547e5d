"""A judge's validation attached to a score, to show how far the number can be trusted.

Only the validation of the same judge, asked in the same way, says anything about a score.
"""

from pathlib import Path
from typing import Any

from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.prompts import load_prompts
from synthdiv.errors import UserError
from synthdiv.files import read_json, sha256_file
from synthdiv.llm import Session


def attached(config: ScoreConfig, session: Session) -> dict[str, Any]:
    """`judge` of score.json: who judged, and a summary of the validation that the score names.

    Raises:
        UserError: there is no such file, it holds no validation, or one of another judge or of
            another way of asking.
    """
    judge = {"backend": session.backend, "model": session.model}
    path = config.validation
    if path is None:
        return judge
    content = read_json(path)
    try:
        return _attached(content, path, config, session, judge)
    except (AttributeError, KeyError, TypeError, ValueError):  # whatever else a file may hold
        raise UserError(f"{path} holds no validation of a judge") from None


def _attached(
    content: Any, path: str | Path, config: ScoreConfig, session: Session, judge: dict[str, Any]
) -> dict[str, Any]:
    if not isinstance(content, dict) or not content.get("trials"):
        raise ValueError("no trials")
    validated = content["judge"]["model"]
    if validated != session.model:
        raise UserError(f"{path} validates {validated!r}, and the judge is {session.model!r}")
    prompts, size = load_prompts(config.prompts), config.documents_per_round
    asked = content["config"]
    for trial in content["trials"]:
        same = (
            trial.get("judge", content["judge"])["model"] == session.model
            and trial["prompts_sha256"] == prompts.sha256
            and trial["documents_per_round"] == size
            and trial.get("verify") in (None, config.verify)
            and asked.get("explain", True) == config.explain
            and (prompts.way != "rule" or asked["level"] == config.level)
        )
        if same:
            summary = _summary(
                content, trial, config.level if prompts.way == "values" else "clusters"
            )
            return judge | {"validation": {"sha256": sha256_file(path)} | summary}
    raise UserError(
        f"{path} validates other ways of asking: none with the prompts in {config.prompts},"
        f" {size} documents a round, verify={config.verify} and explain={config.explain}"
    )


def _summary(content: dict[str, Any], trial: dict[str, Any], scale: str) -> dict[str, Any]:
    """What a reader of the score wants to know of a trial."""
    kept = ("ari", "ari_ci95", "v_measure", "rises", "largest_difference")
    shown = ("classes", "rounds", "score", "perfect_judge")
    retest = (trial["test_retest"] or {}).get(scale) or {}
    return {
        "corpus": content["corpus"]["name"],
        "scale": scale,
        "labels": {
            column: {name: scales[scale].get(name) for name in kept}
            | {"mixtures": [{n: one[n] for n in shown} for one in scales[scale]["mixtures"]]}
            for column, scales in trial["labels"].items()
        },
        "test_retest": {"ari": retest.get("ari"), "rounds": retest.get("rounds", 0)},
        "position_bias": {"p_value": trial["position_bias"].get("p_value")},
    }
