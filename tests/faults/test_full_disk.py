"""A disk that fills up while a corpus is generated: one line, nothing asked in vain."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.test_generate_killed import CONCURRENCY, ROOT, answers, asked, shards, writer

CALLS = 60


def generate(url: str, output: Path, limit: int | None) -> subprocess.CompletedProcess[str]:
    """Generates; a file that would grow beyond `limit` bytes cannot be written."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [
            sys.executable, "-m", "synthdiv.generate", f"--output={output}", "--llm=openai",
            "--model=test", f"--base_url={url}/v1", f"--concurrency={CONCURRENCY}",
            "--bind=Generate.topics=20", "--bind=Generate.generations=3",
            "--bind=Generate.shard_documents=7",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=limited,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of a run that nothing disturbs."""
    output = tmp_path_factory.mktemp("whole")
    with writer(latency=0) as url:
        done = generate(url, output, None)
    assert done.returncode == 0, done.stderr
    return shards(output)


# No answer can be kept; some can.
@pytest.mark.parametrize("limit", [8_000, 150_000])
def test_no_call_follows_the_first_write_that_failed(
    tmp_path: Path, whole: dict[str, bytes], limit: int
) -> None:
    output = tmp_path / "corpus"
    with writer(latency=0.02) as url:
        stopped = generate(url, output, limit)
        assert stopped.returncode in (2, 75), (stopped.returncode, stopped.stderr)
        assert "Traceback" not in stopped.stderr
        assert stopped.stderr.splitlines()[-1].startswith(("error: ", "paused: ")), stopped.stderr
        seen, kept = sum(asked(url).values()), answers(output / "answers.sqlite")
        assert seen - kept <= 2 * CONCURRENCY, "more was asked than was on its way"
        done = generate(url, output, None)
        assert done.returncode == 0, done.stderr
        assert sum(asked(url).values()) == seen + CALLS - kept
    assert shards(output) == whole
