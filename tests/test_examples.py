"""The notebooks run to their ends and print what stands in them.

python tests/test_examples.py     # writes their outputs anew
"""

import asyncio
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))


def executed() -> "list[nbformat.NotebookNode]":
    """The notebooks with fresh outputs, warnings of libraries left out; all run at once."""
    return asyncio.run(_executed())


async def _executed() -> "list[nbformat.NotebookNode]":
    return await asyncio.gather(*map(_run, NOTEBOOKS))


async def _run(path: Path) -> "nbformat.NotebookNode":
    import nbclient

    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3")
    await client.async_execute(cwd=path.parent)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def printed(notebook: "nbformat.NotebookNode") -> list[str]:
    """What its cells print."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        output.text for cell in cells for output in cell.outputs if output.get("name") == "stdout"
    ]


def test_what_cells_print(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code of each notebook in this process, without Jupyter's own."""
    for module in ("datasets", "matplotlib", "pandas"):
        pytest.importorskip(module)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        monkeypatch.chdir(path.parent)
        names: dict[str, object] = {}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                lines = cell.source.splitlines(keepends=True)
                code = "".join(line for line in lines if not line.startswith("%"))
                exec(compile(code, path.name, "exec"), names)
        printed_here = capsys.readouterr().out
        assert printed_here and printed_here == "".join(printed(notebook)), path.name


@pytest.mark.slow
def test_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("datasets", "ipykernel", "matplotlib", "nbclient", "pandas"):
        pytest.importorskip(module)
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS[0].parents[1]))
    for path, notebook in zip(NOTEBOOKS, executed(), strict=True):
        kept = printed(nbformat.read(path, as_version=4))
        assert kept and printed(notebook) == kept, path.name


if __name__ == "__main__":
    for path, notebook in zip(NOTEBOOKS, executed(), strict=True):
        nbformat.write(notebook, path)
