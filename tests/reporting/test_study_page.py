"""The study's page at every width: numbers are in sight, charts are named, nothing is loaded."""

import pytest

from synthdiv.study.report import write_report
from tests.study.test_report import made_up_study

# Cells of figures that lie inside the window, by table.
SEEN = """[...document.querySelectorAll('table')].filter(table => table.checkVisibility())
  .map(table =>
  [...table.querySelectorAll('td.n')].filter(cell => {
    const box = cell.getBoundingClientRect();
    const name = cell.parentElement.querySelector('th').getBoundingClientRect();
    return box.left >= name.right - 1 && box.right <= innerWidth;
  }).length / table.querySelectorAll('tbody tr').length)"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    names = ("T8_G64_topic_styles_persona", "T16_G32", "T32_G16", "a corpus & more")
    return write_report(tmp_path_factory.mktemp("study"), made_up_study(names))


def test_the_page_opens_and_is_accessible(path, window):
    for width, dark in ((400, True), (1280, False)):
        window.open(path, width, dark)
        assert window.run("document.documentElement.scrollWidth") <= width
        seen = window.run(SEEN)
        assert len(seen) == 5 and min(seen) >= (2 if width == 400 else 3), seen
        # A table that scrolls keeps the names of its rows in sight.
        for at in (0, 200):
            window.run(f"document.querySelectorAll('.scroll').forEach(e => e.scrollLeft = {at})")
            left = window.run(
                "document.querySelector('.scroll tbody th').getBoundingClientRect().left"
                " - document.querySelector('.scroll').getBoundingClientRect().left"
            )
            assert abs(left) < 1
        assert window.faults == [] and len(window.requests) == 1
        assert window.violations() == []
