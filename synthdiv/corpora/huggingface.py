"""Reads data sets of the Hugging Face hub, or of a server like it that HF_ENDPOINT names."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from synthdiv import hub
from synthdiv.corpora import formats
from synthdiv.corpora.formats import Row
from synthdiv.corpora.sources import Source, dataset_rows, split_query
from synthdiv.errors import UserError, first_line

_ADDRESS = re.compile(
    r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<within>.+))?"
)


def find(address: str) -> Source:
    """Finds `hf://datasets/ORG/NAME[@REVISION][/CONFIG or /FILE]?split=train`.

    A data set is fetched into the hub's cache once, and read from there. FILE is one file of it.

    Raises:
        UserError: the address or the data set has something else, or it cannot be fetched.
    """
    named, asked = split_query(address, "split")
    parts = _ADDRESS.fullmatch(named)
    if parts is None:
        raise UserError(
            f"{address!r} is no data set's address: hf://datasets/ORG/NAME[/CONFIG]?split=train"
        )
    within = parts["within"]
    if within and formats.ending(Path(within)):
        return _one_file(address, parts["repository"], within, parts["revision"])
    try:
        import datasets
    except ImportError:
        raise UserError(f"{address} needs datasets: pip install 'synthdiv[hub]'") from None
    silent = hub.why_silent()
    source = hub.from_cache() if silent else contextlib.nullcontext()
    try:
        with source, contextlib.redirect_stdout(sys.stderr):
            found = datasets.load_dataset(
                parts["repository"],
                within,
                split=asked.get("split"),
                revision=parts["revision"],
            )
    except Exception as error:  # of many kinds: the network's, the cache's, the data's own
        away = silent if isinstance(error, OSError) else None  # and not a split that is none
        raise UserError(f"{address}: {away or first_line(error)}") from error
    if isinstance(found, dict):
        if len(found) != 1:
            raise UserError(
                f"{address} has the splits {', '.join(map(repr, found))}: name one with ?split="
            )
        found = next(iter(found.values()))

    def rows() -> Iterator[tuple[int, Row]]:
        return enumerate(dataset_rows(found), start=1)

    name = parts["repository"].split("/")[1]
    return Source(address, name, rows, lambda number: f"{address} row {number}")


def _one_file(address: str, repository: str, file: str, revision: str | None) -> Source:
    path = hub.fetch_file(repository, file, "dataset", revision)
    name = repository.split("/")[1]
    return Source(
        address,
        name,
        lambda: formats.numbered_rows(path),
        lambda number: formats.place(path, number),
        (path,),
    )
