"""Fine-tunes a Llama on conversations, with loss on the answers only.

    synthdiv sft --init_from=CHECKPOINT --input=FILE[,FILE...] --workdir=DIR

CHECKPOINT is one of ours, a workdir of `synthdiv pretrain` (its newest checkpoint is taken), or a
Hugging Face Llama, here or as ORG/NAME on the hub. A FILE holds Alpaca, FLAN, ShareGPT or
chat-messages rows. DIR is written, and the run goes on after an interruption, as with `synthdiv
pretrain`. --dry_run prints what it would take, here or on the devices that --device names.
"""

from absl import flags

from synthdiv import cli, device_flags

FLAGS = cli.command(__doc__)
device_flags.define(FLAGS)
flags.DEFINE_string("init_from", None, "The model to start from.", flag_values=FLAGS)
flags.DEFINE_list("input", None, "Instruction files.", flag_values=FLAGS)
flags.DEFINE_string("workdir", None, "The run's directory.", flag_values=FLAGS)
flags.DEFINE_integer(
    "max_steps", None, "Stop there, saved, to go on later.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_bool("tensorboard", None, "Write event files for TensorBoard.", flag_values=FLAGS)
flags.DEFINE_string("wandb", None, "Project at Weights & Biases.", flag_values=FLAGS)
flags.DEFINE_list(
    "profile_steps", None, "FIRST,LAST: steps to record for a profiler.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "distributed", False, "One of several processes; each starts this command.", flag_values=FLAGS
)


def main() -> None:
    from pathlib import Path

    from synthdiv import training

    cli.required(FLAGS, "init_from", "input")
    config = cli.load(FLAGS, training.SFTConfig)
    if FLAGS.distributed:
        training.join_processes()
    settings = config.get(
        training.SFTConfig,
        max_steps=FLAGS.max_steps,
        tensorboard=FLAGS.tensorboard,
        wandb=FLAGS.wandb,
    )
    if FLAGS.dry_run:
        target = device_flags.target(FLAGS)
        print(training.plan_sft(settings, FLAGS.init_from, FLAGS.input, FLAGS.workdir, target))
        return
    cli.required(FLAGS, "workdir")
    span = training.step_span(FLAGS.profile_steps)
    workdir = Path(FLAGS.workdir)
    print(training.sft(settings, FLAGS.init_from, FLAGS.input, workdir, config.text, span))


if __name__ == "__main__":
    cli.run(main, FLAGS)
