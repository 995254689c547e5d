"""What a corpus can be made of, what it is called, and text out of several columns."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synthdiv.corpora import Corpus, check_names, corpus_name, split_paths
from synthdiv.errors import UserError

TEXTS = ["one", "zwei\nlines", "trois ☃"]
ROWS = [{"id": f"d{i}", "text": text, "n": i} for i, text in enumerate(TEXTS)]


def pandas_frame() -> Any:
    frame = pytest.importorskip("pandas").DataFrame(ROWS)
    return frame[frame["n"] >= 0].set_index(pytest.importorskip("pandas").Index([7, 5, 3]))


def dataset() -> Any:
    """With an order of its own, which its table does not have."""
    made = pytest.importorskip("datasets").Dataset.from_list(ROWS[::-1])
    return made.select([2, 1, 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: ROWS,
        lambda: iter(ROWS),
        pandas_frame,
        lambda: pytest.importorskip("polars").DataFrame(ROWS),
        lambda: pa.Table.from_pylist(ROWS),
        dataset,
    ],
)
def test_every_kind_of_table_is_the_same_corpus(make: Any, tmp_path: Path) -> None:
    corpus = Corpus.of(make())
    assert [(d.id, d.text, d.provenance) for d in corpus] == [
        (row["id"], row["text"], {"n": row["n"]}) for row in ROWS
    ]
    assert [d.text for d in corpus] == TEXTS  # a second time
    assert corpus.sha256 == Corpus.of(TEXTS).sha256
    assert corpus.name == "corpus" and Corpus.of(corpus, name="other").name == "other"


def test_a_series_is_texts() -> None:
    assert len(Corpus.of(pytest.importorskip("pandas").Series(TEXTS))) == 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"train": TEXTS, "test": TEXTS}, "'train', 'test'"),
        (3, "int is no corpus"),
        ([3], "row 0 is int"),
        ([], "is empty"),
        ([{"body": "x"}], "it has 'body'"),
    ],
)
def test_what_is_no_corpus_is_refused(data: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Corpus.of(data)


def test_patterns(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "x.txt").write_text(name)
    corpus = Corpus(str(tmp_path / "runs" / "*" / "x.txt"))
    assert [d.text for d in corpus] == ["a", "b"] and corpus.name == "runs"
    with pytest.raises(UserError, match="no corpus matches"):
        Corpus(str(tmp_path / "runs" / "*" / "y.txt"))


def test_a_template_makes_one_text_of_several_columns() -> None:
    rows = [{"instruction": "Add.", "input": None, "output": "{3}", "n": 1}]
    corpus = Corpus.of(rows, text_template="{{Q}} {instruction}\n{input}\n{output}")
    [document] = corpus
    assert document.text == "{Q} Add.\n\n{3}" and document.provenance == {"n": 1}


@pytest.mark.parametrize("names", [("role", "content"), ("from", "value")])
def test_a_conversation_becomes_a_line_a_turn(names: tuple[str, str]) -> None:
    role, content = names
    turns = [{role: "user", content: "Hi"}, {role: "assistant", content: "Hello"}]
    said = "user: Hi\nassistant: Hello"
    assert [d.text for d in Corpus.of([{"messages": turns}], "messages")] == [said]
    template = "Chat:\n{messages}"
    [document] = Corpus.of([{"messages": turns}], text_template=template)
    assert document.text == f"Chat:\n{said}"


@pytest.mark.parametrize("template", ["no column", "{}", "{a!r}", "{a:>3}", "{a", "{a.b}", 3])
def test_a_template_that_cannot_be_filled_in_is_refused(template: Any) -> None:
    with pytest.raises(UserError):
        Corpus.of([{"a": "x"}], text_template=template)


def test_templates_count_in_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "n": "y"}\n')
    plain = Corpus(tmp_path / "a.jsonl").fingerprint
    assert plain != Corpus(tmp_path / "a.jsonl", text_template="{text}{n}").fingerprint
    # Tokens that were written before are still those of this corpus.
    assert plain == "be4e0d2e4adb743645c94992468691c9d4a2062d74b06feb67e7f4631795df2d"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("stories.jsonl.gz", "stories"),
        ("runs/T8/corpus", "T8"),
        ("corpus", "corpus"),
        ("./corpus", "corpus"),
        ("../corpus", "corpus"),
        ("runs/corpus.jsonl", "corpus"),
        (".hidden.jsonl", "hidden"),
        ("/data/x/", "x"),
    ],
)
def test_names(path: str, name: str) -> None:
    assert corpus_name(Path(path)) == name


def test_given_names_are_checked() -> None:
    assert check_names(["a", "b c"], 2) == ["a", "b c"]
    for names in (["a"], ["a", "a"], ["a", "../b"], ["a", ""]):
        with pytest.raises(UserError):
            check_names(names, 2)


def test_paths_between_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.txt", "c", "d,e,f"):
        Path(name).write_text("x")
    assert split_paths("c,a,b.txt, c ,d,e,f,g") == ["c", "a,b.txt", "c", "d,e,f", "g"]


def test_only_the_text_of_a_frame_has_to_be_text() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": [*TEXTS, None], "other": [1, "b", None, {"c": [2]}]})
    found = list(Corpus.of(frame))
    assert [d.text for d in found] == [*TEXTS, ""]
    assert [d.provenance["other"] for d in found] == [1, "b", None, {"c": [2]}]
    with pytest.raises(UserError, match="row 0: 'other' is int, not text"):
        list(Corpus.of(frame, "other"))


@pytest.mark.parametrize("column", [1, "1"])
def test_columns_may_have_numbers_for_names(column: str | int) -> None:
    frame = pytest.importorskip("pandas").DataFrame([["a", text] for text in TEXTS])
    for data in (frame, [{0: "a", 1: text} for text in TEXTS]):
        found = list(Corpus.of(data, column))
        assert [(d.text, d.provenance) for d in found] == [(text, {"0": "a"}) for text in TEXTS]


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pytest.importorskip("pandas").DataFrame([["a", "b"]], columns=["text", "text"])
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    for data in (frame, table):
        with pytest.raises(UserError, match="two columns 'text'"):
            Corpus.of(data)


def test_an_index_with_a_name_is_a_column() -> None:
    frame = pytest.importorskip("pandas").DataFrame(ROWS).set_index("id")
    assert [(d.id, d.text) for d in Corpus.of(frame)] == [(r["id"], r["text"]) for r in ROWS]


def test_none_in_a_list_is_an_empty_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert [d.text for d in Corpus.of(["one", None, "two"])] == ["one", "", "two"]
    assert "1 of 3 documents are empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x " * 5000, "give a list of texts"),
        ("x*" * 5000, "give a list of texts"),
        ("a\nb", "give a list of texts"),
        ("/" + "x" * 300, "give a list of texts"),
        ("", "a list of texts"),
    ],
)
def test_a_text_is_no_path(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        Corpus.of(text)
    assert len(str(refused.value)) < 200 and "\n" not in str(refused.value)


def test_paths_in_a_flag_may_be_long_together() -> None:
    paths = [f"{'x' * 90}{n}" for n in range(5)]
    assert split_paths(",".join(paths)) == paths


def test_a_saved_dict_of_data_sets_is_refused_with_its_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    both = datasets.DatasetDict({"train": dataset(), "test": dataset()})
    both.save_to_disk(tmp_path / "both")
    with pytest.raises(UserError, match="both' is a DatasetDict .*both/train', .*both/test'"):
        Corpus(tmp_path / "both")
    assert [d.text for d in Corpus(tmp_path / "both" / "train")] == TEXTS
