"""Copies of what lies in a store: as it is now, verified, and no more than is needed."""

from pathlib import Path
from typing import Any

import pytest

from synthdiv.errors import UserError
from synthdiv.files import check_dir
from synthdiv.storage import Damaged, Passage, fetch, listing, parse, told, workspace
from synthdiv.storage.stores import store


def test_a_copy_is_used_again_until_the_object_changes(
    bucket: str, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.pipe_file(f"{bucket}/d/a.txt", b"1")
    files.pipe_file(f"{bucket}/d/b.txt", b"2")
    here = fetch(f"{bucket}/d")
    fetched: list[str] = []
    get = type(store(parse(bucket))).get

    def counted(self: Any, address: Any, *rest: Any) -> Any:
        fetched.append(address.name)
        return get(self, address, *rest)

    monkeypatch.setattr(type(store(parse(bucket))), "get", counted)
    assert fetch(f"{bucket}/d") == here and fetched == []
    files.pipe_file(f"{bucket}/d/a.txt", b"3")
    files.rm_file(f"{bucket}/d/b.txt")
    assert [path.read_text() for path in fetch(f"{bucket}/d").iterdir()] == ["3"]
    assert fetched == ["a.txt"]
    (here / "a.txt").write_text("spoiled")
    assert (fetch(f"{bucket}/d") / "a.txt").read_text() == "3"


def test_a_wrong_digest_is_noticed(bucket: str, files: Any) -> None:
    with workspace(f"{bucket}/run") as directory:
        (directory / "score.json").write_text("right")
    files.pipe_file(f"{bucket}/run/score.json", b"wrong")
    with pytest.raises(Damaged, match="run/score.json is not what was written there"):
        fetch(f"{bucket}/run")
    with pytest.raises(Damaged):  # by the list in the directory above
        fetch(f"{bucket}/run/score.json")
    files.rm_file(f"{bucket}/run/score.json")
    with pytest.raises(UserError, match="has gone since it was listed"):
        fetch(f"{bucket}/run")


def test_what_is_not_listed_does_not_count(
    bucket: str, files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with workspace(f"{bucket}/run") as directory:
        (directory / "shard-0").write_text("0")
    files.pipe_file(f"{bucket}/run/shard-1", b"of a writer that was killed")
    assert set(listing(parse(f"{bucket}/run"))) == {"shard-0"}
    assert "left out 1 objects" in capsys.readouterr().err


def test_of_a_run_only_the_newest_checkpoint_is_fetched(bucket: str, files: Any) -> None:
    for step in (9, 10, 8):
        files.pipe_file(f"{bucket}/run/checkpoints/{step}/params", b"p")
    files.pipe_file(f"{bucket}/run/done.json", b"{}")
    found = {p.relative_to(fetch(f"{bucket}/run")) for p in fetch(f"{bucket}/run").rglob("*")}
    assert {str(path) for path in found if path.suffix or path.name == "params"} == {
        "checkpoints/10/params",
        "done.json",
    }
    assert (fetch(f"{bucket}/run/checkpoints/8") / "params").exists()


def test_a_copy_is_told_by_its_address_and_never_written_to(bucket: str, files: Any) -> None:
    files.pipe_file(f"{bucket}/score/score.json", b"{}")
    here = fetch(f"{bucket}/score")
    assert told(here / "score.json") == f"{bucket}/score/score.json"
    assert told("runs/score") == "runs/score"
    with pytest.raises(UserError, match="name an output"):
        check_dir(here)
    with workspace(f"{bucket}/run") as directory:
        assert told(directory / "x") == f"{bucket}/run/x"


def test_a_cache_that_cannot_be_is_told(
    bucket: str, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.pipe_file(f"{bucket}/x", b"1")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNTHDIV_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="SYNTHDIV_CACHE names another directory"):
        fetch(f"{bucket}/x")


def test_nothing_there_is_a_line(bucket: str) -> None:
    with pytest.raises(UserError, match=f"nothing is at {bucket}/x"):
        fetch(f"{bucket}/x")


@pytest.mark.parametrize("keep", [False, True])
def test_what_passes_through_leaves_no_trace(
    bucket: str, files: Any, keep: bool, cache: Path
) -> None:
    for number in range(3):
        files.pipe_file(f"{bucket}/d/{number}", str(number).encode())
    some = list(listing(parse(f"{bucket}/d")).values())
    passage = Passage(keep)
    with passage.reading(some[0]) as first:
        assert first.read_text() == "0"
        passage.ahead(some[1])
    with passage.reading(some[1]) as second:
        passage.ahead(some[2])
        assert second.read_text() == "1" and first.exists() == keep
    passage.close()
    left = [path for path in cache.rglob("*") if path.is_file() and "versions" not in str(path)]
    assert len(left) == 3 * keep
