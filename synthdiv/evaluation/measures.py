"""What log likelihoods of a question's options say beyond which option is the likeliest.

Accuracy near chance is mostly noise. These measures come from the same log likelihoods and move
long before accuracy does, so that small models can be told apart by them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Metrics that count which option is the likeliest: guessing has a chance of being right.
CHOSEN = ("acc", "acc_norm", "acc_bytes")


@dataclasses.dataclass(frozen=True)
class Options:
    """One multiple-choice question and what the model made of it; arrays are over K options.

    Attributes:
        log_likelihoods: natural logarithms.
        characters: of the options, what lm-eval's `acc_norm` divides by.
        sizes: UTF-8 bytes of the continuations whose likelihoods these are.
        right: which option is right.
    """

    log_likelihoods: np.ndarray
    characters: np.ndarray
    sizes: np.ndarray
    right: int


def read_options(task: Any, samples: Sequence[Mapping[str, Any]]) -> list[Options]:
    """Returns the questions of a multiple-choice task of lm-eval, as many as `samples`.

    Returns:
        Nothing for a task of another kind, and for one with a question that has several right
        answers or none.
    """
    if getattr(task, "OUTPUT_TYPE", "") != "multiple_choice":
        return []
    found = []
    for sample in samples:
        choices = task.doc_to_choice(sample["doc"])
        # Where the options stand in the context, the right one is told by `doc_to_text`.
        told = task.doc_to_text if task.multiple_input else task.doc_to_target
        right = told(sample["doc"])
        if isinstance(right, str):
            right = choices.index(right) if right in choices else -1
        if not isinstance(right, int | np.integer) or not 0 <= right < len(choices):
            return []
        asked = range(len(choices))  # after them lm-eval may have asked without a context
        found.append(
            Options(
                np.array([sample["filtered_resps"][k][0] for k in asked], np.float64),
                np.array([len(choice) for choice in choices], np.float64),
                np.array([len(sample["arguments"][k][1].encode()) for k in asked], np.float64),
                int(right),
            )
        )
    return found


def measure(questions: Sequence[Options]) -> dict[str, list[float]]:
    """Measures each question.

    Returns:
        `probability`: of the right answer, if one of the options is certain to come (softmax over
        their log likelihoods); `probability_norm`: the same of log likelihoods a character;
        `answer_bits_per_byte`: -log2 of the right answer's own likelihood over its UTF-8 bytes;
        `brier`: the sum over options of (probability - 1 if right)^2, from 0 to 2. Lists over
        questions.
    """
    found: dict[str, list[float]] = {
        name: [] for name in ("probability", "probability_norm", "answer_bits_per_byte", "brier")
    }
    for one in questions:
        plain = _softmax(one.log_likelihoods)
        by_length = _softmax(one.log_likelihoods / np.maximum(one.characters, 1))
        bits = -one.log_likelihoods[one.right] / math.log(2)
        truth = np.arange(len(plain)) == one.right
        found["probability"].append(float(plain[one.right]))
        found["probability_norm"].append(float(by_length[one.right]))
        found["answer_bits_per_byte"].append(float(bits / one.sizes[one.right]))
        found["brier"].append(float(np.square(plain - truth).sum()))
    return found


def chance(questions: Sequence[Options]) -> dict[str, float]:
    """What a model that finds all options equally likely has, by measure; also `accuracy`.

    With K options that is 1 / K of accuracy and probability, and a Brier score of 1 - 1 / K; the
    mean over questions. Bits per byte have no such level.
    """
    guess = float(np.mean([1 / len(one.log_likelihoods) for one in questions]))
    brier = 1 - guess
    return {
        "accuracy": guess,
        "probability": guess,
        "probability_norm": guess,
        "brier": brier,
    }


def summarize(
    values: Mapping[str, Sequence[float]], at_chance: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Returns `value`, `stderr`, `ci95` (Student's t over questions) and `chance` by measure."""
    from scipy.stats import t

    found = {}
    for name, each in values.items():
        n, mean = len(each), float(np.mean(each))
        error = float(np.std(each, ddof=1) / math.sqrt(n)) if n > 1 else None
        half = None if error is None else float(t.ppf(0.975, n - 1)) * error
        found[name] = {
            "value": mean,
            "stderr": error,
            "ci95": None if half is None else [mean - half, mean + half],
            "chance": at_chance.get(name),
        }
    return found


def average(tasks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The unweighted mean over tasks of each measure that all of them have, with its chance level.

    The standard error takes tasks as independent; the interval is normal.

    Args:
        tasks: of each, what `summarize` returned.
    """
    shared = [name for name in (tasks[0] if tasks else ()) if all(name in one for one in tasks)]
    found = {}
    for name in shared:
        columns = {key: [one[name][key] for one in tasks] for key in tasks[0][name]}
        n = len(tasks)
        mean = sum(columns["value"]) / n
        errors, levels = columns["stderr"], columns["chance"]
        error = None if None in errors else math.sqrt(sum(e * e for e in errors)) / n
        found[name] = {
            "value": mean,
            "stderr": error,
            "ci95": None if error is None else [mean - 1.96 * error, mean + 1.96 * error],
            "chance": None if None in levels else sum(levels) / n,
        }
    return found


def _softmax(log_likelihoods: np.ndarray) -> np.ndarray:
    shifted = np.exp(log_likelihoods - log_likelihoods.max())
    return shifted / shifted.sum()
