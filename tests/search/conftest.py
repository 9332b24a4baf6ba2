"""A tracking store that is made once: see tests/tracking/conftest.py."""

from tests.tracking.conftest import _no_server, empty_store  # noqa: F401
