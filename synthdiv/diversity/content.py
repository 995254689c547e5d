"""What results have in common: each is a mapping, of what its JSON file holds."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any


class Content(Mapping[str, Any]):
    """A result as the mapping that its JSON file holds: `result["score"]`, `list(result)`.

    Two that hold the same are equal.
    """

    content: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def __hash__(self) -> int:
        return hash(frozenset(self.content))  # its values are lists and dicts

    def to_json(self) -> dict[str, Any]:
        """Returns what the file holds, to be changed at will."""
        return copy.deepcopy(dict(self.content))
