"""How every command ends: the right code, one line for a mistake, no trace of a key."""

import shlex
import signal
import subprocess
import sys

import pytest

import synthdiv
from synthdiv.cli import COMMANDS, _again
from synthdiv.errors import closest, needs_extra

COMMAND = '''
"""Does what its flag says."""
from absl import flags
from synthdiv import cli
from synthdiv.errors import Paused, UserError
FLAGS = cli.command(__doc__)
cli.judge_flags(FLAGS)
flags.DEFINE_string("end", None, "How to end.", flag_values=FLAGS)
def main():
    cli.required(FLAGS, "end")
    if FLAGS.end == "mistake":
        raise UserError("not like\\nthis")
    if FLAGS.end == "parameters":
        raise UserError("`backend=b` needs `model`, `Score.p='a'` or `Score.n=3`, no `n`")
    if FLAGS.end == "pause":
        raise Paused("answers are awaited")
    if FLAGS.end == "cap":
        raise Paused("more", {"max_calls": 3_000_000, "max_cost_usd": 1.25, "of_no_command": 1})
    if FLAGS.end == "bug":
        raise RuntimeError("a bug")
    if FLAGS.end == "full":
        raise OSError(28, "No space left on device", "/data/shard-00003.parquet")
    if FLAGS.end == "interrupt":
        raise KeyboardInterrupt
    print("done")
if __name__ == "__main__":
    cli.run(main, FLAGS)
'''


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--end=well"], 0, None),
        (["--help"], 0, None),
        (["--end=mistake"], 2, "error: not like this"),
        (
            ["--end=parameters"],
            2,
            "error: --llm=b needs --model, --bind=\"Score.p='a'\" or --bind=Score.n=3, no `n`",
        ),
        (["--end=pause"], 75, "paused: answers are awaited"),
        (["--end=full"], 75, "paused: no room left on the disk (/data/shard-00003.parquet); make"),
        (["--end=interrupt"], 130, "interrupted; run the same command again to go on"),
        ([], 2, "error: --end is required; --help explains it"),
        (["--ende=well"], 2, "error: no flag --ende; did you mean '--end'?"),
        (["--end=well", "more"], 2, "error: unexpected argument 'more'"),
        (
            ["--llm=ofline", "--end=well"],
            2,
            "error: no LLM backend 'ofline'; did you mean 'offline'?",
        ),
        (["--concurrency=0", "--end=well"], 2, "error: flag --concurrency=0"),
    ],
)
def test_ends(tmp_path, arguments, code, line):
    (tmp_path / "command.py").write_text(COMMAND)
    done = subprocess.run(
        [sys.executable, tmp_path / "command.py", *arguments], capture_output=True, text=True
    )
    assert done.returncode == code
    if line is not None:
        assert done.stderr.startswith(line) and done.stderr.count("\n") == 1
        assert not done.stdout
    if arguments == ["--help"]:
        assert "Does what its flag says." in done.stdout and "--max_cost_usd" in done.stdout


