"""For the tests of this folder."""

from tests.support.new_stores import new_stores  # noqa: F401  # a fixture
