"""Work in pieces on this machine: in order, few at once, with the errors of the work itself."""

import math
import os
import sys
from collections.abc import Iterator

import pytest

from synthdiv.engine import Engine, crew
from synthdiv.errors import UserError


def squared(number: int) -> tuple[int, int]:
    """A number's square, and who worked it out."""
    if number < 0:
        raise UserError(f"{number} is below 0")
    return number * number, os.getpid()


@pytest.mark.parametrize(
    ("processes", "threads", "here", "elsewhere"),
    [(0, 1, 0, 0), (0, 3, math.inf, 0), (1, 2, 5, 15)],
)
def test_results_come_in_order_whoever_does_the_work(
    processes: int, threads: int, here: float, elsewhere: int
) -> None:
    with crew(squared, Engine(), processes, threads, here) as workers:
        first = list(workers.map(range(12)))
        done = first + list(workers.map(range(12, 20)))
    assert [square for square, _ in done] == [n * n for n in range(20)]
    assert [pid == os.getpid() for _, pid in done].count(False) == elsewhere


def test_pieces_are_taken_a_little_ahead() -> None:
    taken: list[int] = []

    def pieces() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with crew(squared, threads=2) as workers:
        results = workers.map(pieces())
        assert next(results)[0] == 0
        assert len(taken) == 4
        results.close()


def test_what_the_work_raises_is_raised_in_its_place() -> None:
    with crew(squared, threads=2) as workers:
        results = workers.map([1, 2, -3, 4])
        assert [next(results)[0], next(results)[0]] == [1, 4]
        with pytest.raises(UserError, match="-3 is below 0"):
            next(results)


def test_engines_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no engine 'rya'; did you mean 'ray'"):
        Engine("rya")
    with pytest.raises(UserError, match="`ray_address` is of a Ray cluster"):
        Engine("local", "10.0.0.1:6379")
    with pytest.raises(UserError, match="ray job submit"):
        Engine("ray", "ray://10.0.0.1:10001")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'synthdiv\[ray\]'"):
        crew(squared, Engine("ray"))
