"""Makes topic seeds: from pages that a language model reads, or from lists that there are already.

    synthdiv topics --input=wikipedia.jsonl.gz --output=topics.jsonl --llm=openai --model=NAME
    synthdiv topics --input=openalex.jsonl,outline.txt,topics.csv --output=topics.jsonl

Pages are any corpus, HTML files and MediaWiki dumps too. Lists are text with a topic a line,
outlines, tables with a column `topic`, and nested JSON. Each topic is kept once: OUTPUT is JSONL,
{"path": ["Field", ..., "Topic"], "keywords": [...], "sources": [...]}, which `synthdiv generate`
reads; *.merged.jsonl beside it tells what was merged into what and why. Answers are kept in
OUTPUT.answers/ until you remove it, so the same command goes on where it was. --dry_run tells
calls, tokens and money beforehand.
"""

import dataclasses

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
cli.corpora_flag(FLAGS, "input", "Pages, or lists of topics: files, with commas between.")
flags.DEFINE_string("output", None, "JSONL file to write.", flag_values=FLAGS)
kinds = "What the input is: pages, list, tree, table or nested; by default as it looks."
flags.DEFINE_string("from", None, kinds, flag_values=FLAGS)
branches = "Topics whose upper two levels are the branches that pages' topics are put under."
flags.DEFINE_string("tree", None, branches, flag_values=FLAGS)
cli.text_flags(FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `make_topics`."""
    from pathlib import Path

    from synthdiv import generation as made
    from synthdiv.claims import FINGERPRINT, check_claim, claim
    from synthdiv.files import check_apart, check_file
    from synthdiv.llm import LLMConfig
    from synthdiv.progress import say

    cli.required(FLAGS, "input", "output")
    config = cli.load(FLAGS, made.TopicsConfig, LLMConfig)
    settings = config.get(made.TopicsConfig, tree=FLAGS.tree)
    column = None if FLAGS.text_template else FLAGS.text_column
    for path in ((output := check_file(FLAGS.output)), made.merged_path(output)):
        check_apart(path, *FLAGS.input, *filter(None, [FLAGS.tree]))
    listed, paged = made.read_listings(FLAGS.input, FLAGS["from"].value, column)
    if paged is None:
        if FLAGS.dry_run:
            print(f"{len(listed):,} topics are listed; no language model is asked")
        else:
            print(made.told(output, made.make_topics(None, output, settings, listed=listed)))
        return
    [pages], answers = cli.open_corpora(FLAGS, [paged]), Path(f"{output}.answers")
    say(f"{paged}: read as {len(pages):,} pages")
    judge = cli.judge_settings(FLAGS, config)
    work = {
        "kind": "topics",
        "pages": pages.sha256,
        "text": FLAGS.text_template or FLAGS.text_column,
        "topics": dataclasses.asdict(settings),
        "judge": {"backend": judge.backend, "model": judge.model},
    }
    if FLAGS.dry_run:
        check_claim(answers / FINGERPRINT, work, "list of topics")
        with cli.open_session(FLAGS, config, answers) as session:
            print(made.plan_topics(pages, settings, session))
        return
    with (
        claim(answers / FINGERPRINT, work, "list of topics"),
        cli.open_session(FLAGS, config, answers) as session,
    ):
        print(made.told(output, made.make_topics(pages, output, settings, session, listed)))
    if session.backend == "offline":
        print(f"read by {session.model}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
