from __future__ import annotations

from types import SimpleNamespace

import pytest

from ecg_hub import catalog
from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig
from eval_harness.results import contamination
from eval_harness.results.contamination import (
    Contents,
    State,
    config_train_only,
    corpora,
    declared,
    known_datasets,
    state,
)
from eval_harness.tasks.registry import datasets


@pytest.mark.parametrize(
    ("pretraining", "dataset", "expected"),
    [
        ([], "ptb-xl", "clean"),
        (["heedb-1.0"], "ptb-xl", "clean"),
        (["HEEDB-1.0"], "mimic-iv-ecg", "clean"),
        (["heedb-1.0"], "georgia", "clean"),
        (["heedb-2.0"], "georgia", "clean"),
        (["heedb-3.0"], "georgia", "unknown"),
        (["heedb-4.0"], "georgia", "unknown"),
        (["heedb-5.0"], "georgia", "unknown"),
        (["heedb-6.0"], "ptb-xl", "unknown"),
        (["heedb"], "georgia", "unknown"),
        (["heedb"], "ptb-xl", "clean"),
        (["heedb", "physionet2020"], "georgia", "seen"),
        (["physionet2020"], "ningbo", "clean"),
        (["code"], "code-15", "seen"),
        (["sami-trop"], "code-15", "unknown"),
        (["cardio-learning"], "sph", "seen"),
        (["cardio-learning"], "echonext", "clean"),
        (["physionet2021", "mimic-iv-ecg"], "ptb-xl", "seen"),
        (["physionet2021"], "sph", "clean"),
        (["some private archive"], "sph", "unknown"),
        (["some private archive", "sph"], "sph", "seen"),
        (None, "sph", "unknown"),
        ([], "my-hospital", "clean"),
        (["my-hospital"], "my-hospital", "unknown"),
        (["heedb-1.0"], "my-hospital", "unknown"),
    ],
)
def test_state(pretraining: list[str] | None, dataset: str, expected: str) -> None:
    assert state(pretraining, dataset) == expected


@pytest.mark.parametrize(
    ("pretraining", "train_only", "fingerprint", "expected"),
    [
        (["ptb-xl"], {"ptb-xl": "f"}, "f", "seen-train"),
        (["PTB-XL", "sph"], {"ptb-xl": "f"}, "f", "seen-train"),
        (["ptb-xl"], None, "f", "seen"),
        (["ptb-xl"], {"sph": "f"}, "f", "seen"),
        (["ptb-xl"], {"ptb-xl": "f"}, "g", "seen"),  # other records or other splits than were read
        (["ptb-xl"], {"ptb-xl": "f"}, None, "seen"),
        (["ptb-xl"], {}, None, "seen"),
        (["ptb-xl", "physionet2021"], {"ptb-xl": "f"}, "f", "seen"),  # the other corpus holds all of it
        (["physionet2021"], {"ptb-xl": "f"}, "f", "seen"),
        (["ptb-xl", "my-hospital"], {"ptb-xl": "f"}, "f", "seen"),  # nobody knows what my-hospital holds
        (["sph"], {"ptb-xl": "f"}, "f", "clean"),
    ],
)
def test_training_folds_alone(
    pretraining: list[str], train_only: dict[str, str] | None, fingerprint: str | None, expected: State
) -> None:
    assert state(pretraining, "ptb-xl", train_only, fingerprint) == expected


def test_training_folds_beside_a_corpus_that_may_hold_the_rest() -> None:
    assert state(["georgia"], "georgia", {"georgia": "f"}, "f") == "seen-train"
    assert state(["georgia", "heedb"], "georgia", {"georgia": "f"}, "f") == "seen"


def test_the_list_of_corpora_names_datasets_of_the_benchmark() -> None:
    assert known_datasets() == set(datasets())
    for name, contents in corpora().items():
        assert name == name.lower()
        assert contents.may_hold <= known_datasets()
        assert not contents.may_hold & contents.holds
    for name in known_datasets():
        assert corpora()[name].holds == {name}


def test_the_list_is_read_as_it_stands() -> None:
    read = contamination.corpora.__wrapped__()
    assert read == corpora()
    assert read["heedb"].may_hold == {"georgia"}
    assert contamination._contents({"holds": ["a", "b"], "may_hold": ["c"]}) == Contents(
        frozenset({"a", "b"}), frozenset({"c"})
    )


def test_every_corpus_of_the_catalogue_is_listed_but_one() -> None:
    declared_ones = {corpus for entry in catalog.models().values() for corpus in entry.pretraining_corpora}
    missing = declared_ones - set(corpora()) - {"hubert-ecg-9.1m"}
    assert not missing, f"say in eval_harness/results/contamination.yaml which data sets {sorted(missing)} hold"
    assert "heedb" not in declared_ones, "the release decides"


def test_which_training_folds_a_configuration_names() -> None:
    assert config_train_only(ECGCPCConfig()) is None
    assert config_train_only(object()) is None
    assert config_train_only(ECGCPCConfig(pretraining={"corpora": ["sph"]})) is None
    assert config_train_only(ECGCPCConfig(pretraining={"corpora": ["sph"], "train_only": {}})) is None
    named = ECGCPCConfig(pretraining={"corpora": ["sph"], "train_only": {"sph": "f"}})
    assert config_train_only(named) == {"sph": "f"}


def test_a_model_of_ones_own_declares_its_corpora_itself() -> None:
    entry = catalog.get("ecg-cpc")
    own = ECGCPCConfig(pretraining={"corpora": ["sph", "my-hospital"]})
    assert declared(own, entry) == declared(own, None) == ["sph", "my-hospital"]
    assert declared(ECGCPCConfig(), entry) == ["heedb-1.0"]
    assert declared(object(), None) is None
    assert state(declared(own, entry), "sph") == "seen"
    assert state(declared(own, entry), "ptb-xl") == "unknown"  # nobody knows what my-hospital holds


def test_a_later_training_on_the_same_dataset_ends_the_claim_of_training_folds() -> None:
    pretraining = {"corpora": ["ptb-xl", "sph"], "train_only": {"ptb-xl": "a" * 16, "sph": "b" * 16}}
    once = SimpleNamespace(pretraining=pretraining, training=None)
    again = SimpleNamespace(pretraining=pretraining, training=[{"dataset": "ptb-xl"}])
    assert config_train_only(once) == {"ptb-xl": "a" * 16, "sph": "b" * 16}
    assert config_train_only(again) == {"sph": "b" * 16}
