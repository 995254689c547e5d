"""The study's page at every width: numbers are in sight, charts are named, nothing is loaded."""

import pytest

from synthdiv.study.report import write_report
from tests.study.test_report import made_up_study

# Figures of a row that lie inside the window, by table.
SEEN = """[...document.querySelectorAll('table')].filter(table => table.checkVisibility())
  .map(table =>
  [...table.querySelectorAll('td.n')].filter(cell => {
    const box = cell.getBoundingClientRect();
    return box.width && box.left >= 0 && box.right <= innerWidth;
  }).length / table.querySelectorAll('tbody tr').length)"""
SCORES = """[...document.querySelector('#models table').tBodies[0].rows]
  .map(row => row.cells[1].textContent)"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    names = ("T8_G64_topic_styles_persona", "T16_G32", "T32_G16", "a corpus & more")
    return write_report(tmp_path_factory.mktemp("study"), made_up_study(names))


def test_the_page_opens_and_is_accessible(path, window):
    for width, dark in ((400, True), (1280, False)):
        window.open(path, width, dark)
        assert window.run("document.documentElement.scrollWidth") <= width
        seen = window.run(SEEN)
        assert len(seen) == 5 and min(seen) >= 2, seen
        assert window.faults == [] and len(window.requests) == 1
        assert window.violations() == []


def test_tables_are_sorted_by_their_heads(path, window):
    window.open(path, 1280)
    before = window.run(SCORES)
    assert before == ["1.50", "2.50", "3.50", "4.50", ""]
    head = window.page.locator("#models table").first.locator("thead th").nth(1)
    for order, wanted in (("ascending", before), ("descending", [*before[3::-1], ""])):
        head.locator("button").click()
        assert window.run(SCORES) == wanted, "what is not known stays last"
        assert head.get_attribute("aria-sort") == order
    assert window.violations() == []


def test_a_figure_is_saved_as_png(path, window):
    window.open(path, 1280)
    with window.page.expect_download() as found:
        window.page.locator("button.save").first.click()
    assert found.value.suggested_filename == "tiny_pre_trained_bits_per_byte.png"
    assert found.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert window.faults == []
