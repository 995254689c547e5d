"""Tables that a page sorts and marks, and that a paper takes as CSV or LaTeX."""

import csv
import dataclasses
import io
import re
from collections.abc import Sequence

SIGNIFICANT = 0.05  # p-value below which a figure is marked
INTERVAL = ("low", "high")
ERROR = ("", "standard error")

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\u00b1": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
} | {one: f"\\{one}" for one in "&%$#_{}"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: as a reader sees it.
        values: the figures behind it, which are sorted by the first and written to CSV; none: the
            text is.
        strong: to be marked, as what is significant.
        link: an address that the text leads to.
    """

    text: str
    values: tuple[float | None, ...] = ()
    strong: bool = False
    link: str = ""

    @property
    def sort(self) -> str:
        """What a page sorts by; "" is last."""
        if not self.values:
            return "" if self.text == "-" else self.text
        return "" if self.values[0] is None else repr(float(self.values[0]))


@dataclasses.dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        title: its name.
        parts: what the values behind a cell are, one each: `INTERVAL`, `ERROR`, or one alone.
        words: whether it holds words, which stand at the left.
    """

    title: str
    parts: tuple[str, ...] = ("",)
    words: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        name: of its files.
        title: its heading.
        note: how to read it.
        head: the columns; the first is of the rows' names.
        rows: a cell for every column.
        folded: shown when it is opened.
    """

    name: str
    title: str
    note: str
    head: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False


def words(text: str | None, link: str = "") -> Cell:
    """A cell of words; None is a dash."""
    return Cell("-" if text is None else text, link=link)


def figure(
    value: float | None, digits: int = 2, sign: str = "", times: float = 1, strong: bool = False
) -> Cell:
    """A cell of one figure; None is a dash."""
    if value is None:
        return Cell("-", (None,))
    return Cell(f"{times * value:{sign},.{digits}f}", (times * value,), strong)


def p_value(p: float | None) -> Cell:
    """A cell of a p-value, marked where it is significant."""
    if p is None:
        return Cell("-", (None,))
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", (p,), p < SIGNIFICANT)


def interval(
    ends: Sequence[float | None] | None, digits: int = 2, sign: str = "", times: float = 1
) -> Cell:
    """A cell of an interval."""
    if ends is None:
        return Cell("-", (None, None))
    texts = [figure(end, digits, sign, times).text for end in ends]
    return Cell(" to ".join(texts), tuple(None if e is None else times * e for e in ends))


def with_error(value: float | None, error: float | None, digits: int, times: float = 1) -> Cell:
    """A cell of a figure and its standard error."""
    found, beside = figure(value, digits, "", times), figure(error, digits, "", times)
    if value is None:
        return Cell("-", (None, None))
    return Cell(f"{found.text} \u00b1 {beside.text}", (*found.values, *beside.values))


def to_csv(table: Table) -> str:
    """Returns a table as CSV, all figures unrounded, each part of a cell in a column of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        f"{column.title} {part}".strip() for column in table.head for part in column.parts
    )
    for row in table.rows:
        written: list[object] = []
        for column, cell in zip(table.head, row, strict=True):
            values: list[object] = list(cell.values) or [cell.text]
            values += [None] * (len(column.parts) - len(values))
            written += ["" if value is None else value for value in values]
        writer.writerow(written)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """Returns a table as LaTeX, as it is shown, what is marked in bold; it needs no package."""
    kinds = "".join("l" if column.words else "r" for column in table.head)
    lines = [f"% {table.title}".replace("\n", " "), rf"\begin{{tabular}}{{{kinds}}}", r"\hline"]
    lines.append(" & ".join(_latex(column.title) for column in table.head) + r" \\ \hline")
    for row in table.rows:
        cells = (rf"\textbf{{{_latex(c.text)}}}" if c.strong else _latex(c.text) for c in row)
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _latex(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}<>\u00b1]", lambda found: _LATEX[found[0]], text)
