"""Random damage to files of every format: documents or one line, never a traceback, never less.

FUZZ_EXAMPLES=100000 python -m pytest tests/corpora/test_fuzz.py    for an hour of it
"""

from pathlib import Path

import pytest

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import strategies as st  # noqa: E402

from synthdiv.corpora import Corpus  # noqa: E402
from synthdiv.errors import UserError  # noqa: E402
from tests.fuzzing import fuzz  # noqa: E402

from .test_formats import TEXTS, WRITERS  # noqa: E402

DAMAGE = st.tuples(
    st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.binary(max_size=40)
)  # where, how many bytes go, what comes instead


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()

    @fuzz(60)
    @hypothesis.given(st.lists(DAMAGE, min_size=1, max_size=3), st.floats(0.5, 1))
    def damaged(changes: list[tuple[float, int, bytes]], kept: float) -> None:
        content = whole
        for where, gone, new in changes:
            at = int(where * len(content))
            content = content[:at] + new + content[at + gone :]
        if kept < 0.7:
            content = content[: int(len(content) * kept)]
        path.write_bytes(content)
        try:
            documents = list(Corpus(path))
        except UserError as error:
            assert "\n" not in str(error) and name in str(error)
        else:
            assert all(isinstance(document.text, str) for document in documents)
            if path.suffix == ".array_record" or name in ("a.jsonl.zst", "a.txt.zst"):
                assert len(documents) >= len(TEXTS) or content == whole

    damaged()


@fuzz(60)
@hypothesis.given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    directory = tmp_path_factory.getbasetemp()
    for name in ("b.jsonl", "b.json", "b.txt", "b.csv", "b.parquet", "b.jsonl.gz", "b.txt.zst"):
        (directory / name).write_bytes(content)
        try:
            list(Corpus(directory / name))
        except UserError as error:
            assert "\n" not in str(error)
