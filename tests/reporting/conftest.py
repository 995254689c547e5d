"""One browser for all tests of pages; a package's, since asyncio.run refuses to work beside it."""

import pytest

from tests.browser import open_window


@pytest.fixture(scope="package")
def window():
    with open_window() as opened:
        yield opened
