"""What the metrics say, to whom, and that names of others never become series of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecg_hub.server.app import HubApp
from ecg_hub.server.calls import Options
from ecg_hub.server.serve import open_hub
from tests.support.asgi import Answer, ask
from tests.support.hub import MB, READ, WRITE, write_tokens

LINE = re.compile(r'(?P<name>[a-z_]+)(?:\{(?P<labels>[a-z]+="[^"\\\n]*"(?:,[a-z]+="[^"\\\n]*")*)\})? (?P<value>\S+)')
Asking = Callable[..., Answer]


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asking]:
    with open_hub(tmp_path / "hub", Options(min_free=MB, open_read=True), write_tokens(tmp_path / "tokens")) as hub:
        app = HubApp(hub, "127.0.0.1")

        def asked(method: str, path: str, token: str | None = None, body: object = None) -> Answer:
            return ask(app, method, path, body, **({"authorization": f"Bearer {token}"} if token else {}))

        yield asked


def _values(text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    typed = set(re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)$", text, flags=re.MULTILINE))
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        assert found, line
        assert re.sub(r"_(bucket|sum|count)$", "", found["name"]) in typed or found["name"] in typed, line
        assert line.rpartition(" ")[0] not in values, f"{line} stands there twice"
        values[line.rpartition(" ")[0]] = float(found["value"])
    return values


def test_they_are_for_tokens_alone_and_can_be_read(asked: Asking) -> None:
    assert asked("GET", "metrics").status == 401
    assert asked("POST", "metrics", WRITE).status == 405
    assert asked("POST", "api/repos/create", WRITE, {"name": "m", "organization": "ward"}).status == 200
    answer = asked("GET", "metrics", READ)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = _values(answer.text)
    assert values['ecg_hub_requests_total{method="GET",route="site/metrics",status="401"}'] == 1
    assert values['ecg_hub_requests_total{method="POST",route="site/api/repos/create",status="200"}'] == 1
    # The one under way is this one; the third was of a method that no route takes.
    assert (values["ecg_hub_requests_under_way"], values["ecg_hub_request_seconds_count"]) == (1, 3)
    assert values['ecg_hub_request_seconds_bucket{le="+Inf"}'] == 3
    assert values['ecg_hub_repositories{kind="models"}'] == 1
    assert values["ecg_hub_disk_reserve_bytes"] == MB
    assert 0 < values["ecg_hub_disk_free_bytes"] < values["ecg_hub_disk_size_bytes"]


def test_what_strangers_ask_for_makes_no_series(asked: Asking) -> None:
    for number in range(50):
        asked("GET", f"no-such{number}/name/resolve/main/x")
        asked("GET", f"api/odd{number}")
        asked(f"ODD{number}", "healthz")
    text = asked("GET", "metrics", READ).text
    values = _values(text)
    assert not {"no-such", "odd", "ODD"} & set(re.findall(r"no-such|odd|ODD", text))
    assert values['ecg_hub_requests_total{method="GET",route="web/resolve",status="404"}'] == 50
    assert values['ecg_hub_requests_total{method="-",route="none",status="404"}'] == 50
    assert sum(1 for name in values if name.startswith("ecg_hub_requests_total")) == 3
