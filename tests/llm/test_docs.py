"""The page on asking: its Python runs, its price table is read, its SQL answers."""

import re
import sqlite3
from pathlib import Path

import pytest

from synthdiv.llm.money import price_of
from tests.llm.serving import ROOT, serving

PAGE = (ROOT / "docs" / "llm.md").read_text(encoding="utf-8")


def test_the_python_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (query,) = re.findall(r'sqlite3 out/answers\.sqlite "(.*?)"', PAGE)
    monkeypatch.chdir(tmp_path)
    with serving(says='{"topics": ["rivers", "violins"]}') as server:
        exec(code.replace("http://localhost:8000/v1", server.url), {"__name__": "page"})
    said = capsys.readouterr().out
    assert "topics=['rivers', 'violins']" in said
    assert "'sent': 1" in said
    assert "unknown" in said  # the price of my-model
    with sqlite3.connect(tmp_path / "out" / "answers.sqlite") as connection:
        ((stage, count, output, usd),) = connection.execute(query)
    connection.close()
    assert (stage, count, usd) == ("topics", 5, 0) and output > 0  # one, and two a document


def test_the_price_table_of_the_page(tmp_path: Path) -> None:
    (table,) = re.findall(r"echo '(.*?)' > my_prices\.json", PAGE)
    (tmp_path / "my_prices.json").write_text(table)
    assert price_of("my-model", [tmp_path / "my_prices.json"]).output == 600_000
