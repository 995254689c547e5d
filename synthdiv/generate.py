"""Generates a corpus: texts about topics, written by a language model.

    synthdiv generate --topics=configs/topics/seeds.jsonl --output=corpus \\
        --config=configs/generate/topic.gin --llm=openai --model=NAME --max_cost_usd=20
    synthdiv generate --family=rephrase --sources=pages.jsonl --output=corpus --model=NAME ...
    synthdiv generate --output=corpus --config=configs/generate/loop.gin \\
        --target_effective_clusters=40 --judge=openai:JUDGE --model=NAME ...

A text is what its prompt family says. With a target the corpus grows in waves that are scored.
Killed at any moment, the same command goes on where it was; no answer is paid for twice.
"""

import contextlib

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
flags.DEFINE_string("topics", "configs/topics/seeds.jsonl", "JSONL of seeds.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Directory of the corpus.", flag_values=FLAGS)
names = "topic, topic_styles, topic_styles_persona, multi_topic_styles_persona, rephrase, extract"
what = f"Prompt family: {names}, instruct, or a directory of your own."
flags.DEFINE_string("family", None, what, flag_values=FLAGS)
cli.corpora_flag(FLAGS, "sources", "Real documents, for families that show them: any corpus.")
cli.text_flags(FLAGS)
cli.seed_flag(FLAGS)
for name, what in (("score", "The score"), ("effective_clusters", "The effective clusters")):
    flags.DEFINE_float(f"target_{name}", None, f"{what} to stop at.", flag_values=FLAGS)
flags.DEFINE_bool("waves", False, "Without target: until waves add nothing.", flag_values=FLAGS)
flags.DEFINE_string("judge", None, "BACKEND:MODEL that scores; the writer.", flag_values=FLAGS)


def main() -> None:
    """Parses, reads the configuration, and calls `generate`."""
    from pathlib import Path

    from synthdiv import generation as made
    from synthdiv.config import find
    from synthdiv.diversity import ScoreConfig
    from synthdiv.errors import UserError
    from synthdiv.llm import LLMConfig

    cli.required(FLAGS, "topics", "output")
    config = cli.load(FLAGS, made.GenerateConfig, made.LoopConfig, ScoreConfig, LLMConfig)
    settings = config.get(made.GenerateConfig, family=FLAGS.family, seed=FLAGS.seed)
    targets = ("target_score", "target_effective_clusters")
    loop = config.get(made.LoopConfig, **{name: FLAGS[name].value for name in targets})
    if FLAGS.waves and loop.target is not None:
        raise UserError("--waves grows without a target, and there is one: leave one of them out")
    topics, output = find(FLAGS.topics), Path(FLAGS.output)
    if len(FLAGS.sources) > 1:
        raise UserError("--sources takes one corpus; a pattern or directory may hold several files")
    sources = cli.open_corpora(FLAGS, FLAGS.sources)[0] if FLAGS.sources else None
    made.check_apart(output, topics, sources)  # before answers are kept there
    with contextlib.ExitStack() as stack:
        asked = [*(settings.writers or [None]), FLAGS.judge]
        opened = (cli.open_session(FLAGS, config, output, one) for one in asked)
        *sessions, judge = map(stack.enter_context, opened)
        score = config.get(ScoreConfig, seed=FLAGS.seed)
        growing = (topics, output, settings, loop, score, sessions, judge, sources)
        waves = loop.target is not None or FLAGS.waves
        if FLAGS.dry_run:
            plain = (topics, settings, sessions, output, sources)
            print(made.plan_growth(*growing) if waves else made.plan_generation(*plain))
            return
        whole = (topics, output, settings, sessions, sources)
        manifest = made.grow(*growing) if waves else made.generate(*whole)
    about = f"{manifest['topics']:,} topics" if manifest["topics"] else "its sources"
    documents, failed = manifest["documents"], manifest["requests"]["failed"]
    tokens = f"about {manifest['tokens']['estimated']:,} tokens"
    print(f"{output}: {documents:,} documents on {about}, {tokens}, {failed:,} failed")
    if sessions[0].backend == "offline":
        print(f"written by {sessions[0].model}")


if __name__ == "__main__":
    cli.run(main, FLAGS)
