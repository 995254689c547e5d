"""Generates, scores, trains and evaluates every corpus of a study, and relates score to accuracy.

  synthdiv study --config=configs/study/quickstart.gin --workdir=runs/quickstart

Writes WORKDIR/study.json, WORKDIR/report.html, WORKDIR/figures/ and a folder for each corpus. Run
the same command again after an interruption: it continues where it stopped.
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


def main() -> None:
    cli.required(FLAGS, "workdir", "config")
    from synthdiv.study.config import TARGETS, read_plan
    from synthdiv.study.report import results_table
    from synthdiv.study.run import run_study, study_work

    plan = read_plan(cli.load(FLAGS, *TARGETS), tuple(FLAGS.input) if FLAGS.input else None)
    if FLAGS.dry_run:
        from synthdiv.claims import FINGERPRINT, check_claim
        from synthdiv.study.preview import preview

        workdir = Path(FLAGS.workdir)
        check_claim(workdir / FINGERPRINT, study_work(plan, workdir), "study")
        print(preview(plan))
        return
    study = run_study(plan, FLAGS.workdir, cli.command_line("study"))
    print(results_table(study))


if __name__ == "__main__":
    cli.run(main, FLAGS)
