"""What every page shares: the stylesheet, the template environment, and how figures are written.

A page is one file that needs no network. Its content security policy names its stylesheet and its
script by their hashes, so nothing else is applied or run. Text of other people enters a page
escaped, or as JSON that the page's own script reads as text.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from synthdiv.reporting import charts

if TYPE_CHECKING:
    import jinja2
    import markupsafe

_ROOM = Path(__file__).parent
DIRECTIONS = {1: "higher", -1: "lower", 0: "neither"}


class Metric(Protocol):
    """A baseline metric as a page explains it.

    Attributes:
        title: its name in the field.
        direction: +1 higher = more diverse, -1 higher = less diverse, 0 neither.
        what: the formula in words.
        confounds: what else moves it.
    """

    @property
    def title(self) -> str: ...
    @property
    def direction(self) -> int: ...
    @property
    def what(self) -> str: ...
    @property
    def confounds(self) -> str: ...


def stylesheet() -> str:
    """Returns the CSS of all pages and their charts, light and dark."""
    return _file("chart.css") + _file("page.css")  # in this order: a narrow page changes charts


def standalone(svg: str) -> str:
    """Returns a chart of a page as an SVG file of its own: light, in a sans-serif font."""
    light = re.findall(
        r"--(?:card|ink|soft|line|g\d): #\w+", _file("page.css").partition("@media")[0]
    )
    style = f"svg {{ {'; '.join(light)}; font-family: sans-serif; background: #fff; }}"
    chart, _, rest = svg.partition("</svg>")  # a legend stands below a chart, on a page alone
    opening = '<svg xmlns="http://www.w3.org/2000/svg" '
    head, _, body = chart.removeprefix("<svg ").partition(">")
    # Without a page, links lead nowhere.
    body = re.sub(r"</?a\b[^>]*>", "", body)
    return f"{opening}{head}><style>{style}\n{_file('chart.css')}</style>{body}</svg>\n"


def _file(name: str) -> str:
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
    made.filters["score"] = lambda value: (
        f"{value:,.2f}" if isinstance(value, (int, float)) else "-"
    )
    made.filters["name"] = breakable
    made.filters["interval"] = interval
    made.filters["ends"] = ends
    made.filters["p"] = lambda p: "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
    made.filters["percents"] = lambda ends: (
        " to ".join(f"{100 * end:.1f}%" for end in ends) if ends and None not in ends else "-"
    )
    return made


def render(template: str, script: str | None = None, **values: Any) -> str:
    """Returns a page as text.

    Args:
        template: a file of `templates/` that extends base, without ".html.jinja".
        script: the file of the page's script, if it has one.
        **values: what the template names; text is escaped, markup passes as `markupsafe.Markup`.
    """
    from markupsafe import Markup

    style = stylesheet()
    code = _file(script) if script else ""
    page = environment().get_template(f"{template}.html.jinja")
    return page.render(
        style=Markup(style),
        style_hash=_sha256(style),
        script=Markup(code),
        script_hash=_sha256(code) if script else "",
        **values,
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def interval(ends: Sequence[float | None] | None) -> str:
    """Returns an interval in words; an end that is not known is a dash."""
    if not ends:
        return "-"
    low, high = ("-" if end is None else charts.number(end) for end in ends)
    return f"{low} to {high}"


def ends(of: Sequence[float | None] | None) -> str:
    """Returns an interval of scores in words, to two decimals."""
    return " to ".join("-" if end is None else f"{end:.2f}" for end in of) if of else "-"


def breakable(name: str) -> "markupsafe.Markup":
    """A name that a narrow column breaks after an underscore or a hyphen, not in a word."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(map(escape, re.split(r"(?<=[_-])(?=.)", name)))


def inline_json(value: Any) -> str:
    """Returns JSON for a script element: no tag, no entity and no comment can form in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode()
