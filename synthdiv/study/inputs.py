"""What a study is given: its files, directories and data sets, each with a hash of its content."""

from itertools import islice
from pathlib import Path

from synthdiv.config import PathName, find
from synthdiv.corpora import Corpus
from synthdiv.errors import UserError
from synthdiv.files import sha256_file, sha256_text
from synthdiv.study.config import STDLIB, Cell, Plan

_FEWEST = 2  # documents that have a diversity


def inputs_of(plan: Plan) -> dict[str, str]:
    """Reads through all that a study is given; returns a hash of each, by its path or address.

    Raises:
        UserError: one of them is not there or cannot be read; of a cell, names it and the binding.
    """
    config = plan.config
    found = {str(config.topics): sha256_file(find(plan.topics))} if _needs_topics(plan) else {}
    for name in (*config.real, *config.heldout):
        if name != STDLIB:
            found[str(name)] = Corpus(name).bytes_sha256
    heldout = [Corpus(name).name for name in config.heldout if name != STDLIB]
    for name in heldout:
        if heldout.count(name) > 1:
            raise UserError(f"Study.heldout has two texts called {name!r}: rename one of the files")
    for cell in plan.cells:
        for field in ("corpus", "sources"):
            path = getattr(cell.config, field)
            if path and path != STDLIB:
                found[str(path)] = _bytes_of(cell, path, field)
    if config.instructions != STDLIB and "sft" in config.phases:
        if not Path(config.instructions).exists():
            raise UserError(f"Study.instructions: no file {str(config.instructions)!r}")
        found[str(config.instructions)] = _hash_of(Path(config.instructions))
    if plan.score.criteria:
        found[str(plan.score.criteria)] = sha256_file(find(plan.score.criteria))
    for path in (config.data_dir, plan.tokenizer.path):
        if path and Path(path).exists():
            found[str(path)] = _hash_of(Path(path))
    return found


def _needs_topics(plan: Plan) -> bool:
    return plan.config.asks_the_world or any(cell.config.generated for cell in plan.cells)


def _bytes_of(cell: Cell, path: PathName, field: str) -> str:
    scope = f"{cell.name}/Cell."
    try:
        corpus = cell.config.open(path)
        texts = sum(1 for _ in islice((one for one in corpus if one.text.strip()), _FEWEST))
        if field == "corpus" and texts < _FEWEST:
            raise UserError(f"{corpus.origin} has {texts} documents with text; it takes {_FEWEST}")
        return corpus.bytes_sha256
    except UserError as error:
        said = str(error)
        if "`text_column`" in said:
            said = said.replace("`text_column`", f"{scope}text_column")
            said = said.replace("`text_template`", f"{scope}text_template")
            raise UserError(f"cell {cell.name!r}: {said}") from None
        raise UserError(f"cell {cell.name!r} ({scope}{field}): {said}") from None


def _hash_of(path: Path) -> str:
    """Of a file, or of the names and bytes of the files in a directory."""
    if path.is_file():
        return sha256_file(path)
    inside = sorted(one for one in path.rglob("*") if one.is_file())
    return sha256_text(repr([(str(one.relative_to(path)), sha256_file(one)) for one in inside]))
