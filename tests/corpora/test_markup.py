"""Pages of the web and of wikis: what is read of them, and what is left out."""

import bz2

import pytest

from synthdiv.corpora import Corpus
from synthdiv.corpora.markup import plain
from synthdiv.errors import UserError

HTML = """<!doctype html><html><head><title>Iron &amp; rust</title><style>p {}</style>
<body><nav>Home | About</nav><h1>Iron</h1><p>Iron <b>rusts</b> in &lt;wet&gt; air.<p>Salt helps.
<script>var x = "<p>never</p>";</script></body></html>"""

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">
<page><title>Iron</title><ns>0</ns><id>7</id><revision><id>99</id><text>{{Infobox|a={{b}}}}
'''Iron''' is a [[Chemical element|element]]&lt;ref&gt;A book&lt;/ref&gt; that [[rust]]s.
== Uses ==
[[File:Iron.jpg|thumb|A [[bar]] of iron]]
* Steel, see [https://example.org the works]
{| class="x"
| cell
|}
</text></revision></page>
<page><title>Fe</title><ns>0</ns><id>8</id><redirect title="Iron"/>
<revision><text>#R</text></revision></page>
<page><title>Talk:Iron</title><ns>1</ns><id>9</id><revision><text>Hello.</text></revision></page>
<page><title>Salt</title><ns>0</ns><id>10</id>
<revision><text>Salt is salty.</text></revision></page>
</mediawiki>"""


def test_an_html_page_is_its_title_and_what_a_reader_sees(tmp_path):
    (tmp_path / "iron.html").write_text(HTML)
    [page] = Corpus(tmp_path)
    assert page.id == "iron.html" and page.provenance["title"] == "Iron & rust"
    assert page.text == "Iron\n\nIron rusts in <wet> air.\nSalt helps."


@pytest.mark.parametrize("name", ["dump.xml", "dump.xml.bz2"])
def test_a_wikis_dump_is_its_articles_without_markup(tmp_path, name):
    written = DUMP.encode()
    (tmp_path / name).write_bytes(bz2.compress(written) if name.endswith("bz2") else written)
    iron, salt = Corpus(tmp_path / name)
    assert (iron.id, iron.provenance["title"]) == ("7", "Iron") and salt.id == "10"
    assert iron.text == "Iron is a element that rusts.\n\nUses\n\nSteel, see the works"


def test_a_dump_cut_short_is_refused_and_told(tmp_path):
    (tmp_path / "dump.xml").write_text(DUMP[: DUMP.index("<page><title>Salt")])
    with pytest.raises(UserError, match="MediaWiki dump after page 3"):
        list(Corpus(tmp_path / "dump.xml"))
    packed = bz2.compress(DUMP.encode())
    (tmp_path / "dump.xml.bz2").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"dump.xml.bz2 cannot be read"):
        list(Corpus(tmp_path / "dump.xml.bz2"))


def test_markup_without_an_end_ends():
    assert plain("{{" * 50_000 + "x") and plain("[[File:" * 20_000) is not None