def test_a_cap_tells_the_command_that_goes_on(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    given = ["--end=cap", "--max_calls", "3", "--bind=A.b='c d'", "--max_cost_usd=0.5", "--fresh"]
    done = subprocess.run(
        [sys.executable, tmp_path / "command.py", *given], capture_output=True, text=True
    )
    assert done.returncode == 75 and done.stderr.count("\n") == 1
    command = shlex.split(done.stderr.partition("paused: more: ")[2])
    assert command == [
        "python", "-m", "synthdiv.command", "--end=cap", "--bind=A.b='c d'",
        "--max_calls=3000000", "--max_cost_usd=1.25",
    ]  # fmt: skip


def test_a_bug_shows_its_traceback(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    done = subprocess.run(
        [sys.executable, tmp_path / "command.py", "--end=bug"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("sent", "code", "line"),
    [
        ("SIGINT", 130, "interrupted; run the same command again to go on\n"),
        ("SIGTERM", 75, "paused: SIGTERM came; run the same command again to go on\n"),
    ],
)
def test_a_signal_inside_a_garbage_collection_is_not_lost(tmp_path, sent, code, line):
    """JAX registers such a callback; Python prints and drops what is raised in it."""
    command = COMMAND.replace(
        "def main():\n",
        f"""def _xla_gc_callback(phase, info):
    if os.environ.pop("SEND", None):
        os.kill(os.getpid(), signal.{sent})
        for _ in range(1000):
            pass
def main():
    gc.callbacks.append(_xla_gc_callback)
    os.environ["SEND"] = "1"
    gc.collect()
    time.sleep(5)
""",
    ).replace("from absl", "import gc, os, signal, time\nfrom absl")
    (tmp_path / "command.py").write_text(command)
    done = subprocess.run(
        [sys.executable, tmp_path / "command.py", "--end=well"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (code, line)


def test_the_list_of_commands_is_complete(run_command):
    shown = run_command("--help")
    assert shown.code == 0 and all(f"  {c} " in shown.stdout for c in COMMANDS)
    assert run_command().stdout == shown.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_refuses_what_it_does_not_know(run_command, name):
    assert "--[no]dry_run: " in run_command(name, "--help").stdout
    unknown = run_command(name, "--no_such_flag=1")
    assert unknown.code == 2 and unknown.stderr.count("\n") == 1


def test_a_command_starts_as_a_process():
    started = subprocess.run(
        [sys.executable, "-m", "synthdiv.cli", "study", "--help"], capture_output=True, text=True
    )
    assert started.returncode == 0 and "--[no]dry_run: " in started.stdout


def test_an_unknown_command_names_the_nearest(run_command):
    refused = run_command("scroe")
    assert refused.code == 2
    assert refused.stderr == "error: no command 'scroe'; did you mean 'score'?; --help lists them\n"


@pytest.mark.parametrize(
    ("program", "start"),
    [
        ("/lib/synthdiv/score.py", "python -m synthdiv.score"),
        ("/lib/synthdiv/study/__main__.py", "python -m synthdiv.study"),
        ("synthdiv score", "synthdiv score"),
    ],
)
def test_the_command_to_go_on_with_is_the_one_that_was_given(program, start):
    argv = [program, "--fresh", "--input=a b", "--max_calls", "10"]
    assert _again(argv, {"max_calls": 20.0}) == f"{start} '--input=a b' --max_calls=20"


@pytest.mark.parametrize(
    ("name", "known", "alike"),
    [
        ("quickstrat.gin", ["configs/study/quickstart.gin", "configs/score/quick.gin"], 0),
        ("configs/score/paper.gin", ["configs/score/quick.gin", "configs/sft/paper.gin"], 1),
        ("configs/study/absent.gin", ["configs/study/smoke.gin", "configs/study/paper.gin"], None),
        ("/data/a/corpus/essays.jsonl", ["/data/a/corpus/notes", "/data/a/corpus/old"], None),
        ("Score.colour", ["Score.rounds", "Score.policy", "Score.sample"], None),
        ("Scor.rounds", ["Score.rounds", "LLM.retries"], 0),
        ("OFFLINE", ["openai", "offline"], 1),
        ("anything", [], None),
    ],
)
def test_only_names_that_are_alike_are_proposed(name, known, alike):
    wanted = "" if alike is None else f"; did you mean {known[alike]!r}?"
    assert closest(name, known) == wanted


def test_a_missing_extra_is_named(monkeypatch, run_command, tmp_path):
    """As in the base installation, whose metadata says which extra brings what."""
    requirements = [
        "numpy>=2.0",
        'orbax-checkpoint>=0.12; extra == "train"',
        'jax>=0.10.2; extra == "train"',
        "jax[cuda12]>=0.10.2; sys_platform == 'linux' and extra == 'cuda'",
        'lm_eval>=0.4.13; extra == "eval"',
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: requirements)
    for module, extra in (("jax.numpy", "train"), ("orbax", "train"), ("lm_eval", "eval")):
        found = needs_extra(ModuleNotFoundError(name=module))
        assert f"pip install 'synthdiv[{extra}]'" in str(found)
    assert needs_extra(ModuleNotFoundError(name="numpy")) is None
    assert needs_extra(ModuleNotFoundError(name="synthdiv.nothing")) is None
    for name in [n for n in sys.modules if n.split(".")[0] == "jax"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [n for n in sys.modules if n.startswith("synthdiv.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(synthdiv, "training", raising=False)  # where an earlier test has loaded it
    monkeypatch.setitem(sys.modules, "jax", None)  # what an import of it then meets
    ended = run_command("pretrain", f"--workdir={tmp_path / 'w'}")
    assert ended.code == 2 and ended.stderr.count("\n") == 1
    assert "needs jax" in ended.stderr and "synthdiv[train]" in ended.stderr
    assert not (tmp_path / "w").exists()


def test_backend_of_another_package_answers_by_its_name(tmp_path, monkeypatch, run_command):
    about = tmp_path / "others-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[synthdiv.backends]\nparrot = others:Parrot\n")
    (tmp_path / "others.py").write_text(
        "from synthdiv.offline.backend import OfflineBackend\n\n"
        "class Parrot(OfflineBackend):\n"
        "    name, model = 'parrot', 'a parrot'\n"
        "    def __init__(self, config, directory):\n"
        "        assert config.backend == 'parrot' and directory.name == 'out'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"text": "Document {i} of words."}}\n' for i in range(12)))
    done = run_command(
        "score", f"--input={corpus}", f"--output={tmp_path / 'out'}", "--llm=parrot",
        "--rounds=3", "--bind=Score.criteria_rounds=3", "--bind=Score.with_baselines=False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "a parrot" in (tmp_path / "out" / "score.json").read_text()
