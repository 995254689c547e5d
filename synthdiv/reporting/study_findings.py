"""What a study found and what it cannot tell, in sentences computed from its figures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synthdiv.reporting.outcomes import Outcome, outcome_named
from synthdiv.reporting.pages import Metric
from synthdiv.reporting.study_statistics import (
    CONFOUNDS,
    FEWEST,
    Fit,
    fits_of,
    phase_name,
    too_few,
)
from synthdiv.reporting.tables import SIGNIFICANT

Study = Mapping[str, Any]

_TOGETHER = 0.7  # a correlation from which what two things do can hardly be told apart
_UNRELIABLE = 0.8  # reliability of scores below which their errors matter


def primary(study: Study) -> tuple[str, str, str, Fit] | None:
    """The line that answers the study's question; None where nothing was measured.

    Bits per byte of the first held-out text where there is one, since it has the least noise, else
    the first outcome; of the last model, which by convention is the largest, before fine-tuning.
    """
    lines = list(fits_of(study))
    if not lines:
        return None
    model, phase = lines[-1][0], lines[0][1]
    of_model = [one for one in lines if one[:2] == (model, phase)] or lines
    return next((one for one in of_model if one[2] == "bits_per_byte"), of_model[0])


def finding(study: Study) -> str:
    """The finding in one sentence."""
    line = primary(study)
    if line is None:
        return "Nothing was measured of these models."
    model, phase, name, fit = line
    outcome, n, seeds = outcome_named(name), fit["n"], fit["seeds"]
    if few := too_few(n):
        return few
    who = phase_name(model, phase)
    runs = f"{n} corpora" + (f" with {seeds} training runs each" if seeds > 1 else "")
    means = [cell["score"]["mean"] for cell in study["cells"]]
    if max(means) == min(means):
        return f"All {n} corpora have the same score: nothing can be said of what it does."
    if fit["pearson"] is None:
        return f"All {n} corpora led to the same {outcome.title} of {who}."
    if fit["slope"] is None:
        return (
            f"Nothing can be said: the errors of the scores of these {n} corpora hide whatever "
            "line there is. More rounds a score, and corpora that differ more, would show it."
        )
    low, high = fit["ci95"]
    about = (
        f"per unit of LLM cluster score, {outcome.title} ({who}) changes by "
        f"{_amount(outcome, fit['slope'])} (95% interval {_amount(outcome, low, False)} to "
        f"{_amount(outcome, high)}; Pearson {fit['pearson']:+.2f}; {runs})"
    )
    if low <= 0 <= high:
        return f"These corpora do not show that diversity helps or harms: {about}."
    better = (fit["slope"] > 0) == outcome.higher_is_better
    made = "better" if better else "worse"
    if fit["p_holm"] is not None and fit["p_holm"] >= SIGNIFICANT:
        return (
            f"The more diverse corpora seem to make {made} models, but not beyond doubt: {about}; "
            f"corrected for all {len(list(fits_of(study)))} lines of this study, p is "
            f"{fit['p_holm']:.3f}."
        )
    return f"The more diverse corpora make {made} models: {about}."


def findings(study: Study, metrics: Mapping[str, Metric]) -> list[str]:
    """The finding and what belongs beside it, in sentences."""
    said = [finding(study)]
    line = primary(study)
    if line is None or line[3]["n"] < FEWEST:
        return said
    said += [_counted(study), _at_chance(study), _beside(line[3], line[2])]
    return [one for one in [*said, _others(line[3], metrics)] if one]


def _amount(outcome: Outcome, value: float, unit: bool = True) -> str:
    beside = " points" if unit and outcome.unit == "%" else ""
    return outcome.text(value, "+") + beside


def _counted(study: Study) -> str:
    """How many lines of all are told apart from a flat one."""
    lines = list(fits_of(study))
    if len(lines) < 2:
        return ""
    better: list[str] = []
    worse: list[str] = []
    for model, phase, name, fit in lines:
        told = fit["slope"] is not None and fit["p_holm"] is not None
        if told and fit["p_holm"] < SIGNIFICANT:
            outcome = outcome_named(name)
            up = fit["observed"]["slope"] > 0
            which = better if up == outcome.higher_is_better else worse
            which.append(f"{outcome.title} of {phase_name(model, phase)}")
    words = f"Of {len(lines)} lines in all, with p corrected for their number, "
    if not (better or worse):
        return f"{words}none is told apart from a flat one."
    words += f"{len(better)} show{'s' * (len(better) == 1)} better models at higher scores"
    words += f" ({_some(better)})" if better else ""
    words += f", and {len(worse)} worse ones"
    return words + (f" ({_some(worse)})." if worse else ".")


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _at_chance(study: Study) -> str:
    """Whether models answer above chance, where they were asked questions."""
    for model, phase, name, fit in fits_of(study):
        if name == "accuracy" and fit["chance"] is not None:
            above = [
                one for one in fit["figures"]
                if one["value"] - 1.96 * (one["stderr"] or 0.0) > fit["chance"]
            ]  # fmt: skip
            values = [100 * one["value"] for one in fit["figures"]]
            who = f"{phase_name(model, phase)} models"
            span = f"from {min(values):.1f}% to {max(values):.1f}%, where chance is"
            return (
                f"In accuracy, {len(above)} of {fit['n']} {who} are above chance beyond their "
                f"interval: they go {span} {100 * fit['chance']:.1f}%."
            )
    return ""


def _beside(fit: Fit, name: str) -> str:
    """What is left of the correlation when what else differs is held fixed."""
    known = {key: one for key, one in fit["given"].items() if one["pearson"] is not None}
    if not known or fit["pearson"] is None:
        return ""
    parts = ", ".join(
        f"{one['pearson']:+.2f} given {CONFOUNDS[key]}{_doubt(one)}" for key, one in known.items()
    )
    title = outcome_named(name).title
    return f"The correlation of score and {title}, {fit['pearson']:+.2f}, is {parts}."


def _doubt(one: Mapping[str, Any]) -> str:
    """Whether a partial correlation may as well be none."""
    if one["pearson_ci95"] is None:
        return " (too few corpora for an interval)"
    low, high = one["pearson_ci95"]
    return " (the interval holds zero)" if low <= 0 <= high else ""


def _others(fit: Fit, metrics: Mapping[str, Metric]) -> str:
    """Which other metric goes with the outcome most closely."""
    known = {
        metrics[name].title: one["pearson"]
        for name, one in fit["metrics"].items()
        if name in metrics and one["pearson"] is not None
    }
    if not known or fit["pearson"] is None:
        return ""
    closest = max(known, key=lambda name: abs(known[name]))
    closer = sum(abs(one) > abs(fit["pearson"]) for one in known.values())
    return (
        f"Of {len(known)} other metrics, {closer} go with it more closely than the score does; the "
        f"closest is {closest} (Pearson {known[closest]:+.2f})."
    )


def limits(study: Study) -> list[str]:
    """What the study cannot tell, from its own figures."""
    return [*_of_corpora(study), *_of_training(study), *_of_confounds(study)]


def _of_corpora(study: Study) -> Iterator[str]:
    line = primary(study)
    origins = [cell.get("origin") or {} for cell in study["cells"]]
    if any(one.get("judge_backend") == "offline" for one in origins):
        yield (
            "Diversity was judged by the offline stand-in, which knows words and no meaning. Its "
            "scores put corpora in an order; they are no language model's."
        )
    writers = {one.get("written_by") for one in origins}
    if len(writers) == 1 and None not in writers and len(origins) > 1:
        yield f"All corpora are of one source ({writers.pop()}); others may behave otherwise."
    if line is None:
        return
    _, _, name, fit = line
    if fit["ci95"] is not None and fit["pearson"] is not None:
        outcome, (low, high) = outcome_named(name), fit["ci95"]
        yield (
            f"{fit['n']} corpora were chosen, not drawn from all there could be. What is found of "
            f"them is found with an error of \u00b1{outcome.text((high - low) / 2)} in the slope: "
            f"a smaller effect on {outcome.title} would not have been seen."
        )
    if fit["reliability"] is not None and fit["reliability"] < _UNRELIABLE:
        yield (
            f"Of the differences between the scores, {100 * (1 - fit['reliability']):.0f}% are "
            "their own errors: more rounds would make them surer."
        )


def _of_training(study: Study) -> Iterator[str]:
    trained = study.get("trained") or {}
    if trained:
        sizes = sorted({one["parameters"] for one in trained.values()})
        read = sorted({round(one["tokens"]) for one in trained.values()})
        yield (
            f"Models of {_span(sizes)} parameters read {_span(read)} tokens. Whether larger models "
            "that read more behave alike, this study does not say."
        )
    if len(study["seeds"]) == 1:
        yield (
            "Every model was trained once, so that the noise of training cannot be told from what "
            "else corpora do."
        )
    epochs = [cell["corpus"].get("epochs") for cell in study["cells"]]
    known = [one for one in epochs if one is not None]
    if known and max(known) > 1.1 * min(known):
        yield (
            f"Corpora were read from {_times(min(known))} to {_times(max(known))} times: the "
            "smaller ones more often."
        )


def _times(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _span(values: Sequence[float]) -> str:
    ends = f"{values[0]:,}", f"{values[-1]:,}"
    return ends[0] if len(values) == 1 else " to ".join(ends)


def _of_confounds(study: Study) -> Iterator[str]:
    """What else goes with the score so closely that the two can hardly be told apart."""
    cells = study["cells"]
    if len(cells) < FEWEST:
        return
    scores = [cell["score"]["mean"] for cell in cells]
    corpora = [cell["corpus"] for cell in cells]
    columns = {
        "tokens": [one["tokens"] for one in corpora],
        "document_length": [one["tokens"] / max(one["documents"], 1) for one in corpora],
        "perplexity": [cell["baselines"].get("perplexity") for cell in cells],
    }
    for name, values in columns.items():
        r = None if None in values else _correlation(scores, values)
        if r is not None and abs(r) >= _TOGETHER:
            apart = (max(values) / min(values) - 1) * 100
            yield (
                f"More diverse corpora have {'more' if r > 0 else 'less'} {CONFOUNDS[name]} "
                f"(Pearson {r:+.2f}; the highest is {apart:.0f}% above the lowest): what each of "
                "the two does can hardly be told apart."
            )


def _correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    middle = sum(x) / len(x), sum(y) / len(y)
    left, right = [one - middle[0] for one in x], [one - middle[1] for one in y]
    size = math.hypot(*left) * math.hypot(*right)
    if size <= 1e-12 * max(map(abs, (*x, *y))) ** 2:
        return None
    return sum(a * b for a, b in zip(left, right, strict=True)) / size
