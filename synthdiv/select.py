"""Selects the most diverse part of a corpus: so many documents, or tokens, at a quality floor.

    synthdiv select --input=CORPUS --output=DIR --documents=10000
    synthdiv select --input=CORPUS --output=DIR --tokens=5000000 --score=SCORED \\
        --bind=Select.least_quality=3

Writes the part as DIR/diverse, and random, longest and de-duplicated ones of the same size beside
it, each a corpus, with the baseline metrics of all in selection.json. --score gives every cluster
that a score has found an even share; without it, documents go that are far from all others. A
floor is of marks in a column, such as `filter --llm` writes. Tokens are estimated as words x 4/3.
"""

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
flags.DEFINE_string("input", None, "Corpus: file, directory, address.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Directory to write to.", flag_values=FLAGS)
cli.text_flags(FLAGS)
flags.DEFINE_integer("documents", None, "Select so many.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer(
    "tokens",
    None,
    "Or at most so many, estimated as words x 4/3.",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_string("score", None, "Directory of a score of the corpus.", flag_values=FLAGS)
flags.DEFINE_integer("workers", None, "Processes; 0 for none.", lower_bound=0, flag_values=FLAGS)
cli.seed_flag(FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `select`."""
    from pathlib import Path

    from synthdiv.curation import selection

    cli.required(FLAGS, "input", "output")
    names = ("documents", "tokens", "score", "seed")
    values = {name: FLAGS[name].value for name in names}
    config = cli.load(FLAGS, selection.SelectConfig).get(selection.SelectConfig, **values)
    [corpus] = cli.open_corpora(FLAGS, [FLAGS.input])
    output = Path(FLAGS.output)
    if FLAGS.dry_run:
        print(selection.plan_selection(corpus, config, output))
        return
    told = selection.select(corpus, output, config, FLAGS.workers)
    print(selection.selection_table(told))
    size = told["parts"]["diverse"]["documents"]
    print(f"\n{output}/diverse: {size:,} of {told['input']['documents']:,} documents")


if __name__ == "__main__":
    cli.run(main, FLAGS)
