"""Filters a corpus: duplicates, evaluation questions, refusals, leaked prompts, broken texts.

    synthdiv filter --input=CORPUS --output=DIR
    synthdiv filter --input=CORPUS --output=DIR --data_dir=EVAL_DATA --against=questions.jsonl
    synthdiv filter --input=CORPUS --output=DIR --llm=openai --model=NAME --max_cost_usd=20

Writes the documents that stay, dropped.jsonl (which went, why, and the evidence) and a manifest
with counts. Which checks drop documents and which only count them is configuration, such as
--bind='Filter.drop = ("duplicate", "contaminated")'. With --llm a language model marks the quality
of what stays, from 1 to 5; --bind=Filter.least_quality=3 drops what is below. Killed at any moment,
the same command goes on where it was. --dry_run says what would be looked for.
"""

import contextlib

from absl import flags

from synthdiv import cli
from synthdiv.errors import UserError

FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
flags.DEFINE_string("input", None, "Corpus: file, directory, address.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Directory of the filtered corpus.", flag_values=FLAGS)
cli.text_flags(FLAGS)
flags.DEFINE_string(
    "data_dir", None, "Evaluation data, as `evaluate` takes it, to be kept out.", flag_values=FLAGS
)
flags.DEFINE_list("tasks", [], "Only these tasks of --data_dir.", flag_values=FLAGS)
cli.corpora_flag(FLAGS, "against", "Files of which no text may be in a document.")
cli.corpora_flag(FLAGS, "sources", "What rephrased texts were made from, for --llm.")
flags.DEFINE_integer("workers", None, "Processes; 0 for none.", lower_bound=0, flag_values=FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `filter_corpus`."""
    from pathlib import Path

    from synthdiv import curation
    from synthdiv.corpora import Corpus
    from synthdiv.files import check_apart
    from synthdiv.llm import LLMConfig

    cli.required(FLAGS, "input", "output")
    config = cli.load(FLAGS, curation.FilterConfig, LLMConfig)
    settings, output = config.get(curation.FilterConfig), Path(FLAGS.output)
    [corpus] = cli.open_corpora(FLAGS, [FLAGS.input])
    check_apart(output, corpus)
    engine = cli.engine_of(FLAGS)
    data_dir = Path(FLAGS.data_dir) if FLAGS.data_dir else None
    against = curation.Against(data_dir, FLAGS.tasks, FLAGS.against)
    if len(FLAGS.sources) > 1 or (FLAGS.sources and not FLAGS.llm):
        raise UserError("--sources takes one corpus, and --llm, who compares texts with it")
    with contextlib.ExitStack() as stack:
        judge = None
        if FLAGS.llm:
            session = stack.enter_context(cli.open_session(FLAGS, config, output))
            judge = curation.Judge(
                session, settings, Corpus(FLAGS.sources[0]) if FLAGS.sources else None
            )
        work = curation.FilterWork(corpus, settings, against, judge)
        if FLAGS.dry_run:
            print(curation.plan_filter(work, output))
            return
        manifest = curation.filter_corpus(work, output, FLAGS.workers, engine)
    dropped = manifest["dropped"]
    print(
        f"{output}: {manifest['documents']:,} of {manifest['input']['documents']:,} documents stay"
    )
    for reason, count in dropped["by_reason"].items():
        print(f"  {reason:<20} {count:>9,} dropped")
    for name in ("quality", "factuality"):
        if (mark := (manifest["marks"] or {}).get(name)) and mark["documents"]:
            print(f"  mean {name} {mark['mean']:.2f} of 5, by {manifest['judge']['model']}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
