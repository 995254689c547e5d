"""Writes a checkpoint as a Hugging Face Llama, or a corpus in another format, with a card.

    synthdiv export --checkpoint=DIR --output=DIR
    synthdiv export --corpus=CORPUS --format=tfds --output=DIR

The checkpoint is one of ours, a workdir (its newest), or ORG/NAME on the hub. `transformers` and
vLLM load the output; in float32, the default, the weights are exactly those of the checkpoint.
The corpus is whatever the other commands read; `tfds.data_source(NAME, data_dir=DIR)` reads the
output of --format=tfds, `datasets.load_from_disk(DIR/NAME)` that of --format=hf; jsonl and parquet
are for all others. Beside it goes a data set card, README.md, with the score of --score in it.
"""

from absl import flags

from synthdiv import cli
from synthdiv.errors import UserError

FLAGS = cli.command(__doc__)
flags.DEFINE_string("checkpoint", None, "The checkpoint, or its workdir.", flag_values=FLAGS)
flags.DEFINE_string("corpus", None, "A corpus to write instead.", flag_values=FLAGS)
flags.DEFINE_enum(
    "format", None, ["tfds", "jsonl", "hf", "parquet"], "Of the corpus.", flag_values=FLAGS
)
flags.DEFINE_string("score", None, "Directory of the corpus's score.", flag_values=FLAGS)
cli.text_flags(FLAGS)
flags.DEFINE_string("output", None, "Directory to write to.", flag_values=FLAGS)
flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16", "float16"], "Of the weights.", flag_values=FLAGS
)


def main() -> None:
    if FLAGS.corpus:
        _export_corpus()
        return
    from synthdiv import training

    cli.required(FLAGS, "checkpoint", "output")
    cli.load(FLAGS)
    if FLAGS.dry_run:
        print(training.plan_export(FLAGS.checkpoint, FLAGS.dtype))
    else:
        print(training.export(FLAGS.checkpoint, FLAGS.output, FLAGS.dtype))


def _export_corpus() -> None:
    from pathlib import Path

    from synthdiv.data.corpus_export import export_corpus, plan_corpus_export
    from synthdiv.files import read_json
    from synthdiv.reporting.card import write_export_card

    cli.required(FLAGS, "format", "output")
    cli.load(FLAGS)
    if FLAGS.checkpoint:
        raise UserError("--checkpoint and --corpus are two exports: give one of them")
    [corpus] = cli.open_corpora(FLAGS, [FLAGS.corpus])
    if FLAGS.dry_run:
        print(plan_corpus_export(corpus, FLAGS.format, FLAGS.output))
    else:
        if FLAGS.score:
            read_json(Path(FLAGS.score) / "score.json")  # a wrong path is told before the work
        target = export_corpus(corpus, FLAGS.format, FLAGS.output)
        write_export_card(corpus, target, FLAGS.score)
        print(target)


if __name__ == "__main__":
    cli.run(main, FLAGS)
