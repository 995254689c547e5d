"""Generates a corpus: texts about topics, written by a language model.

    synthdiv generate --topics=configs/topics/seeds.jsonl --output=corpus \\
        --config=configs/generate/topic.gin --llm=openai --model=NAME --max_cost_usd=20

    synthdiv generate --family=rephrase --sources=pages.jsonl --output=corpus --model=NAME ...

A text is a few passages with questions, or a source in another form, as its prompt family says.
Writes Parquet shards and, when all is there, manifest.json. Killed at any moment, the same command
goes on where it was; no answer is paid for twice. --dry_run tells calls, tokens and money before.
"""

import contextlib

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
flags.DEFINE_string(
    "topics", "configs/topics/seeds.jsonl", "JSONL file of topic seeds.", flag_values=FLAGS
)
flags.DEFINE_string("output", None, "Directory of the corpus.", flag_values=FLAGS)
flags.DEFINE_string(
    "family",
    None,
    "Prompt family: topic, topic_styles, topic_styles_persona, multi_topic_styles_persona, "
    "rephrase, extract, instruct, or a directory of your own.",
    flag_values=FLAGS,
)
cli.corpora_flag(FLAGS, "sources", "Real documents, for families that show them: any corpus.")
cli.text_flags(FLAGS)
cli.seed_flag(FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `generate`."""
    from pathlib import Path

    from synthdiv.config import find
    from synthdiv.errors import UserError
    from synthdiv.generation import GenerateConfig, generate, plan_generation
    from synthdiv.llm import LLMConfig

    cli.required(FLAGS, "topics", "output")
    config = cli.load(FLAGS, GenerateConfig, LLMConfig)
    settings = config.get(GenerateConfig, family=FLAGS.family, seed=FLAGS.seed)
    topics, output = find(FLAGS.topics), Path(FLAGS.output)
    if len(FLAGS.sources) > 1:
        raise UserError("--sources takes one corpus; a pattern or directory may hold several files")
    sources = cli.open_corpora(FLAGS, FLAGS.sources)[0] if FLAGS.sources else None
    with contextlib.ExitStack() as stack:
        opened = [
            cli.open_session(FLAGS, config, output, one) for one in settings.writers or [None]
        ]
        sessions = [stack.enter_context(session) for session in opened]
        if FLAGS.dry_run:
            print(plan_generation(topics, settings, sessions, output, sources))
            return
        manifest = generate(topics, output, settings, sessions, sources)
    about = f"{manifest['topics']:,} topics" if manifest["topics"] else "its sources"
    print(
        f"{output}: {manifest['documents']:,} documents on {about}, about "
        f"{manifest['tokens']['estimated']:,} tokens, {manifest['requests']['failed']:,} failed"
    )
    if sessions[0].backend == "offline":
        print(f"written by {sessions[0].model}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
