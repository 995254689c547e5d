"""The smoke study end to end: its results, its page in a browser, kills, and README's commands."""

import gzip
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import QUICKLY_COMPILED, Ended
from tests.test_documented_commands import commands
from tests.test_documented_runs import LIGHT as DOCUMENTED

jax = pytest.importorskip("jax")
pytest.importorskip("lm_eval")

# These need JAX.
from tests.evaluation.conftest import quick_to_compile  # noqa: E402, F401
from tests.evaluation.small import write_suite  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LIGHT = {  # behind the flags of README's commands
    "score": DOCUMENTED["score"],
    "pretrain": ("--bind=Model.hidden=40", "--bind=Model.mlp=64"),
    "evaluate": ("--bind=TextLoss.max_documents=3",),
}
SMOKE = ["--config=configs/study/smoke.gin"]


def environment(home: Path) -> dict[str, str]:
    """No key, no network for hubs, a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    own = {"HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return kept | own | QUICKLY_COMPILED


def study(workdir: Path, home: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "synthdiv.study", *SMOKE, f"--workdir={workdir}", *more]
    return subprocess.Popen(
        command,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts in the background deaf to Ctrl-C; this process must hear it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, home) -> Path:
    """A finished smoke study."""
    workdir = tmp_path_factory.mktemp("study") / "smoke"
    run = study(workdir, home)
    out, err = run.communicate(timeout=3600)
    assert run.returncode == 0, err
    assert "T16_personas" in out and "report: " in err
    return workdir


def results(workdir: Path) -> dict:
    """What a study found, without what differs from run to run."""
    found = json.loads((workdir / "study.json").read_text())
    for name in ("seconds", "command"):
        found.pop(name)
    return found


def test_what_study_json_holds(finished):
    found = json.loads((finished / "study.json").read_text())
    assert set(found) >= {"cells", "regression", "command", "synthdiv_version", "seconds", "seed"}
    for cell in found["cells"]:
        assert set(cell["corpus"]) >= {"name", "topics", "generations", "documents", "tokens"}
        assert cell["score"]["ci95"][0] <= cell["score"]["mean"] <= cell["score"]["ci95"][1]
        assert {"context_length", "self_repetition", "ngram_diversity", "compression_ratio"} <= set(
            cell["baselines"]
        )
        for phase in ("pretrain", "sft"):
            outcome = cell["models"]["tiny"][phase]
            assert 0 <= outcome["accuracy"] <= 1 and outcome["stderr"] > 0
            assert 0 < outcome["bits_per_byte"] < 9
            assert outcome["tasks"]["world_facts"]["questions"] > 0
            assert outcome["chance"] == outcome["measures"]["probability"]["chance"] == 0.25
            assert 0 < outcome["measures"]["brier"]["value"] < 2
    for phase in ("pretrain", "sft"):
        assert set(found["regression"]["tiny"][phase]) >= {
            *("slope", "ci95", "pearson", "spearman", "n")
        }
    by_topics = {c["corpus"]["name"]: c["score"]["mean"] for c in found["cells"]}
    assert by_topics["T16"] > by_topics["T8"]


def test_the_page_is_what_study_json_and_the_rounds_say(finished):
    from synthdiv.study.report import write_report

    found = json.loads((finished / "study.json").read_text())
    before = (finished / "report.html").read_text()
    assert write_report(finished, found).read_text() == before


def test_the_page_opens_without_an_error_and_its_links_lead_somewhere(finished):
    from tests.browser import open_window

    with open_window() as window:
        window.open(finished / "report.html")
        assert window.faults == []
        assert [url for url in window.requests if not url.startswith(("file:", "data:"))] == []
        # Accuracy, four measures of answers and held-out text, of two phases.
        assert window.run("document.querySelectorAll('svg.chart[role=group]').length") == 12
        links = window.run(
            "[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))"
        )
        paths = [finished / link for link in links if not link.startswith("#")]
        assert len(paths) > 12 * 3 and all(path.is_file() for path in paths)


def test_a_finished_study_is_not_done_again(finished, home):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    run = study(finished, home, "--jobs=2")
    _, err = run.communicate(timeout=3600)
    assert run.returncode == 0 and "[" not in err, err
    assert err.startswith("nothing to do: all 26 stages are done")
    changed = {p for p, t in before.items() if p.stat().st_mtime_ns != t}
    kept = {p for p in changed if p.parent.name not in ("figures", "tables")}
    assert {p.name for p in kept} <= {"study.json", "report.html"}


@pytest.mark.parametrize(
    ("other", "again"),
    [
        (["--bind=Study.seed=1"], 25),  # all but Python's documentation
        # Corpus, score, tokens, pre-training, fine-tuning and two evaluations.
        (["--bind=T8/Generate.generations=8"], 7),
        (["--bind=LLM.concurrency=3", "--bind=Pretrain.log_every=1"], 0),
    ],
)
def test_a_plan_names_what_other_settings_would_do_again(finished, run_command, other, again):
    done = run_command("study", *SMOKE, f"--workdir={finished}", "--dry_run", *other)
    assert done.code == 0, done.stderr
    assert done.stdout.count("again: ") == again, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_again_and_again_it_finds_the_same(home, tmp_path, jobs):
    """SIGKILL and Ctrl-C at twenty random moments, of all processes or of one stage's alone."""
    rng = random.Random(jobs)
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    flags = [f"--jobs={jobs}", "--bind=Study.phases=['pretrain']", "--bind=Score.rounds=30"]
    began = time.monotonic()
    run = study(whole, home, *flags)
    _, err = run.communicate()
    assert run.returncode == 0, err
    length = time.monotonic() - began
    kills = 0
    while True:
        done_before = done(workdir)
        run = study(workdir, home, *flags)
        while True:
            try:
                wait = rng.uniform(0.02, 0.3) * length if kills < 20 else None
                _, err = run.communicate(timeout=wait)
                break
            except subprocess.TimeoutExpired:
                kills += 1
                if not (kills % 3 == 0 and kill_a_child(run.pid, rng)):
                    run.send_signal(signal.SIGKILL if kills % 2 else signal.SIGINT)
                    _, err = run.communicate()
                    break
        begun = set(re.findall(r"^\[\d+/\d+\] (.*)$", err, re.MULTILINE))
        assert not begun & done_before
        if run.returncode == 0:
            break
        # An interpreter that is just starting dies of Ctrl-C itself.
        assert run.returncode in (-signal.SIGKILL, -signal.SIGINT, 130), err
        print(f"kill {kills}: {len(done(workdir))} stages done")
    assert kills >= 3
    assert results(workdir) == results(whole)


