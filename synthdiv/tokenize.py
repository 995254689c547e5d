"""Turns a corpus into packed sequences of tokens, which pretrain reads.

    synthdiv tokenize --input=CORPUS --output=DIR --tokenizer=TOKENIZER

TOKENIZER is a Hugging Face tokenizer.json, a SentencePiece .model, a directory that holds one, a
name on the Hugging Face hub, or `bpe` or `sentencepiece` to train one on the corpora first
(Tokenizer.vocab_size says how large). Several corpora, --input=A,B, share the tokenizer and go to
DIR/NAME each. Interrupted and run again, it goes on after the shards that are there.
"""

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
cli.corpora_flag(FLAGS, "input", "The corpus, or several.")
flags.DEFINE_string("output", None, "Directory for the tokens.", flag_values=FLAGS)
flags.DEFINE_string("tokenizer", None, "Which tokenizer; see above.", flag_values=FLAGS)
cli.text_flags(FLAGS)
cli.engine_flags(FLAGS)
flags.DEFINE_integer(
    "sequence_length", None, "Tokens a sequence.", lower_bound=2, flag_values=FLAGS
)
flags.DEFINE_integer("workers", None, "Processes; 0 for none.", lower_bound=0, flag_values=FLAGS)


def main() -> None:
    from synthdiv import data
    from synthdiv.files import check_dir
    from synthdiv.plans import Plan

    cli.required(FLAGS, "input", "output", "tokenizer")
    config = cli.load(FLAGS, data.TokenizeConfig, data.TokenizerConfig)
    trained = FLAGS.tokenizer in data.TOKENIZER_KINDS
    corpora = cli.open_corpora(FLAGS, FLAGS.input)
    tokenizer = config.get(
        data.TokenizerConfig,
        path=None if trained else FLAGS.tokenizer,
        kind=FLAGS.tokenizer if trained else None,
    )
    settings = config.get(
        data.TokenizeConfig, sequence_length=FLAGS.sequence_length, workers=FLAGS.workers
    )
    engine = cli.engine_of(FLAGS)
    if FLAGS.dry_run:
        check_dir(FLAGS.output)
        done = data.estimate_tokens(corpora, tokenizer, settings)
    else:
        done = data.tokenize_corpora(corpora, FLAGS.output, tokenizer, settings, engine)
    facts = {
        tokens["corpus_name"]: (
            f"{'about ' * FLAGS.dry_run}{tokens['tokens']:,} tokens in "
            f"{tokens['sequences']:,} sequences of {settings.sequence_length}, out of "
            f"{tokens['documents']:,} documents of {tokens['bytes']:,} bytes"
            + (f", in about {tokens['seconds']:,.0f} s" if tokens.get("seconds") else "")
        )
        for tokens in done
    }
    print(Plan(facts))


if __name__ == "__main__":
    cli.run(main, FLAGS)
