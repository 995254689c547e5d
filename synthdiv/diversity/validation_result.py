"""What a validation came to: validation.json as a value, as text for a terminal, as a summary."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.diversity.content import Content
from synthdiv.errors import Paused, UserError
from synthdiv.files import read_json, write_json, write_text
from synthdiv.plans import text_table

if TYPE_CHECKING:
    from synthdiv.diversity.trials import Asked

FILE = "validation.json"
_PRECISE = ("calls", "tokens")  # of what a standard error of 0.05 takes
ROUNDS = "rounds.jsonl"


def trials_of(path: str | Path, measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The trials of another validation.json, to stand beside those of this one.

    Args:
        path: the file.
        measured: what this validation is about: corpus, labels, rounds, seed.

    Raises:
        UserError: there is no such file, it holds no validation, or one of something else.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content.get("trials"):
        raise UserError(f"{path} holds no validation of a judge")
    for name, value in measured.items():
        if content.get(name) != value:
            raise UserError(f"{path} cannot stand beside this validation: its {name} differs")
    try:
        model = content["judge"]["model"]
        return [
            trial | {"judge": content["judge"], "name": f"{trial['name']}, {model}"}
            for trial in content["trials"]
            if trial["judge"] == content["judge"]  # and not what stood beside it in its turn
        ]
    except (KeyError, TypeError):
        raise UserError(f"{path} holds no validation of a judge") from None


class PartialValidation(Paused):
    """A cap has stopped a validation.

    Attributes:
        result: what there is so far.
    """

    def __init__(self, pause: Paused, result: "ValidationResult", directory: str | Path) -> None:
        partial = result["partial"]
        super().__init__(
            f"{partial['mixtures_answered']} of {partial['mixtures_planned']} mixtures are"
            f" answered, their PARTIAL validation is in {directory}; {pause}",
            pause.flags,
        )
        self.result = result


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ValidationResult(Content):
    """How well a judge knows the classes of labelled documents.

    Attributes:
        content: what validation.json holds; `result["trials"]` is `result.content["trials"]`.
        asked: the mixtures of each trial, with every round.
    """

    content: Mapping[str, Any]
    asked: tuple[Sequence["Asked"], ...] = ()

    @property
    def judge(self) -> str:
        """The name of the model that judged."""
        return str(self.content["judge"]["model"])

    def write(self, directory: str | Path) -> None:
        """Writes validation.json, rounds.jsonl and report.html into a directory."""
        from synthdiv.diversity.trials import rounds_of
        from synthdiv.reporting.validation_page import write_validation_page

        lines = (
            json.dumps(line, ensure_ascii=False) + "\n"
            for trial, asked in zip(self.content["trials"], self.asked, strict=False)
            for line in rounds_of(trial["name"], asked)
        )
        write_text(Path(directory) / ROUNDS, "".join(lines))
        write_json(Path(directory) / FILE, self.content)
        write_validation_page(directory)

    def __repr__(self) -> str:
        return f"ValidationResult({len(self.content['trials'])} trials judged by {self.judge})"

    def __str__(self) -> str:
        """All trials in one table, then each of them."""
        blocks = [_overview(self.content)]
        for trial in self.content["trials"]:
            for column in trial["labels"]:
                title = f"{trial['name']}, classes of {column!r}"
                blocks.append(f"{title}\n\n{_mixtures(trial, column)}\n\n{_scales(trial, column)}")
            blocks.append("\n".join(_sentences(trial)))
        return "\n\n".join(blocks)


def score_range(found: Mapping[str, Any]) -> str:
    """The scores of the mixtures, from the fewest classes to all."""
    return ", ".join(_figure((one["score"] or {}).get("mean")) for one in found["mixtures"])


def _overview(content: Mapping[str, Any]) -> str:
    head: tuple[str, ...] = (
        *("prompts", "K", "verified", "labels", "level", "ARI", "V", "retest", "scores"),
        *("off by", "rises", "calls", "tokens", "USD", "calls for 0.05", "tokens for 0.05"),
    )
    several = len({trial["judge"]["model"] for trial in content["trials"]}) > 1
    head = ("judge", *head) if several else head
    rows = []
    for trial in content["trials"]:
        headline = trial["headline"]
        for column, scales in trial["labels"].items():
            found = scales[headline]
            rows.append(
                (
                    *([trial["judge"]["model"]] if several else []),
                    trial["prompts"],
                    str(trial["documents_per_round"]),
                    {True: "yes", False: "no", None: "-"}[trial["verify"]],
                    column,
                    headline,
                    _figure(found.get("ari")),
                    _figure(found.get("v_measure")),
                    _figure((trial["test_retest"] or {}).get(headline, {}).get("ari")),
                    score_range(found),
                    _figure(found["largest_difference"]),
                    "yes" if found["rises"] else "no",
                    f"{trial['calls']['sent'] + trial['calls']['cached']:,}",
                    f"{sum(trial['tokens'].values()):,}",
                    _figure(trial["cost_usd"]),
                    *(_count((trial["for_standard_error"] or {}).get(n)) for n in _PRECISE),
                )
            )
    return text_table(head, rows, left=1 + several)


def _mixtures(trial: Mapping[str, Any], column: str) -> str:
    """Scores of the mixtures at the headline beside a perfect judge's."""
    rows = [
        (
            str(one["classes"]),
            str(one["rounds"]),
            _interval(one["perfect_judge"]),
            _interval(one["score"]),
            _interval(one["difference"], "+.2f"),
            _figure(one["ari"]),
        )
        for one in trial["labels"][column][trial["headline"]]["mixtures"]
    ]
    head = ("classes", "rounds", "perfect judge", trial["headline"], "difference", "ARI")
    return text_table(head, rows)


def _scales(trial: Mapping[str, Any], column: str) -> str:
    """What every level, or the clusters, have of the classes."""
    scales = trial["labels"][column]
    first = next(iter(scales.values()))["mixtures"]
    head = (
        *("level", "ARI", "V", "precision", "recall", "retest"),
        "scores of " + ", ".join(str(one["classes"]) for one in first),
    )
    rows = [
        (
            name,
            _interval({"mean": found.get("ari"), "ci95": found.get("ari_ci95")}),
            _figure(found.get("v_measure")),
            _figure(found.get("pair_precision")),
            _figure(found.get("pair_recall")),
            _figure((trial["test_retest"] or {}).get(name, {}).get("ari")),
            score_range(found),
        )
        for name, found in scales.items()
    ]
    return text_table(head, rows)


def _sentences(trial: Mapping[str, Any]) -> list[str]:
    """What else was measured, in words."""
    bias, rounds = trial["position_bias"], trial["rounds"]
    lines = [
        f"{rounds['asked']:,} rounds, {rounds['invalid']:,} invalid,"
        f" {rounds['repaired']:,} repaired",
        f"place in the round: p = {_figure(bias['p_value'], '.4f')}; neighbours put together"
        f" {_figure(bias['neighbours'])} of the time, any two {_figure(bias['pairs'])}:"
        f" p = {_figure(bias['neighbours_p_value'], '.4f')}",
    ]
    if trial["second_judge"]:
        found = trial["second_judge"][trial["headline"]]
        lines.append(
            f"second judge, {found['rounds']:,} rounds: ARI {_figure(found['ari'])},"
            f" its score less this one's {_interval(found['difference'], '+.2f')}"
        )
    return lines


def _figure(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _interval(found: Mapping[str, Any] | None, form: str = ".2f") -> str:
    if found is None or found["mean"] is None:
        return "-"
    low, high = found.get("ci95") or (None, None)
    ends = "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
    return f"{found['mean']:{form}}{ends}"