def kill_a_child(pid: int, rng: random.Random) -> bool:
    """Kills one process of a stage, as a machine without memory does."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = children.read_text().split() if children.exists() else []
    for child in rng.sample(found, len(found)):
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)
            return True
    return False


def done(workdir: Path) -> set[str]:
    """The stages that are done, by name."""
    records = [json.loads(path.read_text()) for path in (workdir / "stages").glob("*.json")]
    return {record["stage"] for record in records if record["seconds"] is not None}


def readme_commands() -> list[str]:
    """The lines of README's bash blocks, but for the two that make the environment."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("bash launch/")]


@pytest.fixture(scope="module")
def clone(finished, tmp_path_factory, home):
    """A folder in which README's commands find what a clone has after its studies."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "launch", "synthdiv"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "runs").mkdir()
    for study in ("quickstart", "world"):
        (folder / "runs" / study).symlink_to(finished)
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("llm_server.py"))],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(home),
    )
    yield folder, int(server.stdout.readline())
    server.kill()
    server.wait()
    server.stdout.close()


@pytest.fixture
def at_home(clone, home, monkeypatch):
    """Puts this process where README's commands are given."""
    folder, _ = clone
    monkeypatch.chdir(folder)
    for name in set(os.environ) - set(environment(home)):
        monkeypatch.delenv(name)
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)
    cache = jax.config.values["jax_compilation_cache_dir"]
    yield
    jax.config.update("jax_compilation_cache_dir", cache)  # training has set it


