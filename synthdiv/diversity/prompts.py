"""The words the judge is asked with: Jinja templates that are configuration, not code.

Each template has two blocks, `system` (instructions and criteria: the same for every round of a
criteria set, so that servers keep it in their prefix cache) and `user` (the documents).

A directory holds one of three ways of asking. With `facets.json` in it documents get values at
levels. With `codebook.json` they are sorted into clusters by one rule under a codebook, which is
made with the prompts of the directory that this file names. Without either they are sorted by
criteria, as in the paper.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any, Literal

from synthdiv.config import find
from synthdiv.diversity.codebook import Facet, read_facets
from synthdiv.errors import UserError
from synthdiv.files import read_json
from synthdiv.prompts import Templates

CLUSTER_STEPS = ("criteria", "gather_metadata", "gather_metrics", "summary", "cluster", "verify")
VALUE_STEPS = ("note", "gather", "assign")
RULE_STEPS = ("cluster", "verify")
RULE = "rule"  # the template that both of them include
FACETS = "facets.json"
CODEBOOK = "codebook.json"

Way = Literal["criteria", "rule", "values"]
_ROLES = ("system", "user")  # a block of each template


class Prompts:
    """The templates of one directory.

    Args:
        directory: where they are; searched by `synthdiv.config.find`.

    Attributes:
        directory: where they were found.
        way: of asking: sorting by "criteria" or by one "rule", or "values" at levels.
        facets: of the codebook; none where documents are sorted by criteria.
        coding: the templates that codebooks are made with; these where documents get values.
        sha256: of all of them, as score.json tells it.

    Raises:
        UserError: a template is missing or is no valid Jinja; names file and line.
    """

    def __init__(self, directory: str | Path) -> None:
        self._templates = Templates(directory)
        self.directory = self._templates.directory
        digest = hashlib.sha256()
        self.way: Way = "criteria"
        self.coding: Prompts = self
        self.facets: tuple[Facet, ...] = ()
        steps: tuple[str, ...] = CLUSTER_STEPS
        files: list[Path] = []
        if (facets := self.directory / FACETS).is_file():
            self.way, steps, files = "values", VALUE_STEPS, [facets]
            self.facets = read_facets(facets)
        elif (codebook := self.directory / CODEBOOK).is_file():
            self.way, steps = "rule", RULE_STEPS
            self._templates.get(RULE)
            files = [codebook, self.directory / f"{RULE}.jinja"]
            self.coding = load_prompts(_made_by(codebook))
            self.facets = self.coding.facets
            digest.update(self.coding.sha256.encode())
        for step in steps:
            path = self.directory / f"{step}.jinja"
            template = self._templates.get(step)
            digest.update(f"{step}\n".encode() + path.read_bytes() + b"\0")
            for block in _ROLES:
                if block not in template.blocks:
                    raise UserError(f"{path} has no block {block!r}")
        for file in files:
            digest.update(f"{file.name}\n".encode() + file.read_bytes() + b"\0")
        self.sha256: str = digest.hexdigest()

    @property
    def stage(self) -> str:
        """What the rounds are called in plans and batch files."""
        return {"criteria": "clustering", "rule": "sorting", "values": "values"}[self.way]

    @property
    def review(self) -> str | None:
        """What the verification of rounds is called; None where there is none."""
        return {"criteria": "verification", "rule": "review", "values": None}[self.way]

    def messages(self, step: str, **values: Any) -> tuple[dict[str, str], ...]:
        """Returns the messages of one step, with `values` in place.

        Raises:
            UserError: the template uses a name that the step does not have.
        """
        return tuple(
            {"role": role, "content": self._templates.render(step, role, **values)}
            for role in _ROLES
        )


def _made_by(path: Path) -> str:
    """The directory of the prompts that codebooks are made with."""
    content = read_json(path)
    directory = content.get("prompts") if isinstance(content, dict) else None
    if not isinstance(directory, str) or not (find(directory) / FACETS).is_file():
        raise UserError(f"{path} names no directory of prompts with {FACETS} as `prompts`")
    return directory


@functools.lru_cache(maxsize=8)
def load_prompts(directory: str) -> Prompts:
    """The templates of `directory`, read once a process."""
    return Prompts(directory)
