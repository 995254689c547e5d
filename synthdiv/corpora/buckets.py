"""Corpora in object stores: fetched shard by shard, verified, and read as if they lay here."""

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path

from synthdiv.corpora import formats, sources
from synthdiv.corpora.formats import ARRAY_RECORD, Row
from synthdiv.corpora.names import corpus_name
from synthdiv.corpora.sources import Source
from synthdiv.errors import UserError
from synthdiv.storage import Passage, RemoteFile, fetch, listing, parse
from synthdiv.storage.addresses import Address
from synthdiv.storage.copies import copy_of
from synthdiv.storage.stores import store

_KEPT = 10 << 30  # bytes of a corpus that is kept in the cache; a larger one passes through
_MANIFEST = "manifest.json"
_WHOLE = (_MANIFEST, "partial.json")  # one of which lies in a corpus of ours that was left


def find(given: str) -> Source:
    """Finds a file, a directory, or what matches a pattern, in a store.

    Raises:
        UserError: nothing is there, it is not complete, or it is of no known format.
    """
    address = parse(given)
    folder = None
    if glob.has_magic(given):
        matches = store(address).matches(address)
        shards = [shard for match in matches for shard in _shards(match, listing(match), True)]
    else:
        objects = listing(address)
        shards = _shards(address, objects)
        if _MANIFEST in objects:
            folder = copy_of(objects[_MANIFEST]).parent
    if not shards:
        raise UserError(f"no corpus {'matches' if glob.has_magic(given) else 'is at'} {address}")
    parts = address.path.split("/")
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    name = corpus_name(Path(*parts[:fixed]))
    if any(formats.ending(Path(shard.name)) == ARRAY_RECORD for shard in shards):
        # What their features are lies in a file beside them.
        return sources.find(fetch(given))
    keep = sum(shard.size for shard in shards) <= _KEPT

    def rows() -> Iterator[tuple[tuple[RemoteFile, int], Row]]:
        passage = Passage(keep)
        try:
            for shard, following in zip(shards, [*shards[1:], None], strict=True):
                with passage.reading(shard) as path:
                    begun = False
                    for number, row in _rows(shard, path):
                        yield (shard, number), row
                        if following is not None and not begun:
                            passage.ahead(following)
                            begun = True
        finally:
            passage.close()

    return Source(given, name, rows, lambda where: _place(*where), tuple(shards), folder)


def _shards(
    address: Address, objects: Mapping[str, RemoteFile], some: bool = False
) -> list[RemoteFile]:
    """The files of a corpus; of one among several, none where it has none."""
    if "" in objects:
        if formats.ending(Path(address.name)) is None and not some:
            raise UserError(f"{address} is of no known corpus format: {formats.ENDINGS}")
        return [objects[""]] if formats.ending(Path(address.name)) else []
    if "dataset_dict.json" in objects:
        raise UserError(f"{address} is a DatasetDict and no corpus: name one of its directories")
    chosen = [str(name) for name in sources.choose_shards(map(Path, objects))]
    ours = [name for name in chosen if objects[name].known]
    folders = {name.rpartition("shard-")[0] for name in ours if "shard-" in name}
    for folder in sorted(folders):
        if not any(folder + name in objects for name in _WHOLE):
            raise UserError(
                f"{address}/{folder}".rstrip("/")
                + " is not complete: its writer has not finished; run the same command again"
            )
    return [objects[name] for name in chosen]


def _rows(shard: RemoteFile, path: Path) -> Iterator[tuple[int, Row]]:
    try:
        yield from formats.numbered_rows(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), str(shard.address))) from error


def _place(shard: RemoteFile, number: int) -> str:
    here = formats.place(Path(shard.name), number)
    return f"{shard.address.parent}/{here}"
