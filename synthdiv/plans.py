"""What a run would take, told before it runs, and the text tables that results and plans share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What a run would take; every --dry_run prints one.

    Attributes:
        facts: in words for a person, by label.
        figures: the same in plain units (bytes, tokens, hours), for programs.
        parts: plans of the parts of the work, by name.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, "Plan"] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max(map(len, self.facts), default=0)
        facts = [f"{label:<{width}}  {words}" for label, words in self.facts.items()]
        parts = [f"{name}\n{part}" for name, part in self.parts.items()]
        return "\n\n".join(block for block in ("\n".join(facts), *parts) if block)


def text_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, rule: bool = False
) -> str:
    """Returns a table for the terminal: two spaces between columns, no trailing ones.

    Args:
        head: names of the columns.
        rows: a cell for every column.
        left: columns, from the first, that are aligned to the left; the others to the right.
        rule: whether a line of dashes stands below the names.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    ruled = [["-" * width for width in widths]] if rule else []
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *ruled, *rows)
    )
