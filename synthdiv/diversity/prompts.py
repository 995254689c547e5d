"""The words the judge is asked with: Jinja templates that are configuration, not code.

Each template has two blocks, `system` (instructions and criteria: the same for every round of a
criteria set, so that servers keep it in their prefix cache) and `user` (the documents).

A directory holds one of two ways of asking: with `facets.json` in it documents get values at
levels, without it they are sorted into clusters.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

from synthdiv.diversity.codebook import read_facets
from synthdiv.errors import UserError
from synthdiv.prompts import Templates

CLUSTER_STEPS = ("criteria", "gather_metadata", "gather_metrics", "summary", "cluster", "verify")
VALUE_STEPS = ("note", "gather", "assign")
FACETS = "facets.json"
_ROLES = ("system", "user")  # a block of each template


class Prompts:
    """The templates of one directory.

    Args:
        directory: where they are; searched by `synthdiv.config.find`.

    Attributes:
        directory: where they were found.
        facets: in which documents get values; none where they are sorted into clusters.
        sha256: of all of them, as score.json tells it.

    Raises:
        UserError: a template is missing or is no valid Jinja; names file and line.
    """

    def __init__(self, directory: str | Path) -> None:
        self._templates = Templates(directory)
        self.directory = self._templates.directory
        digest = hashlib.sha256()
        facets = self.directory / FACETS
        self.facets = read_facets(facets) if facets.is_file() else ()
        for step in VALUE_STEPS if self.facets else CLUSTER_STEPS:
            path = self.directory / f"{step}.jinja"
            template = self._templates.get(step)
            digest.update(f"{step}\n".encode() + path.read_bytes() + b"\0")
            for block in _ROLES:
                if block not in template.blocks:
                    raise UserError(f"{path} has no block {block!r}")
        if self.facets:
            digest.update(f"{FACETS}\n".encode() + facets.read_bytes() + b"\0")
        self.sha256 = digest.hexdigest()

    @property
    def stage(self) -> str:
        """What the rounds are called in plans and batch files."""
        return "values" if self.facets else "clustering"

    def messages(self, step: str, **values: Any) -> tuple[dict[str, str], ...]:
        """Returns the messages of one step, with `values` in place.

        Raises:
            UserError: the template uses a name that the step does not have.
        """
        return tuple(
            {"role": role, "content": self._templates.render(step, role, **values)}
            for role in _ROLES
        )


@functools.lru_cache(maxsize=8)
def load_prompts(directory: str) -> Prompts:
    """The templates of `directory`, read once a process."""
    return Prompts(directory)
