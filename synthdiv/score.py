"""Scores how diverse a corpus is, with a confidence interval.

    synthdiv score --input=corpus.jsonl --output=out --llm=openai --model=NAME
    synthdiv score --input=a.jsonl,b.jsonl --output=out --compare

A judge sorts a few documents at a time into clusters; more and smaller clusters mean more
diversity. Writes score.json, rounds.parquet and report.html; for several corpora, a directory for
each and comparison.json. Killed at any moment, the same command goes on where it was; stopped by a
cap, it writes a result of the rounds so far, marked as partial.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import flags

from synthdiv import cli

if TYPE_CHECKING:
    from synthdiv.diversity import ScoreConfig
    from synthdiv.files import Corpus
    from synthdiv.llm import LLMConfig

FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
cli.corpora_flag(FLAGS, "input", "Corpora: files, directories, patterns, addresses.")
flags.DEFINE_list("names", None, "What to call them; else as their files.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Directory to write to.", flag_values=FLAGS)
cli.text_flags(FLAGS)
flags.DEFINE_integer("rounds", None, "Clustering rounds (N).", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string(
    "criteria", None, "JSON file of criteria to use instead of asking for some.", flag_values=FLAGS
)
flags.DEFINE_bool("compare", False, "Judge all corpora by one set of criteria.", flag_values=FLAGS)
flags.DEFINE_float(
    "target_ci", None, "Stop when the 95% interval is mean +- this.", flag_values=FLAGS
)
flags.DEFINE_string(
    "labels", None, "Column of true classes: measures the judge.", flag_values=FLAGS
)
flags.DEFINE_float(
    "repeat_fraction", None, "Share of rounds asked again in another order.", flag_values=FLAGS
)
cli.seed_flag(FLAGS)
flags.DEFINE_string(
    "second_judge", None, "BACKEND or BACKEND:MODEL to measure agreement with.", flag_values=FLAGS
)


# What refines a score, or only adds to it, may change between two runs in one directory.
_MAY_CHANGE = (
    *("rounds", "target_ci", "repeat_fraction", "second_fraction", "labels"),
    *("bootstrap", "with_baselines", "baselines"),
)


def _work(corpora: "list[Corpus]", settings: "ScoreConfig", judge: "LLMConfig") -> dict[str, Any]:
    """What makes the score what it is, for the claim on its directory."""
    from synthdiv.config import find
    from synthdiv.files import sha256_file

    asked = dataclasses.asdict(settings)
    if settings.criteria:
        asked["criteria"] = sha256_file(find(settings.criteria))
    return {
        "kind": "score",
        "corpora": {corpus.name: corpus.sha256 for corpus in corpora},
        "text": FLAGS.text_template or FLAGS.text_column,
        "score": {name: value for name, value in asked.items() if name not in _MAY_CHANGE},
        "judge": {"backend": judge.backend, "model": judge.model},
        "compare": FLAGS.compare,
    }


def main() -> None:
    """Parses, reads the configuration, and calls `score_corpora`."""
    from contextlib import ExitStack
    from pathlib import Path

    from synthdiv.claims import FINGERPRINT, check_claim, claim
    from synthdiv.diversity import ScoreConfig, score_corpora
    from synthdiv.diversity.planning import plan_score
    from synthdiv.llm import LLMConfig

    cli.required(FLAGS, "input", "output")
    config = cli.load(FLAGS, ScoreConfig, LLMConfig)
    names = ("rounds", "criteria", "target_ci", "labels", "repeat_fraction", "seed")
    given: dict[str, Any] = {name: FLAGS[name].value for name in names}
    settings = config.get(ScoreConfig, **given)
    judge = cli.judge_settings(FLAGS, config)
    corpora = cli.open_corpora(FLAGS, FLAGS.input, FLAGS.names)
    work, record = _work(corpora, settings, judge), Path(FLAGS.output) / FINGERPRINT
    if FLAGS.dry_run:
        check_claim(record, work, "score")
        with cli.open_session(FLAGS, config, Path(FLAGS.output)) as session:
            print(plan_score(corpora, settings, session))
        return
    for corpus in corpora:
        len(corpus)  # reads it through: a broken line is refused before anything is written
    directory = record.parent
    with claim(record, work, "score"), ExitStack() as stack:
        session = stack.enter_context(cli.open_session(FLAGS, config, directory))
        second = None
        if FLAGS.second_judge:
            second = stack.enter_context(
                cli.open_session(FLAGS, config, directory, FLAGS.second_judge)
            )
        result = score_corpora(corpora, directory, settings, session, FLAGS.compare, second)
    print(result)
    if session.backend == "offline":
        print(f"judged by {session.model}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
