"""Makes topic seeds: a language model lists the topics that pages teach, and each is kept once.

    synthdiv topics --input=wikipedia.jsonl.gz --output=topics.jsonl --llm=openai --model=NAME

Writes JSONL, {"path": ["Field", ..., "Topic"], "keywords": [...]}, which `synthdiv generate`
reads. Answers are kept in OUTPUT.answers/ until you remove it, so the same command goes on where it
was. --dry_run tells calls, tokens and money beforehand.
"""

import dataclasses

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
flags.DEFINE_string("input", None, "Pages: a corpus, file or directory.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "JSONL file to write.", flag_values=FLAGS)
cli.text_flags(FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `make_topics`."""
    from pathlib import Path

    from synthdiv.claims import FINGERPRINT, check_claim, claim
    from synthdiv.files import check_file
    from synthdiv.generation import TopicsConfig, make_topics, plan_topics
    from synthdiv.llm import LLMConfig

    cli.required(FLAGS, "input", "output")
    config = cli.load(FLAGS, TopicsConfig, LLMConfig)
    settings = config.get(TopicsConfig)
    [pages], output = cli.open_corpora(FLAGS, [FLAGS.input]), check_file(FLAGS.output)
    answers = Path(f"{output}.answers")
    judge = cli.judge_settings(FLAGS, config)
    work = {
        "kind": "topics",
        "pages": pages.sha256,
        "text": FLAGS.text_template or FLAGS.text_column,
        "topics": dataclasses.asdict(settings),
        "judge": {"backend": judge.backend, "model": judge.model},
    }
    len(pages)  # reads them through: a broken line is refused before anything is written
    if FLAGS.dry_run:
        check_claim(answers / FINGERPRINT, work, "list of topics")
        with cli.open_session(FLAGS, config, answers) as session:
            print(plan_topics(pages, settings, session))
        return
    with (
        claim(answers / FINGERPRINT, work, "list of topics"),
        cli.open_session(FLAGS, config, answers) as session,
    ):
        counts = make_topics(pages, output, settings, session)
    print(
        f"{output}: {counts['topics']:,} topics out of {counts['found']:,} found on "
        f"{counts['pages']:,} pages; {counts['failed']:,} pages failed"
    )
    if session.backend == "offline":
        print(f"read by {session.model}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
