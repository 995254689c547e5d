"""Pages of the web and of wikis as text: HTML files, and the dumps of MediaWiki."""

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from synthdiv.errors import UserError
from synthdiv.json_lines import READ_FAULTS, open_bytes

Row = dict[str, Any]

_SILENT = {"script", "style", "noscript", "template", "svg", "head", "nav", "footer"}
_BREAKS = {"p", "div", "br", "li", "tr", "td", "th", "section", "article", "pre", "blockquote"}
_BREAKS |= {f"h{level}" for level in range(1, 7)}


class _Text(HTMLParser):
    """Collects the title and the text that a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.title: list[str] = []
        self.text: list[str] = []
        self._silent: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._in_title |= tag == "title"
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag == "body":  # where a head was not closed
            self._silent.clear()
        if tag in _BREAKS:
            self.text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        if tag in _BREAKS:
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._silent:
            self.text.append(data)


def html_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The page that an HTML file is: its `id` is the file's name; `title` and `text`."""
    try:
        with open_bytes(path) as file:
            raw = file.read()
    except READ_FAULTS as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    page = _Text()
    page.feed(raw.decode("utf-8", "replace"))
    page.close()
    title = " ".join("".join(page.title).split())
    yield 1, {"id": path.name, "title": title, "text": _tidied("".join(page.text))}


def wiki_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The articles of a MediaWiki dump, without redirects, and without their markup.

    Raises:
        UserError: the file is broken, or no XML.
    """
    title, number, redirect, namespace = "", 0, False, "0"
    text = name = ""
    try:
        with open_bytes(path) as file:
            root: Any = None
            for event, element in ElementTree.iterparse(file, ("start", "end")):
                if root is None:
                    root = element
                if event == "start":
                    continue
                tag = element.tag.rpartition("}")[2]
                value = element.text or ""
                if tag == "title":
                    title, name, redirect = value, "", False
                elif tag == "ns":
                    namespace = value
                elif tag == "id" and not name:  # the page's, before its revision's
                    name = value
                elif tag == "redirect":
                    redirect = True
                elif tag == "text":
                    text = value
                elif tag == "page":
                    number += 1
                    if namespace == "0" and not redirect:
                        yield number, {"id": name, "title": title, "text": plain(text)}
                    root.clear()  # or all pages read so far would stay in memory
    except ElementTree.ParseError as error:
        after = f" after page {number:,}" if number else ""
        raise UserError(f"{path} cannot be read as a MediaWiki dump{after}: {error}") from None
    except READ_FAULTS as error:
        raise UserError(f"{path} cannot be read after page {number:,}: {error}") from None


_INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
_NO_TEXT = re.compile(r"<!--.*?-->|<ref[^>/]*/>|<(ref|gallery|math|timeline)\b.*?</\1>", re.DOTALL)
_PICTURE = re.compile(
    r"\[\[(?:File|Image|Category):(?:[^\[\]]|\[\[[^\[\]]*\]\])*\]\]", re.IGNORECASE
)
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_OUTWARD = re.compile(r"\[(?:https?:)?//\S+ ?([^\]]*)\]")
_HEADING = re.compile(r"^=+ *(.*?) *=+ *$", re.MULTILINE)


def plain(wikitext: str) -> str:
    """Wikitext without its markup: templates, tables, references and pictures go, words stay."""
    text = _NO_TEXT.sub("", wikitext)
    for _ in range(30):  # levels of templates in templates
        text, found = _INNERMOST.subn("", text)
        if not found:
            break
    text = _PICTURE.sub("", text)
    text = _LINK.sub(r"\1", text)
    text = _OUTWARD.sub(r"\1", text)
    text = _HEADING.sub(r"\n\1\n", text)
    text = re.sub(r"'{2,5}|__[A-Z]+__|</?[a-z][^>]*>", "", text)
    return _tidied(re.sub(r"^[*#:;]+ *", "", html.unescape(text), flags=re.MULTILINE))


def _tidied(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
