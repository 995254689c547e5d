"""One browser a file of page tests, and no longer: asyncio.run refuses to work beside it."""

import pytest

from tests.browser import open_window


@pytest.fixture(scope="module")
def window():
    with open_window() as opened:
        yield opened
