"""Generates, scores, trains and evaluates every corpus of a study, and relates score to accuracy.

  synthdiv study --config=configs/study/quickstart.gin --workdir=runs/quickstart [--jobs=4]
  synthdiv study --config=configs/study/paper_topics.gin --dry_run --device=h100 --mfu=0.4
  synthdiv study --config=configs/study/quickstart.gin --power --earlier=runs/quickstart

Writes WORKDIR/study.json, WORKDIR/report.html, WORKDIR/figures/ and a folder for each corpus. Run
the same command again to go on after an interruption; changed settings redo what hangs on them.
"""

from pathlib import Path

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
flags.DEFINE_string("workdir", None, "Directory of the study.", flag_values=FLAGS)
flags.DEFINE_list(
    "input",
    None,
    "Corpora of real text that every model reads beside its own corpus; by default Python's own "
    "documentation.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("jobs", 1, "Stages at once; they share the machine.", 1, flag_values=FLAGS)
flags.DEFINE_string(
    "shard", None, "K/N: only the K-th of N parts of the training runs.", flag_values=FLAGS
)
cli.caps_flags(FLAGS)
flags.DEFINE_string(
    "device", "a100", "Accelerator that --dry_run counts hours of.", flag_values=FLAGS
)
flags.DEFINE_float(
    "mfu", 0.4, "Share of its peak that --dry_run takes training to reach.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "power", False, "Tell how many corpora and seeds an effect takes, and end.", flag_values=FLAGS
)
flags.DEFINE_string(
    "earlier", None, "A finished study, whose noise --power goes by.", flag_values=FLAGS
)


def main() -> None:
    """Parses, reads the configuration, and runs the study, or tells what it would take."""
    from synthdiv.files import check_dir
    from synthdiv.study.config import TARGETS, read_plan
    from synthdiv.study.report import results_table
    from synthdiv.study.run import read_shard, run_study

    cli.required(FLAGS, "config")
    config = cli.load(FLAGS, *TARGETS)
    real = tuple(FLAGS.input) if FLAGS.input else None
    plan = read_plan(config, real, FLAGS.max_cost_usd, FLAGS.max_calls)
    shard = read_shard(FLAGS.shard)
    workdir = check_dir(FLAGS.workdir) if FLAGS.workdir else None
    if FLAGS.power:
        from synthdiv.study.power import plan_power

        print(plan_power(plan, config, Path(FLAGS.earlier) if FLAGS.earlier else None))
        return
    if FLAGS.dry_run:
        from synthdiv.study.preview import preview

        print(preview(plan, workdir, FLAGS.device, FLAGS.mfu, FLAGS.jobs))
        return
    cli.required(FLAGS, "workdir")
    assert workdir is not None
    study = run_study(plan, workdir, cli.command_line("study"), FLAGS.jobs, shard)
    if study is None:
        return
    print(results_table(study))
    for notice in study["notices"]:
        print(notice)


if __name__ == "__main__":
    cli.run(main, FLAGS)
