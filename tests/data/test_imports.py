"""Reading and writing tokens must not cost anybody JAX."""

import subprocess
import sys

LIGHT = """
import sys
import synthdiv.data
import synthdiv.tokenize
heavy = {"jax", "grain", "torch", "tensorflow", "array_record", "tokenizers", "pyarrow"}
print(sorted(heavy & set(sys.modules)))
"""


def test_importing_the_room_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