@pytest.mark.parametrize(
    "line",
    [  # the plan of 350M takes 20 s to compile; tests/training plan smaller ones
        pytest.param(line, marks=pytest.mark.slow) if "350m.gin" in line else line
        for line in readme_commands()
    ],
)
def test_readme(clone, at_home, line, run_command, monkeypatch):
    """Each command, in order; the addresses of servers are the test's, and so is `LIGHT`."""
    _, port = clone
    if "--llm=gemini" in line:
        pytest.importorskip("google.genai")
    address = f"http://127.0.0.1:{port}"
    program, *words = shlex.split(line.replace("http://localhost:8000", address))
    monkeypatch.setenv("OPENAI_BASE_URL", f"{address}/v1")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", address)
    if "--dry_run" not in words:  # a plan needs nobody's key
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-test")
        monkeypatch.setenv("GEMINI_API_KEY", "AIza-of-this-test")
    if program == "synthdiv":
        light = () if "--dry_run" in words else LIGHT.get(words[0], ())
        done = run_command(*words, *light)
    else:
        ran = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        done = Ended(ran.returncode, ran.stdout, ran.stderr)
    assert done.code == 0, done.stderr
    assert done.stdout.strip() or done.stderr.strip()
    assert "of-this-test" not in done.stdout + done.stderr


PAGES = ("training.md", "evaluation.md", "launch.md", "study.md")
RUN_HERE = ("synthdiv ", "python launch/local.py")


@pytest.mark.slow
@pytest.mark.parametrize("line", [c for page, c in commands(*RUN_HERE) if page in PAGES])
def test_the_pages_on_training_and_evaluation(clone, home, line):
    """Each command as it stands there; studies, and the 350M, are planned and not run."""
    folder, _ = clone
    (folder / "runs/350m").unlink(missing_ok=True)
    (folder / "runs/350m").symlink_to(folder / "tuned")
    for name in "abc" if not (folder / "a.json").exists() else "":
        shutil.copy(folder / "results.json", folder / f"{name}.json")
    for name in ("heldout", "wikipedia"):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.write('{"text": "A river carries silt to the sea."}\n' * 50)
    (folder / "prompts.jsonl").write_text('{"prompt": "The river"}\n{"prompt": "A bank"}\n')
    (folder / "prompts.jsonl").write_text('{"prompt": "The assert statement"}\n' * 2)
    if not (folder / "DATA").exists():
        write_suite(folder / "DATA")
    words = shlex.split(line)
    if words[0] == "synthdiv":
        words = [sys.executable, "-m", "synthdiv.cli", *words[1:]]
    else:
        words[0] = sys.executable
    if "study" in words:
        words += ["--dry_run", f"--workdir={folder}/runs/new"]
    done = subprocess.run(
        words, cwd=folder, env=environment(home), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr  # a model of this size may write nothing but empty lines


def test_readme_python(at_home, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(code, {})
    mean, _, _ = capsys.readouterr().out.partition(" ")
    assert 0.1 <= float(mean) <= 10


@pytest.mark.slow  # tests/training/test_runs.py exports a smaller one
def test_an_export_is_a_llama_that_transformers_loads(clone):
    """After README's `export`: the logits of both are the same."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import jax.numpy as jnp
    import numpy as np

    from synthdiv.model.weights import load_model

    folder, _ = clone
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "llama").float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "llama")
    tokens_BT = np.array([tokenizer.encode("The founder of the space race was")])
    with torch.no_grad():
        wanted_BTV = theirs(torch.tensor(tokens_BT)).logits.numpy()
    loaded = load_model(folder / "tuned", dtype="float32")
    logits_BTV = np.asarray(loaded.model(jnp.asarray(tokens_BT)))
    np.testing.assert_allclose(logits_BTV[..., : wanted_BTV.shape[-1]], wanted_BTV, atol=1e-4)
