"""The notebooks run to their ends and print what stands in them.

python tests/test_examples.py     # writes their outputs anew
"""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")
pytest.importorskip("datasets")
pytest.importorskip("matplotlib")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))


def executed(path: Path) -> "nbformat.NotebookNode":
    """The notebook with fresh outputs, warnings of libraries left out."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=path.parent)
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(path.parents[1]))
    kept = printed(nbformat.read(path, as_version=4))
    assert kept
    assert printed(executed(path)) == kept


if __name__ == "__main__":
    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
