"""What tests of the page share."""

import pytest


@pytest.fixture(scope="module")
def browser():
    """A Chromium of the usual size, for all tests of a file."""
    from chromium import opened

    made = opened()
    yield made
    made.quit()
