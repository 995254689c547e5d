"""Writes text with a checkpoint: after one prompt, or after every line of a file.

    synthdiv sample --checkpoint=DIR --prompt="The assert statement"
    synthdiv sample --checkpoint=DIR --input=prompts.jsonl --output=written.jsonl --temperature=0.7

DIR is one of our checkpoints, a workdir (its newest), a Hugging Face Llama, or ORG/NAME on the hub.
A line of the input has a `prompt` or `messages`; in the output it also has `completion`, `tokens`
and `ended` (the model ended it itself). A checkpoint with a chat template takes a prompt for what a
user says, unless --bind="Sample.chat='off'". Interrupted and run again, it goes on from what is
written.
"""

from absl import flags

from synthdiv import cli
from synthdiv.errors import UserError

FLAGS = cli.command(__doc__)
flags.DEFINE_string("checkpoint", None, "Who writes.", flag_values=FLAGS)
flags.DEFINE_string("prompt", None, "What to write on from.", flag_values=FLAGS)
flags.DEFINE_string("input", None, "JSON lines of prompts, instead.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "JSON lines to write, with --input.", flag_values=FLAGS)
flags.DEFINE_string("tokenizer", None, "For a checkpoint that has none.", flag_values=FLAGS)
flags.DEFINE_integer(
    "max_new_tokens", None, "Tokens written at most (128).", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_float(
    "temperature", None, "Of the draws; 0, the default: none, greedy.", flag_values=FLAGS
)
flags.DEFINE_float(
    "top_p", None, "Draw from the likeliest tokens that reach this sum (1).", flag_values=FLAGS
)
cli.seed_flag(FLAGS)


def main() -> None:
    from synthdiv import evaluation

    cli.required(FLAGS, "checkpoint")
    config = cli.load(FLAGS, evaluation.SampleConfig).get(
        evaluation.SampleConfig,
        max_new_tokens=FLAGS.max_new_tokens,
        temperature=FLAGS.temperature,
        top_p=FLAGS.top_p,
        seed=FLAGS.seed,
    )
    if (FLAGS.prompt is None) == (FLAGS.input is None):
        raise UserError("give --prompt or --input, one of them")
    if FLAGS.input:
        cli.required(FLAGS, "output")
    if FLAGS.dry_run:
        rows = evaluation.read_prompts(FLAGS.input) if FLAGS.input else [{"prompt": FLAGS.prompt}]
        prompts = [row["prompt"] if "prompt" in row else row["messages"] for row in rows]
        print(evaluation.plan_sample(FLAGS.checkpoint, prompts, config, FLAGS.tokenizer))
    elif FLAGS.input:
        print(
            evaluation.sample_file(
                FLAGS.checkpoint, FLAGS.input, FLAGS.output, config, FLAGS.tokenizer
            )
        )
    else:
        [written] = evaluation.sample(FLAGS.checkpoint, [FLAGS.prompt], config, FLAGS.tokenizer)
        print(written.text)


if __name__ == "__main__":
    cli.run(main, FLAGS)
