"""`ecg-hub ls`, `info` and `pull` of many: groups, filters, patterns, and what is fetched."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, ExitCode, UnknownNameError
from ecg_hub.names import model_folder
from ecg_hub.spelling import matching
from ecg_hub.weights import pull as module
from eval_harness.analyses.cka.options import CkaOptions
from eval_harness.cli.hub.bench import _names
from eval_harness.cli.hub.main import main
from eval_harness.cli.hub.models import megabytes
from eval_harness.config.options import model_names


def aliases(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["ls", *words, "--json"]) == 0
    return [row["model"] for row in json.loads(capsys.readouterr().out)]


def test_architectures_first_and_their_checkpoints_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(aliases(capsys)) == sorted(catalog.checkpoints())
    assert main(["ls"]) == 0
    table = capsys.readouterr().out.split("\n\n")[0]
    lines = table.splitlines()[1:]
    assert [line.split()[0] for line in lines if line[0] != " "] == list(catalog.models())
    assert lines.index(next(line for line in lines if line.startswith("  hubert-ecg-small "))) > lines.index(
        next(line for line in lines if line.startswith("hubert-ecg "))
    )


@pytest.mark.parametrize(
    ("words", "some", "none"),
    [
        (("--leads", "1"), "clef-small", "ecg-cpc"),
        (("--licence", "open"), "ecg-fm", "clef-small"),
        (("--licence", "mit"), "ecg-fm", "ecg-cpc"),
        (("--head",), "ecg-founder-1lead", "ecg-fm"),
        (("--clean-on", "PTB-XL"), "ecg-cpc", "xresnet1d101-ptbxl"),
        (("--clean-on", "ptb-xl"), "clef-small", "hubert-ecg-small-cardiolearning"),
        (("--max-parameters", "10M"), "clef-small", "ecg-fm"),
        (("--architecture", "net1d"), "clef-large", "ecg-founder"),
        (("HuBERT_ECG-s*",), "hubert-ecg-small", "hubert-ecg"),
    ],
)
def test_filters(words: tuple[str, ...], some: str, none: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = aliases(capsys, *words)
    assert some in found
    assert none not in found


def test_what_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--licence", "mitt"]) == 1
    assert "known: open, Apache-2.0" in capsys.readouterr().err
    assert main(["ls", "huberd-*"]) == 2
    assert "pattern of models 'huberd-*'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ls", "--max-parameters", "many"])


def test_info_says_what_is_not_certain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "hubert_ecg_small_cardiolearning"]) == 0
    printed = capsys.readouterr().out
    for fact in ("fine-tuned on", "sami-trop", "164 labels", "not certain", "was not seen"):
        assert fact in printed
    assert main(["info", "clef-small", "--json"]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (facts["architecture"], facts["is_default"], facts["config"]["lead_names"]) == ("net1d", False, ["I"])


def test_a_dry_run_fetches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "--all", "--licence", "open", "--dry-run"]) == 0
    plan, _, by_hand = capsys.readouterr().out.partition("with a browser")
    # Tests have no network: the catalogue's sizes are known, the others said to be not.
    assert re.search(r"ecg-fm-mimic-iv-finetuned .* 1\.08 GB", plan)
    assert re.search(r"hubert-ecg .* not known", plan)
    assert re.search(r"to fetch: [\d.]+ GB, and \d+ files whose size is not known; free for", plan)
    # No address that a program may follow, or no right to pass it on.
    assert "xresnet1d101-ptbxl" not in plan
    assert "https://github.com/helme/ecg_ptbxl_benchmarking" in by_hand
    assert "clef-small" not in plan + by_hand


def test_a_pull_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "pull", lambda *_, **__: pytest.fail("fetched"))
    monkeypatch.setattr("ecg_hub.utils.files.free_bytes", lambda folder: 10**9)
    assert main(["pull", "clef-*"]) == 1
    sizes = {alias: entry.weights.size or 0 for alias, entry in catalog.built_in().items() if alias[:5] == "clef-"}
    assert f"has no room for {megabytes(sum(sizes.values()))}" in capsys.readouterr().err
    config = model_folder("clef-large") / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    assert main(["pull", "clef-*", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"clef-large .* here already", printed)
    assert f"to fetch: {megabytes(sum(sizes.values()) - sizes['clef-large'])}; free for" in printed


def test_one_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pull(alias: str, *_: Any, **__: Any) -> Any:
        if alias == "clef-large":
            raise CheckpointError("no room")
        return SimpleNamespace(lines=lambda: [f"written: {alias}"])

    monkeypatch.setattr(module, "pull", pull)
    assert main(["pull", "clef-*"]) == ExitCode.PARTLY
    printed = capsys.readouterr()
    assert {"written: clef-medium", "written: clef-small"} <= set(printed.out.splitlines())
    assert "failed: clef-large: no room" in printed.err


def test_what_a_pull_is_not_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull"]) == 1
    assert "--all with a filter" in capsys.readouterr().err
    assert main(["pull", "clef-*", "--output", "there"]) == 1
    assert f"{len(matching('clef-*', catalog.checkpoints()))} are asked for" in capsys.readouterr().err


def test_patterns_of_a_run() -> None:
    assert model_names("CLEF_sm*") == ("clef-small",)
    assert {"clef-large", "clef-medium", "clef-small"} <= {*CkaOptions(models=("clef-*",), dataset="ptb-xl").models}
    assert _names(["clef-sm*,MERL"]) == ("clef-small", "merl")
    assert model_names("hubert_ecg") == ("hubert-ecg",)
    assert model_names("runs/[1]/model") == ("runs/[1]/model",)
    with pytest.raises(UnknownNameError, match="pattern of models"):
        model_names("nothing-*")
