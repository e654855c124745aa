from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import ResultError
from eval_harness.results.folders import check_continues
from eval_harness.results.runfile import (
    RunFile,
    RunSettings,
    differences,
    fingerprint,
    merged,
    read_run,
    write_run,
)
from eval_harness.results.schema import ModelInfo


def settings(**changes: Any) -> RunSettings:
    base: dict[str, Any] = {
        "model": ModelInfo(id="ecg-cpc", weights_sha256="a" * 64, preset="benchmark", parameters=10),
        "mode": "linear",
        "protocol": "paper",
        "protocol_values": {"epochs": 100, "learning_rate": 0.001},
        "seed": 0,
        "data": {"limit": None, "min_count": 10},
    }
    return RunSettings.model_validate({**base, **changes})


def run(**changes: Any) -> RunFile:
    chosen = changes.pop("settings", settings())
    base: dict[str, Any] = {
        "settings": chosen,
        "fingerprint": fingerprint(chosen),
        "datasets": {"ptb-xl": "one"},
        "tasks": {"ptbxl_super": 1},
        "created": "2026-11-21T20:00:00Z",
    }
    return RunFile.model_validate({**base, **changes})


def test_round_trip(tmp_path: Path) -> None:
    write_run(tmp_path / "ecg-cpc" / "linear", run())
    assert read_run(tmp_path / "ecg-cpc" / "linear" / "run.json") == run()


def test_fingerprint_depends_on_settings_only() -> None:
    assert fingerprint(settings()) == fingerprint(settings())
    changed = [settings(seed=1), settings(mode="frozen"), settings(protocol_values={"epochs": 5})]
    assert len({fingerprint(one) for one in [settings(), *changed]}) == 4


def test_fingerprint_ignores_the_order_of_keys() -> None:
    other = settings(protocol_values={"learning_rate": 0.001, "epochs": 100})
    assert fingerprint(other) == fingerprint(settings())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": settings(seed=3)}, "seed: 0 in the folder, 3 asked for"),
        (
            {"settings": settings(protocol_values={"epochs": 5, "learning_rate": 0.001})},
            "protocol_values.epochs: 100 in the folder, 5 asked for",
        ),
        (
            {"settings": settings(data={"limit": 96, "min_count": 10})},
            "data.limit: nothing in the folder, 96 asked for",
        ),
        (
            {
                "settings": settings(
                    model=ModelInfo(id="ecg-cpc", weights_sha256="a" * 64, preset="native", parameters=10)
                )
            },
            'model.preset: "benchmark" in the folder, "native" asked for',
        ),
        (
            {"datasets": {"ptb-xl": "two"}},
            "dataset ptb-xl: the raw folder or its labels changed (fingerprint one in the folder, two now)",
        ),
        ({"tasks": {"ptbxl_super": 2}}, "task ptbxl_super: version 1 in the folder, 2 now"),
    ],
)
def test_differences_are_said_in_words(changes: dict[str, Any], words: str) -> None:
    assert differences(run(), run(**changes)) == [words]


def test_another_definition_is_a_difference_and_an_unknown_one_is_not() -> None:
    one, two = run(definitions={"task a": "x", "run a": "y"}), run(definitions={"task a": "z", "run a": "y"})
    assert [line.partition(":")[0] for line in differences(one, two)] == ["task a"]
    assert differences(run(), one) == differences(one, run()) == []
    assert merged(one, run(definitions={"task b": "z"})).definitions == {"task a": "x", "run a": "y", "task b": "z"}


def test_more_datasets_and_tasks_are_no_difference() -> None:
    more = run(datasets={"ptb-xl": "one", "sph": "x"}, tasks={"ptbxl_super": 1, "sph": 1})
    assert differences(run(), more) == []
    assert differences(more, run()) == []


class TestContinuing:
    def test_a_new_folder(self, tmp_path: Path) -> None:
        assert check_continues(tmp_path, run()) is None

    def test_the_same_run(self, tmp_path: Path) -> None:
        write_run(tmp_path, run())
        assert check_continues(tmp_path, run(created="2026-11-22T20:00:00Z")) == run()

    def test_another_run_is_refused_with_the_remedies(self, tmp_path: Path) -> None:
        write_run(tmp_path, run())
        with pytest.raises(
            ResultError, match=r"seed: 0 in the folder, 1 asked for\n.*another --output, or --overwrite"
        ):
            check_continues(tmp_path, run(settings=settings(seed=1)))

    def test_merging_keeps_the_begin_and_adds_what_is_new(self) -> None:
        later = run(created="2026-12-01T00:00:00Z", datasets={"sph": "x"}, tasks={"sph": 1}, command=["ecg-eval"])
        whole = merged(run(), later)
        assert whole.created == run().created
        assert whole.datasets == {"ptb-xl": "one", "sph": "x"}
        assert whole.tasks == {"ptbxl_super": 1, "sph": 1}
        assert whole.command == ["ecg-eval"]
        assert merged(None, later) == later


class TestReading:
    def test_changed_by_hand(self, tmp_path: Path) -> None:
        write_run(tmp_path, run())
        content = json.loads((tmp_path / "run.json").read_text())
        content["settings"]["seed"] = 7
        (tmp_path / "run.json").write_text(json.dumps(content))
        with pytest.raises(ResultError, match="changed by hand"):
            read_run(tmp_path / "run.json")

    def test_not_a_run_file(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text("{}")
        with pytest.raises(ResultError, match="settings: field required"):
            read_run(tmp_path / "run.json")
