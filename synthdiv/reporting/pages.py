"""What every page shares: the stylesheet, the template environment, and how figures are written.

Text of other people enters a page escaped, or as JSON that the page's own script reads as text.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.reporting import charts

if TYPE_CHECKING:
    import jinja2

_ROOM = Path(__file__).parent


def stylesheet() -> str:
    """Returns the CSS of all pages and their charts, light and dark."""
    return (_ROOM / "page.css").read_text(encoding="utf-8")


def script(name: str) -> str:
    """Returns a page's script, such as "score.js"."""
    return (_ROOM / name).read_text(encoding="utf-8")


@cache
def environment() -> "jinja2.Environment":
    """Returns the one Jinja environment: it escapes everything and writes figures for people."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ROOM / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,
    )
    made.filters["number"] = lambda value: (
        charts.number(value) if isinstance(value, (int, float)) else "-"
    )
    made.filters["percent"] = lambda share: (
        f"{100 * share:.1f}%" if isinstance(share, (int, float)) else "-"
    )
    made.filters["interval"] = interval
    made.filters["percents"] = lambda ends: (
        " to ".join(f"{100 * end:.1f}%" for end in ends) if ends and None not in ends else "-"
    )
    return made


def render(template: str, **values: Any) -> str:
    """Returns a page as text, the stylesheet filled in.

    Args:
        template: a file of `templates/`, without ".html.jinja".
        **values: what the template names; text is escaped, markup passes as `markupsafe.Markup`.
    """
    from markupsafe import Markup

    page = environment().get_template(f"{template}.html.jinja")
    return page.render(style=Markup(stylesheet()), **values)


def interval(ends: Sequence[float | None] | None) -> str:
    """Returns an interval in words; an end that is not known is a dash."""
    if not ends:
        return "-"
    low, high = ("-" if end is None else charts.number(end) for end in ends)
    return f"{low} to {high}"
