"""One name in any spelling, and no two registered names that are spellings of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dataset_scripts.catalog import datasets
from dataset_scripts.catalog import get as get_dataset
from ecg_hub import AutoFeatureExtractor, catalog
from ecg_hub.errors import DataError, UnknownNameError
from ecg_hub.names import canonical, locate
from ecg_hub.spelling import looked_up, matching, normalised, registered, spelt
from eval_harness.analyses.registry import kinds
from eval_harness.cli.hub import main as hub
from eval_harness.config.options import DTYPES, PRESETS, TRIVIAL, RunOptions
from eval_harness.config.protocol import MODES, PROTOCOLS, check_mode, protocol
from eval_harness.metrics.registry import metrics
from eval_harness.tasks.registry import expand, get_task, suites, tasks

EVERYTHING: dict[str, Callable[[], Iterable[str]]] = {
    "models": lambda: [*catalog.models(), *(f"{alias}-tiny" for alias in catalog.models()), TRIVIAL],
    "datasets": datasets,
    "tasks and suites": lambda: [*tasks(), *suites()],
    "modes": lambda: MODES,
    "presets": lambda: PRESETS,
    "protocols": lambda: PROTOCOLS,
    "precisions": lambda: DTYPES,
    "analyses": kinds,
    "metrics": metrics,
}


def spellings(name: str) -> set[str]:
    words = name.replace("_", "-")
    return {name, words, words.replace("-", "_"), words.replace("-", ""), words.replace("-", " "), name.upper()}


@pytest.mark.parametrize("kind", EVERYTHING)
def test_no_name_is_a_spelling_of_another(kind: str) -> None:
    names = list(EVERYTHING[kind]())
    assert len({normalised(name) for name in names}) == len(set(names)) == len(names)


def test_an_exact_name_comes_before_another_spelling() -> None:
    assert spelt("a_b", ["a-b", "a_b"]) == "a_b"
    assert spelt("-", ["", "a"]) is None


def test_what_is_unknown_says_so() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown mode 'lineal'\. Did you mean 'linear'"):
        registered("mode", "lineal", MODES)
    assert looked_up("dataset", "Code 15", datasets()).name == "code-15"


@pytest.mark.parametrize("alias", catalog.models())
def test_models(alias: str) -> None:
    for written in spellings(alias):
        assert canonical(written) == alias
        assert catalog.get(written).alias == alias
        assert canonical(f"unverified:{written}") == f"unverified:{alias}"
    for written in spellings(f"{alias}-tiny"):
        assert locate(f"random:{written}").name == f"random:{alias}-tiny"


def test_a_folder_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ecg_cpc").mkdir()
    assert canonical("ecg_cpc") == "ecg-cpc"
    (tmp_path / "ecg_cpc" / "config.json").write_text("{}")
    assert canonical("ecg_cpc") == "ecg_cpc"
    assert (canonical("./ecg_fm"), canonical("ORG/ecg_fm")) == ("./ecg_fm", "ORG/ecg_fm")


@pytest.mark.heavy
def test_datasets_and_tasks() -> None:
    for name in datasets():
        assert {get_dataset(written).name for written in spellings(name)} == {name}
    for name in tasks():
        assert {get_task(written).name for written in spellings(name)} == {name}
    for name in suites():
        assert {tuple(expand(written)) for written in spellings(name)} == {tuple(expand(name))}
    assert expand("PTBXL-s*") == expand("ptbxl_s*")
    assert matching("ptbxl-s[a-u]b", tasks()) == ["ptbxl_sub"]


def test_a_run_knows_registered_names_alone() -> None:
    options = RunOptions(
        models=("ECG_CPC", "random:ecg_cpc_tiny", "Trivial"),
        tasks=("ptbxl-super",),
        modes=("Fine-Tune", "post-train"),
        preset="Native",
        dtype="Float-32",
        data_root="mock",
        protocol=protocol("Fast"),
    )
    assert options.models == ("ecg-cpc", "random:ecg-cpc-tiny", "trivial")
    assert options.modes == ("finetune", "post_train")
    assert (options.preset, options.dtype, options.protocol.name) == ("native", "float32", "fast")
    assert check_mode("LINEAR") == "linear"
    assert AutoFeatureExtractor.from_pretrained("random:ECG_FM").spec("NATIVE").preset == "native"


def test_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from eval_harness.cli.eval import main as harness

    assert hub.main(["Info", "ecg_cpc"]) == 0
    first = capsys.readouterr().out
    assert hub.main(["info", "ecg-cpc"]) == 0
    assert first == capsys.readouterr().out
    assert harness.main(["describe", "ptb_xl"]) == 0
    assert "ptb-xl" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        harness.main(["label_efficiency", "--help"])
    assert "label-efficiency" in capsys.readouterr().out


def test_data_for_pretraining() -> None:
    from eval_harness.pretrain.config import architecture
    from eval_harness.pretrain.data import open_source

    with pytest.raises(DataError, match="of 'ptb-xl' does not exist"):
        open_source("PTBXL")
    assert architecture("ECG_CPC_tiny") == "random:ecg-cpc-tiny"
