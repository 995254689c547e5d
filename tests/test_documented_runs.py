"""Commands that the pages print are run, as printed, in a folder that has what they name.

README's, and those that need its models, are run by tests/end_to_end/test_study.py. What takes
minutes as printed is made light by flags behind its own, or is slow.
"""

import bz2
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synthdiv.offline.answer import answer_file
from tests.conftest import Ended
from tests.test_documented_commands import ROOT, commands

PAGES = ("baselines.md", "data.md", "generation.md", "judge.md", "llm.md", "score.md")
LINES = [found for found in commands("synthdiv ") if found[0] in PAGES]
LIGHT = {
    "score": (
        *("--rounds=6", "--bind=Score.criteria_rounds=2", "--bind=Score.criteria_sets=2"),
        *("--bind=Score.control_rounds=20", "--bind=Score.bootstrap=100"),
    ),
    "validate": ("--bind=Score.criteria_rounds=2", "--rounds=4"),
    "generate": ("--bind=Generate.topics=3", "--bind=Generate.generations=1"),
}
LOOP = (  # as many documents as the target, at least
    *("--bind=Generate.topics=12", "--bind=Generate.generations=3", "--bind=Loop.wave=12"),
    *("--bind=Loop.rounds=4", "--bind=Score.criteria_rounds=2", "--bind=Score.control_rounds=20"),
)
WORDS = {"rivers": "water river flood silt sea bank", "bread": "flour dough yeast oven crust loaf"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that speaks as those of language models do."""
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/end_to_end/llm_server.py")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert started.stdout is not None
    yield f"http://127.0.0.1:{int(started.stdout.readline())}"
    started.kill()
    started.wait()
    started.stdout.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each page, with what its commands name."""
    first, *others = (tmp_path_factory.mktemp(page) for page in PAGES)
    draw = random.Random(0)
    rows = [
        {"text": " ".join(draw.choices(words.split(), k=30)) + f" {number}.", "topic": topic}
        for number in range(20)
        for topic, words in WORDS.items()
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("corpus", "a", "b", "labelled"):
        (first / f"{name}.jsonl").write_text(lines)
    (first / "pages.jsonl").write_text("".join(lines.splitlines(keepends=True)[:3]))
    text = " ".join(str(row["text"]) for row in rows[:20])
    page = f"<page><title>Floods</title><id>1</id><revision><text>{text}</text></revision></page>"
    dump = f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">{page}</mediawiki>'
    (first / "dump.xml.bz2").write_bytes(bz2.compress(dump.encode()))
    listed = {"topic": "Lace", "domain": "Arts", "field": "Crafts", "subfield": "Textiles"}
    (first / "openalex.jsonl").write_text(json.dumps(listed) + "\n")
    (first / "outline.txt").write_text("Arts\n  Music\n    Opera\n")
    (first / "more.csv").write_text("topic,path,keywords\nLasers,Science > Physics,light;beam\n")
    for name in ("web", "code", "synthetic"):
        (first / "runs" / name).mkdir(parents=True)
        (first / "runs" / name / "part.jsonl").write_text(lines)
    (table,) = re.findall(r"echo '(.*?)' > my_prices\.json", (ROOT / "docs/llm.md").read_text())
    (first / "my_prices.json").write_text(table)
    for folder in others:
        shutil.copytree(first, folder, dirs_exist_ok=True)
    return dict(zip(PAGES, (first, *others), strict=True))


@pytest.mark.parametrize(("page", "line"), LINES)
def test_commands(
    page: str,
    line: str,
    folders: dict[str, Path],
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Callable[..., Ended],
) -> None:
    line = line.replace("http://localhost:8000", server)
    command, *arguments = shlex.split(line)[1:]
    monkeypatch.chdir(folders[page])
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-test")
    if "--tokenizer=tokenizer.json" in arguments:
        pytest.importorskip("tokenizers")
        from tests.evaluation.small import write_tokenizer

        shutil.copy(write_tokenizer(folders[page]) / "tokenizer.json", folders[page])
    light = () if "--dry_run" in arguments else LIGHT.get(command, ())
    if any(argument.startswith("--target") for argument in arguments):
        light = LOOP
    done = run_command(command, *arguments, *light)
    if "--llm=batch" in arguments:  # each time one step further
        answered = sorted(Path("out").glob("batch_*_answers.jsonl"))
        assert done.code == 75 and f"step {1 + bool(answered)} of 5" in done.stderr
        for requests in Path("out").glob("batch_*_requests.jsonl"):
            assert answer_file(requests, Path(str(requests).replace("_requests", "_answers")))
        return
    assert done.code == 0, done.stderr
    output = next((a.partition("=")[2] for a in arguments if a.startswith("--output=")), "")
    assert Path(output).exists() == ("--dry_run" not in arguments)
    assert done.stdout.strip()
