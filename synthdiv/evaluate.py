"""Evaluates a checkpoint: accuracy on lm-eval's tasks, bits per byte on corpora.

    synthdiv evaluate --checkpoint=DIR --tasks=synthdiv_paper --data_dir=DIR --output=FILE
    synthdiv evaluate --checkpoint=DIR --corpus=CORPUS --output=FILE
    synthdiv evaluate --compare=A.json,B.json --output=DIR

DIR is one of our checkpoints, a workdir (its newest), a Hugging Face Llama, or ORG/NAME on the hub.
Tasks are
`synthdiv_paper` (the paper's eight), `world_facts`, or any of lm-eval's; their questions come from
files in --data_dir, else from the hub's cache. Interrupted and run again, it goes on from the
answers that it has. --compare puts results side by side, with intervals over the same questions.
"""

from absl import flags

from synthdiv import cli

FLAGS = cli.command(__doc__)
flags.DEFINE_string("checkpoint", None, "What to evaluate.", flag_values=FLAGS)
flags.DEFINE_list("tasks", [], "Tasks and groups.", flag_values=FLAGS)
flags.DEFINE_string("data_dir", None, "Directory of the tasks' data files.", flag_values=FLAGS)
flags.DEFINE_string(
    "include_path", None, "Directory of more task definitions (YAML).", flag_values=FLAGS
)
cli.corpora_flag(FLAGS, "corpus", "Corpora to measure bits per byte on.")
cli.text_flags(FLAGS)
flags.DEFINE_string("tokenizer", None, "For a checkpoint that has none.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "JSON file of the results.", flag_values=FLAGS)
flags.DEFINE_bool(
    "distributed", False, "One of several processes; each starts this command.", flag_values=FLAGS
)
flags.DEFINE_list("compare", [], "Results of several checkpoints to compare.", flag_values=FLAGS)


def main() -> None:
    from synthdiv import evaluation
    from synthdiv.files import check_file

    cli.required(FLAGS, "output")
    if FLAGS.compare:
        how = cli.load(FLAGS, evaluation.CompareConfig).get(evaluation.CompareConfig)
        print(evaluation.compare(FLAGS.compare, FLAGS.output, how).table())
        print(f"the same to look at: {FLAGS.output}/comparison.html")
        return
    cli.required(FLAGS, "checkpoint")
    config = cli.load(FLAGS, evaluation.EvaluateConfig).get(evaluation.EvaluateConfig)
    corpora = cli.open_corpora(FLAGS, FLAGS.corpus)
    if FLAGS.distributed:
        from synthdiv.training import join_processes

        join_processes()
    what, more = (FLAGS.checkpoint, FLAGS.tasks), (FLAGS.tokenizer, FLAGS.include_path)
    if FLAGS.dry_run:
        check_file(FLAGS.output)
        print(evaluation.plan(*what, FLAGS.data_dir, config, corpora, *more))
        return
    results = evaluation.evaluate(*what, FLAGS.output, FLAGS.data_dir, config, corpora, *more)
    print(evaluation.table(results), f"all of it is in {FLAGS.output}", sep="\n")


if __name__ == "__main__":
    cli.run(main, FLAGS)
