"""The tables of docs/scaling.md are what their commands print."""

import re
from pathlib import Path

import pytest

pytest.importorskip("jax")

from benchmarks import scaling  # noqa: E402

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
BLOCK = re.compile(r"(```bash\npython benchmarks/scaling\.py (\w+)\n```\n\n)((?:\|.*\n)*)")
SHOWN = {name: table for _, name, table in BLOCK.findall(PAGE.read_text())}
NUMBER = re.compile(r"(\d[\d,]*(?:\.\d+)?)")
SLOW = {"training", "limits"}  # all runs on all devices


def test_every_table_is_shown() -> None:
    assert set(SHOWN) == set(scaling.TABLES)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in scaling.TABLES],
)
def test_a_table_is_what_its_command_prints(name: str) -> None:
    """In the same words, and its numbers within a twentieth: prompts are settings, too."""
    shown, printed = (
        NUMBER.split(table) for table in (SHOWN[name].strip(), scaling.TABLES[name]())
    )
    assert shown[::2] == printed[::2]
    for one, other in zip(shown[1::2], printed[1::2], strict=True):
        assert _value(one) == pytest.approx(_value(other), rel=0.05, abs=0.011), (one, other)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def print_anew() -> None:
    """Writes all tables into the page: python -m tests.test_scaling."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{scaling.TABLES[found[2]]()}\n" + ("" if found[3] else "\n")

    PAGE.write_text(BLOCK.sub(block, PAGE.read_text()))


if __name__ == "__main__":
    print_anew()
