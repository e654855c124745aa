"""The loopback hub for the tests of publishing."""

from tests.support.hub import hub

__all__ = ["hub"]
