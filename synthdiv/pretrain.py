"""Pre-trains a Llama on a mixture of tokens.

    synthdiv pretrain --config=configs/pretrain/350m.gin --workdir=DIR
    synthdiv pretrain --init_from=CHECKPOINT --config=mine.gin --workdir=DIR

The mixture is bound in the config or with --bind: Mixture.sources=(('TOKENS', 34e9), ...), each a
directory that `synthdiv tokenize` wrote and its effective tokens. With --init_from training starts
from the weights of CHECKPOINT (one of ours, a workdir, a Hugging Face Llama); where the config
binds no sizes of the model, they are its. DIR gets checkpoints/, metrics.jsonl and tensorboard/.
Interrupted (or sent SIGTERM: it saves first and exits with 75) and run again, it goes on where it
was, on any number of devices. --dry_run prints what it would take in parameters, FLOPs, memory,
time and money, here or with --device=h100 --devices=64, and what would fit where this does not.
"""

from absl import flags

from synthdiv import cli, device_flags

FLAGS = cli.command(__doc__)
device_flags.define(FLAGS)
flags.DEFINE_string(
    "init_from", None, "Weights to start from, instead of random ones.", flag_values=FLAGS
)
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

    config = cli.load(FLAGS, training.PretrainConfig)
    if FLAGS.distributed:
        training.join_processes()
    settings = config.get(
        training.PretrainConfig,
        max_steps=FLAGS.max_steps,
        tensorboard=FLAGS.tensorboard,
        wandb=FLAGS.wandb,
    )
    if FLAGS.dry_run:
        target = device_flags.target(FLAGS)
        print(training.plan_pretrain(settings, FLAGS.workdir, FLAGS.init_from, target))
        return
    cli.required(FLAGS, "workdir")
    span = training.step_span(FLAGS.profile_steps)
    workdir = Path(FLAGS.workdir)
    print(training.pretrain(settings, workdir, config.text, span, FLAGS.init_from))


if __name__ == "__main__":
    cli.run(main, FLAGS)
