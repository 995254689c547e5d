"""Scores how diverse a corpus is, with a confidence interval.

    synthdiv score --input=corpus.jsonl --output=out --llm=openai --model=NAME
    synthdiv score --input=a.jsonl,b.jsonl --output=out --compare

A judge sorts a few documents at a time into clusters; more and smaller clusters mean more
diversity. Writes score.json, rounds.parquet and report.html; for several corpora, a directory for
each and comparison.json. Killed at any moment, the same command goes on where it was; stopped by a
cap, it writes a result of the rounds so far, marked as partial.
"""

from absl import flags

from synthdiv import cli

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
flags.DEFINE_string(
    "validation", None, "validation.json of this judge, shown with the score.", flag_values=FLAGS
)
cli.seed_flag(FLAGS)
flags.DEFINE_string(
    "second_judge", None, "BACKEND or BACKEND:MODEL to measure agreement with.", flag_values=FLAGS
)


def main() -> None:
    """Parses, reads the configuration, and calls `score_corpora`."""
    from pathlib import Path

    from synthdiv.diversity import ScoreConfig, check_score_claim, claim_score, score_corpora
    from synthdiv.diversity.planning import plan_score
    from synthdiv.llm import LLMConfig

    cli.required(FLAGS, "input", "output")
    config = cli.load(FLAGS, ScoreConfig, LLMConfig)
    names = ("rounds", "criteria", "target_ci", "labels", "repeat_fraction", "validation", "seed")
    settings = config.get(ScoreConfig, **{name: FLAGS[name].value for name in names})
    judge = cli.judge_settings(FLAGS, config)
    corpora = cli.open_corpora(FLAGS, FLAGS.input, FLAGS.names)
    directory = Path(FLAGS.output)
    claimed = directory, corpora, settings, judge, FLAGS.compare
    if FLAGS.dry_run:
        check_score_claim(*claimed)
        with cli.open_session(FLAGS, config, directory) as session:
            print(plan_score(corpora, settings, session))
        return
    command = cli.command_line("score")
    with claim_score(*claimed), cli.open_judges(FLAGS, config, directory) as (session, second):
        result = score_corpora(
            corpora, directory, settings, session, FLAGS.compare, second, command
        )
    print(result)
    print(f"page: {directory / 'report.html'}")
    if session.backend == "offline":
        print(f"judged by {session.model}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
