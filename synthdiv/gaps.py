"""Says what a scored corpus lacks and what it has too much of, and what to generate next.

    synthdiv score --input=corpus --output=scored --config=configs/score/levels.gin \\
        --criteria=configs/score/criteria/pretraining-1.json --llm=openai --model=NAME
    synthdiv gaps --score=scored --topics=configs/topics/seeds.jsonl
    synthdiv generate --topics=scored/seeds.jsonl --output=more ...

Values of the score's codebooks, and branches of a topic tree (--topics), with no or few documents;
values, or groups of clusters, that have far more than an even share. Asks no language model: it
counts what the score has read. Writes gaps.json, and topic seeds as seeds.jsonl, beside the score
or to --output.
"""

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
flags.DEFINE_string("score", None, "Directory of a score.", flag_values=FLAGS)
flags.DEFINE_string("topics", None, "JSONL of topic seeds: a tree to look in.", flag_values=FLAGS)
flags.DEFINE_integer(
    "depth", 2, "Levels of the tree that are looked at.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_string("output", None, "Directory to write to; the score's own.", flag_values=FLAGS)


def main() -> None:
    """Parses and calls `find_gaps`."""
    from synthdiv.config import find
    from synthdiv.files import output_dir, write_json, write_text
    from synthdiv.generation.gaps import find_gaps

    cli.required(FLAGS, "score")
    cli.load(FLAGS)
    found = find_gaps(FLAGS.score, FLAGS.topics and find(FLAGS.topics), FLAGS.depth)
    print(found)
    if FLAGS.dry_run:
        return
    directory = output_dir(FLAGS.output or FLAGS.score)
    write_json(directory / "gaps.json", found.as_json())
    seeds = directory / "seeds.jsonl"
    if found.seeds:
        write_text(seeds, found.seed_lines())
        print(f"\n{seeds}: {len(found.seeds):,} topics to generate next")
    else:
        seeds.unlink(missing_ok=True)  # an earlier run's would not be this one's
        print("\nno topic is known to be missing")


if __name__ == "__main__":
    cli.run(main, FLAGS)
