"""Flags that name places in a store: what a command reads is fetched, what it writes is put.

The commands themselves work on local paths. Corpora stay addresses, because they are read as a
stream.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from synthdiv.errors import UserError
from synthdiv.storage import check_output, fetch, glimpse, is_remote, parse, workspace

_OUTPUTS = ("output", "workdir")
_CORPORA = ("input", "corpus", "sources", "against")


class _Flag(Protocol):
    value: Any


class _Flags(Protocol):
    def __iter__(self) -> Iterator[str]: ...

    def __getitem__(self, name: str) -> _Flag: ...


@contextlib.contextmanager
def local(flags: _Flags, dry_run: bool = False) -> Iterator[None]:
    """Puts local paths in the place of addresses, for as long as a command works.

    Raises:
        UserError: an address that cannot be what its flag is for; before anything is written.
        Away: a store does not answer.
    """
    given = {name: flags[name].value for name in flags}
    outputs = {name: value for name, value in given.items() if name in _OUTPUTS and _any(value)}
    inputs = {name: v for name, v in given.items() if name not in _OUTPUTS and _any(v)}
    if outputs:
        _check(outputs, inputs, given)
    for name in _CORPORA:
        for value in _several(inputs.pop(name, ())):
            if is_remote(value) and not value.startswith("hf://"):  # which has a reader of its own
                parse(value)
    with contextlib.ExitStack() as stack:
        for name, value in inputs.items():
            found = [str(fetch(each)) for each in _several(value)]
            flags[name].value = found if isinstance(value, list) else found[0]
        for name, value in outputs.items():
            path = glimpse(value) if dry_run else stack.enter_context(workspace(value))
            flags[name].value = str(path)
        yield


def _check(outputs: Mapping[str, str], inputs: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    if given.get("distributed"):
        raise UserError(
            "several processes cannot write to a store together: mount it, and give the directory"
        )
    for value in outputs.values():
        address = check_output(value)
        for name, read in inputs.items():
            for each in _several(read):
                if is_remote(each) and f"{address}/".startswith(f"{each.rstrip('/')}/"):
                    raise UserError(f"the output {address} is, or is inside, what --{name} reads")


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _any(value: Any) -> bool:
    return any(is_remote(each) for each in _several(value))
