from __future__ import annotations

from tests.support.hub import hub  # noqa: F401 - a fixture
