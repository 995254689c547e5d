"""Two processes evaluate as one, and only the first one writes."""

import json
import os
import socket
import subprocess
import sys

import pytest

_ONE_OF_TWO = """
import sys
import jax
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
from synthdiv.evaluation import EvaluateConfig, TextLossConfig, evaluate
checkpoint, suite, pages, output = sys.argv[3:]
config = EvaluateConfig(text_loss=TextLossConfig(max_documents=4))
results = evaluate(checkpoint, ["copa", "arc_easy"], output, suite, config, [pages])
print(jax.device_count(), results["accuracy"], results["bits_per_byte"])
"""


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(checkpoint, suite, tokenizer_dir, tmp_path):
    from synthdiv.evaluation import EvaluateConfig, TextLossConfig, evaluate

    pages = tokenizer_dir.parent / "pages.jsonl"
    config = EvaluateConfig(text_loss=TextLossConfig(max_documents=4))
    alone = evaluate(checkpoint, ["copa", "arc_easy"], tmp_path / "a.json", suite, config, [pages])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ, JAX_PLATFORMS="cpu", PYTHONPATH=":".join(sys.path))
    for attempt in range(2):  # the second finds the first's answers, in one process only
        outputs = [tmp_path / f"{process}.json" for process in range(2)]
        running = [
            subprocess.Popen(
                [sys.executable, "-c", _ONE_OF_TWO, str(port + attempt), str(process)]
                + [str(path) for path in (checkpoint, suite, pages, outputs[process])],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for process in range(2)
        ]
        said = [process.communicate(timeout=240)[0].splitlines()[-1] for process in running]
        assert all(process.returncode == 0 for process in running)
        assert said[0] == said[1] and said[0].startswith("2 ")
        assert outputs[0].exists() and not outputs[1].exists()
        together = json.loads(outputs[0].read_text())
        assert together["questions"] == alone["questions"]
        assert together["bits_per_byte"] == pytest.approx(alone["bits_per_byte"], rel=1e-5)
        outputs[0].unlink()
