"""Measures a judge on labelled documents, before its scores are believed.

    synthdiv validate --input=labelled.jsonl --labels=topic --output=out --llm=openai --model=NAME
    synthdiv validate --input=labelled.jsonl --labels=topic --output=out \\
        --prompts=prompts/score,prompts/rule,prompts/levels --verify=on,off

The judge scores mixtures of 1, 2, 4, ... and all classes of each column of labels. Says how far its
clusters, or its values at each level, are the classes; how its scores of the mixtures stand beside
those of a perfect judge; whether it repeats itself in another order, and whether a document's place
plays a part; and what it took. Several prompts, sizes, with and without verification, and judges
(--beside) make one table. Writes validation.json and report.html. Killed at any moment, the same
command goes on where it was; stopped by a cap, it writes what there is, marked as partial.
"""

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
flags.DEFINE_string("input", None, "Labelled corpus: file, directory, address.", flag_values=FLAGS)
flags.DEFINE_list("labels", [], "Columns of classes.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Directory to write to.", flag_values=FLAGS)
cli.text_flags(FLAGS)
flags.DEFINE_list("prompts", [], "Directories of prompts to compare.", flag_values=FLAGS)
cli.numbers_flag(FLAGS, "documents_per_round", "Documents of a round (K); several are compared.")
flags.DEFINE_enum("verify", None, ["on", "off", "on,off"], "Of clusters.", flag_values=FLAGS)
flags.DEFINE_list(
    "beside", [], "validation.json of other judges, for the same table.", flag_values=FLAGS
)
flags.DEFINE_integer("rounds", 40, "Rounds of each mixture.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string(
    "criteria", None, "JSON file of criteria to use instead of asking for some.", flag_values=FLAGS
)
flags.DEFINE_float(
    "repeat_fraction", 0.25, "Share of rounds asked again in another order.", flag_values=FLAGS
)
flags.DEFINE_string(
    "second_judge", None, "BACKEND or BACKEND:MODEL to measure agreement with.", flag_values=FLAGS
)
cli.seed_flag(FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `validate`."""
    from pathlib import Path

    from synthdiv.claims import FINGERPRINT, check_claim, claim
    from synthdiv.diversity import ScoreConfig, Validation, plan_validation, validate
    from synthdiv.llm import LLMConfig

    cli.required(FLAGS, "input", "labels", "output")
    config = cli.load(FLAGS, ScoreConfig, LLMConfig)
    names = ("rounds", "criteria", "repeat_fraction", "seed")
    settings = config.get(ScoreConfig, **{name: FLAGS[name].value for name in names})
    judge = cli.judge_settings(FLAGS, config)
    (corpus,) = cli.open_corpora(FLAGS, [FLAGS.input])
    verify = [word == "on" for word in (FLAGS.verify or "").split(",") if word]
    compared = (FLAGS.prompts, FLAGS.documents_per_round, verify, FLAGS.beside)
    what = Validation(corpus, tuple(FLAGS.labels), settings, *map(tuple, compared))
    directory = Path(FLAGS.output)
    claimed = directory / FINGERPRINT, what.work(judge), "validation"
    if FLAGS.dry_run:
        check_claim(*claimed)
        with cli.open_session(FLAGS, config, directory) as session:
            print(plan_validation(what, session))
        return
    with claim(*claimed), cli.open_judges(FLAGS, config, directory) as (session, second):
        result = validate(what, directory, session, second)
    print(result)
    print(f"\njudged by {result.judge}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
