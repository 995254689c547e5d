"""Storage of any kind: what lies in `s3://`, `gs://` and `hf://`, read and written."""

from synthdiv.storage.addresses import is_remote, parse
from synthdiv.storage.copies import Passage, RemoteFile, fetch, glimpse, is_copy, listing, told
from synthdiv.storage.stores import Away, Damaged
from synthdiv.storage.workspace import check_output, workspace

__all__ = [
    "Away",
    "Damaged",
    "Passage",
    "RemoteFile",
    "check_output",
    "fetch",
    "glimpse",
    "is_copy",
    "is_remote",
    "listing",
    "parse",
    "told",
    "workspace",
]
