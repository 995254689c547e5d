"""What corpora are called where two share a name."""

from pathlib import Path

import pytest

from synthdiv.corpora.names import numbered, tell_apart


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/x", "/b/y"], ["x", "y"]),
        (["/a/x", "/b/x"], ["a/x", "b/x"]),
        (["/one/a/x", "/two/a/x", "/one/a/y"], ["one/a/x", "two/a/x", "one/a/y"]),
        (["x", "/x"], ["x", "//x"]),
        (["/a/x", "/a/x"], ["//a/x", "//a/x"]),
        ([], []),
    ],
)
def test_paths_are_told_apart_by_as_little_as_it_takes(paths: list[str], names: list[str]) -> None:
    assert tell_apart([Path(path) for path in paths]) == names


def test_names_that_are_there_twice_are_numbered() -> None:
    assert numbered(["a", "b", "a", "a", "a_2"]) == ["a", "b", "a_2", "a_3", "a_2_2"]
