"""Writes a checkpoint as a Hugging Face Llama: safetensors, config.json and the tokenizer.

    synthdiv export --checkpoint=DIR --output=DIR

The checkpoint is one of ours or a workdir, whose newest one is taken. `transformers` and vLLM load
the output; in float32, the default, the weights are exactly those of the checkpoint.
"""

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
flags.DEFINE_string("checkpoint", None, "The checkpoint, or its workdir.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Directory for the Llama.", flag_values=FLAGS)
flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16", "float16"], "Of the weights.", flag_values=FLAGS
)


def main() -> None:
    from synthdiv import training
    from synthdiv.model import weights

    cli.required(FLAGS, "checkpoint", "output")
    cli.load(FLAGS)
    if FLAGS.dry_run:
        checkpoint = weights.find_checkpoint(FLAGS.checkpoint)
        config, tokenizer = weights.describe(checkpoint)
        size = config.parameters * (4 if FLAGS.dtype == "float32" else 2)
        whole = "with its tokenizer" if tokenizer else "without a tokenizer"
        print(f"{checkpoint}: {config.parameters:,} parameters, {size / 1e9:.2f} GB, {whole}")
        return
    print(training.export(FLAGS.checkpoint, FLAGS.output, FLAGS.dtype))


if __name__ == "__main__":
    cli.run(main, FLAGS)
