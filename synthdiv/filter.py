"""Filters a corpus: duplicates, evaluation questions, refusals, leaked prompts, broken texts.

    synthdiv filter --input=CORPUS --output=DIR
    synthdiv filter --input=CORPUS --output=DIR --data_dir=EVAL_DATA --against=questions.jsonl

Writes the documents that stay, dropped.jsonl (which went, why, and the evidence) and a manifest
with counts. Which checks drop documents and which only count them is configuration, such as
--bind='Filter.drop = ("duplicate", "contaminated")'. Killed at any moment, the same command goes
on where it was. --dry_run says what would be looked for.
"""

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
flags.DEFINE_string("input", None, "Corpus: file, directory, address.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Directory of the filtered corpus.", flag_values=FLAGS)
cli.text_flags(FLAGS)
flags.DEFINE_string(
    "data_dir", None, "Evaluation data, as `evaluate` takes it, to be kept out.", flag_values=FLAGS
)
flags.DEFINE_list("tasks", [], "Only these tasks of --data_dir.", flag_values=FLAGS)
cli.corpora_flag(FLAGS, "against", "Files of which no text may be in a document.")
flags.DEFINE_integer("workers", None, "Processes; 0 for none.", lower_bound=0, flag_values=FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `filter_corpus`."""
    from pathlib import Path

    from synthdiv.curation import Against, FilterConfig, FilterWork, filter_corpus, plan_filter

    cli.required(FLAGS, "input", "output")
    settings = cli.load(FLAGS, FilterConfig).get(FilterConfig)
    [corpus] = cli.open_corpora(FLAGS, [FLAGS.input])
    data_dir = Path(FLAGS.data_dir) if FLAGS.data_dir else None
    against = Against(data_dir, FLAGS.tasks, FLAGS.against)
    work, output = FilterWork(corpus, settings, against), Path(FLAGS.output)
    if FLAGS.dry_run:
        print(plan_filter(work, output))
        return
    manifest = filter_corpus(work, output, FLAGS.workers)
    dropped = manifest["dropped"]
    print(
        f"{output}: {manifest['documents']:,} of {manifest['input']['documents']:,} documents stay"
    )
    for reason, count in dropped["by_reason"].items():
        print(f"  {reason:<20} {count:>9,} dropped")


if __name__ == "__main__":
    cli.run(main, FLAGS)
