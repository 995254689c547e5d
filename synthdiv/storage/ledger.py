"""What a directory in a store consists of: the list that its writer keeps beside the objects.

The list, `.synthdiv-objects.json`, names every object with its size and SHA-256. New objects count
from the moment that a list with them is put, after them: a directory is at every moment one that
its writer once had. An object that is replaced is listed with both contents while that is done.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from synthdiv.errors import UserError
from synthdiv.storage.addresses import Address
from synthdiv.storage.stores import Digest, Store

LEDGER = ".synthdiv-objects.json"
LOCK = ".synthdiv-lock"
_FORMAT = 1
_FILES = (".json", ".jsonl")


@dataclasses.dataclass(frozen=True)
class Ledger:
    """The objects of a directory, by their names in it.

    Attributes:
        objects: what each is.
        before: what those may still be that are being replaced.
    """

    objects: Mapping[str, Digest]
    before: Mapping[str, Sequence[Digest]] = dataclasses.field(default_factory=dict)

    def known(self, name: str) -> list[Digest]:
        """What the object of that name may be."""
        return [self.objects[name], *self.before.get(name, ())]

    def encode(self) -> bytes:
        """As JSON."""
        objects = {name: _plain(one) for name, one in self.objects.items()}
        before = {name: [_plain(one) for one in some] for name, some in self.before.items()}
        content = {"format": _FORMAT, "objects": objects, "before": before}
        return json.dumps(content, indent=1).encode()

    @classmethod
    def decode(cls, encoded: bytes, address: Address) -> "Ledger":
        """Reads what `encode` wrote.

        Raises:
            UserError: it is something else.
        """
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(encoded)
            if content["format"] == _FORMAT:
                objects = {name: Digest(**one) for name, one in content["objects"].items()}
                before = content["before"].items()
                return cls(objects, {name: [Digest(**o) for o in some] for name, some in before})
        raise UserError(f"{address} is not a list of objects as this version writes it")


def _plain(one: Digest) -> dict[str, Any]:
    return {"bytes": one.bytes, "sha256": one.sha256}


def is_file(address: Address) -> bool:
    """Whether what a command writes there is a file, by its name, and no directory."""
    return address.name.endswith(_FILES)


def beside(address: Address) -> tuple[Address, str]:
    """The directory of what a command writes, and what names there begin with.

    Of a file, these are the file's own and those of what is written beside it.
    """
    if is_file(address):
        return address.parent, address.name.partition(".")[0] + "."
    return address, ""


def place(address: Address, name: str = LEDGER) -> Address:
    """Where the list of what is written to an address lies, or the lock."""
    directory, prefix = beside(address)
    return directory / (f".{prefix}{name.lstrip('.')}" if prefix else name)


def find(store: Store, address: Address) -> tuple[Address, Ledger] | None:
    """The list that an object or directory is in, with the directory that its names are of."""
    at, _ = beside(address)
    places = [(at, place(address))]
    above = [at] if is_file(address) else []
    while at.within_bucket:
        at = at.parent
        above.append(at)
    for directory, listed in [*places, *((each, each / LEDGER) for each in above)]:
        if (encoded := store.read(listed)) is not None:
            return directory, Ledger.decode(encoded, listed)
    return None


def names_of(held: Sequence[str], within: str) -> list[str]:
    """Those names that are `within`, or below it; all for ""."""
    return [name for name in held if not within or name == within or name.startswith(f"{within}/")]
