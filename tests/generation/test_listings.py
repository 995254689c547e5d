"""Lists of topics: what a file is taken for, and what is refused with its line."""

import pytest

from synthdiv.errors import UserError
from synthdiv.generation import read_listings

LIST = "Arts > Music > Opera\nArts > Music > Jazz\nCrafts > Knitting\nNetworks > TCP/IP\n"
PATHS = ["Arts/Music/Opera", "Arts/Music/Jazz", "Crafts/Knitting", "Networks/TCP-IP"]


def read(tmp_path, text, kind=None, name="topics.txt", column="text"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    listed, pages = read_listings([str(path)], kind, column)
    return [found.topic.key for found in listed] if pages is None else "pages"


@pytest.mark.parametrize("sign", ["\n ", "\n\t", "\n- ", "\n  * "])
def test_a_list_stays_one_whatever_its_lines_begin_with(tmp_path, capsys, sign):
    for text in (LIST, LIST.replace("\n", sign, 1), LIST.replace("\n", sign, 3)):
        assert read(tmp_path, text) == PATHS
        assert "topics.txt: read as list, 4 topics" in capsys.readouterr().err
    assert read(tmp_path, LIST.replace(" > ", ">")) == PATHS
    assert read(tmp_path, f"Arts/Music{sign}Arts/Dance\nArts") == [
        "Arts/Music",
        "Arts/Dance",
        "Arts",
    ]


def test_an_outline_stays_one_and_keeps_its_slashes(tmp_path, capsys):
    assert read(tmp_path, "Networks\n  TCP/IP\n  I/O\nArts\n") == [
        *("Networks/TCP-IP", "Networks/I-O", "Arts"),
    ]
    assert "read as tree" in capsys.readouterr().err
    with pytest.raises(UserError, match="--from=tree or --from=list"):
        read(tmp_path, "Networks\n  Ports > 1024\n  Packets\nArts\n")


def test_where_lines_have_arrows_a_slash_is_part_of_every_name(tmp_path):
    assert read(tmp_path, f"I/O\n{LIST}") == ["I-O", *PATHS]
    # In a list by slashes, one arrow makes no others of them.
    text = "Arts/Music\nArts/Dance\nMaths > A/B tests\n"
    assert read(tmp_path, text) == ["Arts/Music", "Arts/Dance", "Maths/A-B tests"]


def test_one_long_line_makes_no_pages_of_a_list(tmp_path):
    long = "x" * 10_000
    for text in (LIST + long, f"{LIST}Arts > {long}\n", f"Arts\n Music\n Dance\n {long}\n"):
        with pytest.raises(UserError, match=r"line [45] has 10,000 characters.*--from=pages"):
            read(tmp_path, text)
    assert read(tmp_path, f"{LIST}{'Arts > ' * 30}Opera\n")[-1] == "Arts/Arts/Arts/Arts/Opera"
    prose = "He came in.\nShe left.\n   They did not speak of it for years.\n" + "So it went. " * 20
    assert read(tmp_path, prose) == read(tmp_path, f"A story\n{long}\n{long}\n") == "pages"


@pytest.mark.parametrize("line", ["Arts > ", "> Foo", "A > > B", "Arts/", "A//B"])
def test_an_empty_level_is_refused_with_its_line(tmp_path, line):
    with pytest.raises(UserError, match=r"topics\.txt line 2 has an empty level"):
        read(tmp_path, f"Arts{line[-1]}Music\n{line}\n" if "/" in line else f"A > B\n{line}\n")
    with pytest.raises(UserError, match=r"t\.csv line 2 has an empty level"):
        read(tmp_path, f"path,topic\n{line},Opera\n", name="t.csv")


def test_a_sign_is_no_comment(tmp_path):
    assert read(tmp_path, "# my topics\n#MeToo\n.NET\n") == ["#MeToo", ".NET"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("topic;keywords\nOpera;aria\n", "'topic'.*--from=table.*commas between, not ';'"),
        ("Arts,Opera\nArts,Jazz\n", "'topic'.*--from=table.*first line names its columns"),
        (LIST.encode("utf-16"), "line 1 is not UTF-8 text: it is UTF-16"),
    ],
)
def test_a_table_that_is_none_is_told_what_it_lacks(tmp_path, text, words):
    for kind in ("table",) if isinstance(text, bytes) else ("table", None):
        with pytest.raises(UserError, match=words):
            read(tmp_path, text, kind, name="t.csv")


def test_texts_in_utf_16_are_named(tmp_path):
    for encoding in ("utf-16", "utf-16-le"):
        with pytest.raises(UserError, match="UTF-16"):
            read(tmp_path, LIST.encode(encoding))


def test_pages_of_several_columns_are_no_table(tmp_path):
    assert read(tmp_path, "title,body\nOpera,Long\n", name="t.csv", column=None) == "pages"
    assert read(tmp_path, "title,text\nOpera,Long\n", name="t.csv") == "pages"
