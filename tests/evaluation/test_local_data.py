"""The field's data files: every form that is read, and one line for everything that is wrong."""

import gzip
import json

import pytest

from synthdiv.errors import UserError
from synthdiv.evaluation.local_data import SOURCES, find_splits, numbered_rows, read_rows
from tests.evaluation import small


def _row(task: str, **changes) -> dict:
    stem = next(n for n in small.SUITE if n.startswith(SOURCES[task].stems) or n == task)
    return small.SUITE[stem](0) | changes


def _write(path, *rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("task", SOURCES)
def test_every_task_is_found_and_read(suite, task):
    (path,) = find_splits(suite, task).values()
    assert len(read_rows(path, task)) == 12


@pytest.mark.parametrize(
    "name",
    ["PIQA-Valid.jsonl", "piqa_dev.json", "piqa.jsonl", "piqa/dev.jsonl", "piqa_val.jsonl.gz"],
)
def test_names_that_the_field_uses(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(_row("piqa")) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert find_splits(tmp_path, "piqa") == {"validation": path}
    assert read_rows(path, "piqa")[0]["label"] == 0


def test_the_test_split_of_arc_comes_first_and_a_train_file_is_found(tmp_path):
    for split in ("validation", "test", "train"):
        _write(tmp_path / f"arc_easy_{split}.jsonl", _row("arc_easy"))
    assert list(find_splits(tmp_path, "arc_easy")) == ["test", "train"]
    (tmp_path / "arc_easy_test.jsonl").unlink()
    assert list(find_splits(tmp_path, "arc_easy")) == ["validation", "train"]


def test_a_json_array_and_parquet_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row("copa"), _row("copa", label=1)]
    (tmp_path / "copa_validation.json").write_text(json.dumps(rows, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "copa.parquet")
    array = read_rows(tmp_path / "copa_validation.json", "copa")
    assert array == read_rows(tmp_path / "copa.parquet", "copa")
    assert [row["label"] for row in array] == [0, 1]


def test_ai2s_own_form_of_arc_is_the_hubs(tmp_path):
    hub = _row("arc_easy")
    own = {
        "id": hub["id"],
        "question": {
            "stem": hub["question"],
            "choices": [
                {"text": t, "label": k}
                for t, k in zip(hub["choices"]["text"], hub["choices"]["label"], strict=True)
            ],
        },
        "answerKey": hub["answerKey"],
    }
    _write(tmp_path / "ARC-Easy-Test.jsonl", own)
    (path,) = find_splits(tmp_path, "arc_easy").values()
    assert read_rows(path, "arc_easy") == [hub]


def test_boolq_takes_supergluess_label_or_its_own_answer_and_title(tmp_path):
    path = tmp_path / "boolq_validation.jsonl"
    own = _row("boolq", answer=True, title="Otter")
    glue = _row("boolq", label=1, passage=f"Otter -- {own['passage']}")
    del glue["answer"]
    _write(path, own, glue)
    first, second = read_rows(path, "boolq")
    assert first == second and first["label"] == 1


@pytest.mark.parametrize(
    "ctx, parts",
    [
        ("A man is on a roof. he", ("A man is on a roof.", "he")),
        ('She calls "stop!" the dog', ('She calls "stop!"', "the dog")),
        ("Step one. Find a pan. Heat it.", ("Step one. Find a pan. Heat it.", "")),
        ("How to boil an egg", ("How to boil an egg", "")),
    ],
)
def test_a_hellaswag_context_in_one_piece_is_cut_where_a_sentence_was_begun(tmp_path, ctx, parts):
    row = _row("hellaswag", ctx=ctx)
    del row["ctx_a"], row["ctx_b"]
    _write(tmp_path / "hellaswag.jsonl", row)
    (found,) = read_rows(tmp_path / "hellaswag.jsonl", "hellaswag")
    assert (found["ctx_a"], found["ctx_b"]) == parts


@pytest.mark.parametrize(
    "task, changes, complaint",
    [
        ("arc_easy", {"answerKey": "E"}, "'answerKey' is 'E', outside the options 1, 2, 3, 4"),
        ("arc_easy", {"choices": {"text": ["a", "b"], "label": ["A"]}}, "at least 2 options"),
        ("boolq", {"answer": "yes"}, "'answer' is str, not bool or int"),
        ("boolq", {"passage": " "}, "'passage' is empty"),
        ("social_iqa", {"label": "4"}, "'label' is 4, outside the options 1 to 3"),
        ("social_iqa", {"answerB": 3}, "'answerB' is int, not str"),
        ("winogrande", {"answer": ""}, "'answer' is '', not the number of an option"),
        ("winogrande", {"sentence": "No blank."}, "'sentence' has no blank '_'"),
        ("piqa", {"label": -1}, "'label' is -1, outside the options 0 to 1"),
        ("copa", {"question": "why"}, "'question' is 'why', not 'cause' or 'effect'"),
        ("hellaswag", {"endings": ["one"]}, "'endings' is not a list of at least 2 options"),
        ("hellaswag", {"label": "4"}, "'label' is 4, outside the options 0 to 3"),
        ("world_facts", {"answer": 4}, "'answer' is 4, outside the options 0 to 3"),
        ("world_facts", {"choices": ["a", ""]}, "has an option that is empty or not text"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, task, changes, complaint):
    path = tmp_path / "data.jsonl"
    _write(path, _row(task), _row(task, **changes))
    with pytest.raises(UserError, match=r"data\.jsonl line 2: ") as caught:
        read_rows(path, task)
    assert complaint in str(caught.value)


def test_a_missing_field_names_those_that_are_there(tmp_path):
    row = _row("copa")
    del row["premise"]
    _write(tmp_path / "copa.jsonl", row)
    with pytest.raises(UserError, match=r"jsonl line 1: no field 'premise'; it has 'choice1', "):
        read_rows(tmp_path / "copa.jsonl", "copa")


@pytest.mark.parametrize(
    "text, complaint",
    [
        ('{"premise": "cut o', "line 2 is not JSON: .*truncated"),
        ("[1, 2]\n", "line 2 is not a JSON object"),
        ("nonsense\n", "line 2 is not JSON: Expecting value$"),
    ],
)
def test_a_line_that_is_no_object(tmp_path, text, complaint):
    path = tmp_path / "copa.jsonl"
    path.write_text(json.dumps(_row("copa")) + "\n" + text)
    with pytest.raises(UserError, match=complaint):
        read_rows(path, "copa")


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_compressed_file_that_is_cut_short(tmp_path, ending):
    path = tmp_path / f"piqa_validation.jsonl.{ending}"
    rows = "".join(json.dumps(_row("piqa", goal=f"goal {i * i}")) + "\n" for i in range(5000))
    if ending == "gz":
        whole = gzip.compress(rows.encode())
    else:
        whole = pytest.importorskip("zstandard").compress(rows.encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"\.jsonl\.{ending} cannot be read( after line \d+)?: "):
        read_rows(path, "piqa")
    path.write_bytes(b"not compressed at all\n")
    with pytest.raises(UserError, match=rf"\.jsonl\.{ending} cannot be read"):
        read_rows(path, "piqa")


def test_a_line_that_is_not_utf8_is_named_and_a_byte_order_mark_is_not_in_the_way(tmp_path):
    path = tmp_path / "copa.jsonl"
    good = json.dumps(_row("copa")).encode() + b"\n"
    path.write_bytes(b"\xef\xbb\xbf" + good + good)
    assert len(read_rows(path, "copa")) == 2
    path.write_bytes(good + good + b'{"premise": "\xff"}\n' + good)
    with pytest.raises(UserError, match=r"copa\.jsonl line 3 is not UTF-8 text: invalid start"):
        read_rows(path, "copa")


def test_a_parquet_file_or_an_array_that_is_broken(tmp_path):
    (tmp_path / "copa.parquet").write_text("nothing of the kind")
    with pytest.raises(UserError, match=r"copa\.parquet: cannot be read: "):
        read_rows(tmp_path / "copa.parquet", "copa")
    (tmp_path / "copa.jsonl").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"copa\.jsonl line 1 is nested too deep"):
        read_rows(tmp_path / "copa.jsonl", "copa")
    (tmp_path / "copa.json").write_text('[{"premise": "a"},\n{"premise" "b"},\n{}]')
    with pytest.raises(UserError, match=r"copa\.json line 2 is not JSON: Expecting ':' delimiter$"):
        read_rows(tmp_path / "copa.json", "copa")


def test_rows_know_their_lines(tmp_path):
    (tmp_path / "copa.jsonl").write_text(f"\n{json.dumps(_row('copa'))}\n\n" * 2)
    assert [number for number, _ in numbered_rows(tmp_path / "copa.jsonl", "copa")] == [2, 5]


def test_no_file_no_directory_no_rows(tmp_path):
    with pytest.raises(UserError, match="no data of task 'boolq' .* expected boolq_validation"):
        find_splits(tmp_path, "boolq")
    with pytest.raises(UserError, match="no directory '.*nowhere'"):
        find_splits(tmp_path / "nowhere", "boolq")
    (tmp_path / "boolq.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match="no questions"):
        read_rows(tmp_path / "boolq.jsonl", "boolq")
