"""The pipeline "ecg-classification", through transformers and by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassClassValidationError

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.inference.predict import predict
from ecg_hub.inference.records import RecordSource
from ecg_hub.leads import LEADS
from tests.support.checkpoints import save_tiny_head
from tests.support.models import tiny, tiny_classifier
from tests.support.records import write_record

RATE = 500


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a classifier with named labels."""
    folder = tmp_path_factory.mktemp("classifier")
    save_classifier(folder)
    return folder


def save_classifier(folder: Path, **config: Any) -> Any:
    model = tiny_classifier("ecg-cpc", **{"id2label": {0: "NORM", 1: "MI", 2: "CD"}, **config})
    model.save_pretrained(folder)
    ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny").save_pretrained(folder)
    return model


def ecg(seconds: float = 10.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.3 * rng.standard_normal((12, int(seconds * RATE)))).astype(np.float32)


def expected_scores(folder: Path, signal: np.ndarray) -> dict[str, float]:
    """By hand: windows, logits, sigmoid, mean."""
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(folder)
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(folder)
    windows = extractor(signal, sampling_rate=RATE, lead_names=LEADS, window="all", return_tensors="pt")
    assert len(windows["input_values"]) == 4
    with torch.no_grad():
        probabilities = torch.sigmoid(model(windows["input_values"]).logits).mean(0)
    return {model.config.id2label[index]: value for index, value in enumerate(probabilities.tolist())}


def test_array(classifier: Path) -> None:
    signal = ecg()
    scores = ecg_hub.load_pipeline(classifier)(signal, sampling_rate=RATE, lead_names=LEADS)
    assert {score["label"]: score["score"] for score in scores} == pytest.approx(expected_scores(classifier, signal))
    assert [score["score"] for score in scores] == sorted((score["score"] for score in scores), reverse=True)
    assert set(scores[0]) == {"label", "score"}


def test_through_transformers(classifier: Path) -> None:
    pipe = transformers.pipeline("ecg-classification", model=str(classifier))
    assert isinstance(pipe, ecg_hub.ECGClassificationPipeline)
    scores = pipe({"signal": ecg(), "sampling_rate": RATE, "lead_names": list(LEADS)}, top_k=2)
    assert len(scores) == 2
    assert scores[0]["score"] == pytest.approx(max(expected_scores(classifier, ecg()).values()))


def test_record_path_and_lists(classifier: Path, tmp_path: Path) -> None:
    pipe = ecg_hub.load_pipeline(classifier)
    signals = [ecg(seed=seed) for seed in range(2)]
    for index, signal in enumerate(signals):
        write_record(tmp_path / f"r{index}", signal, RATE, LEADS)
    from_path = pipe(tmp_path / "r0")
    from_array = pipe(signals[0], sampling_rate=RATE, lead_names=LEADS)
    for path_score, array_score in zip(from_path, from_array, strict=True):
        assert path_score["label"] == array_score["label"]
        assert path_score["score"] == pytest.approx(array_score["score"], abs=1e-4)
    several = pipe([str(tmp_path / "r0"), str(tmp_path / "r1")])
    assert several[0] == from_path
    assert len(several) == 2
    assert several[1] != from_path


def test_units_and_torch_tensors(classifier: Path) -> None:
    pipe = ecg_hub.load_pipeline(classifier)
    signal = ecg()
    plain = pipe(signal, sampling_rate=RATE, lead_names=LEADS)
    for given in (
        {"signal": 1000 * signal, "sampling_rate": RATE, "lead_names": LEADS, "unit": "uV"},
        {"signal": torch.from_numpy(signal), "sampling_rate": RATE, "lead_names": LEADS},
    ):
        scores = pipe(given)
        assert [score["label"] for score in scores] == [score["label"] for score in plain]
        assert [s["score"] for s in scores] == pytest.approx([s["score"] for s in plain], abs=1e-5)


def test_thresholds(tmp_path: Path) -> None:
    save_classifier(tmp_path, thresholds=[0.0, 1.0, 0.0])
    scores = ecg_hub.load_pipeline(tmp_path)(ecg(), sampling_rate=RATE, lead_names=LEADS)
    assert {score["label"]: score["positive"] for score in scores} == {"NORM": True, "MI": False, "CD": True}
    save_classifier(tmp_path / "one", thresholds=[0.0, None, 0.0])
    scores = ecg_hub.load_pipeline(tmp_path / "one")(ecg(), sampling_rate=RATE, lead_names=LEADS)
    assert {score["label"]: score.get("positive") for score in scores} == {"NORM": True, "MI": None, "CD": True}


def test_regression_and_mixed(tmp_path: Path) -> None:
    for problem, classes in (("regression", 0), ("mixed", 2)):
        folder = tmp_path / problem
        model = save_classifier(folder, problem_type=problem, num_classification_labels=classes)
        scores = ecg_hub.load_pipeline(folder)(ecg(2.5), sampling_rate=RATE, lead_names=LEADS, top_k=1)
        assert ["score" in score for score in scores] == [True] * min(classes, 1) + [False] * (3 - classes)
        assert scores[-1]["label"] == "CD"
        extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(folder)
        x = extractor(ecg(2.5), sampling_rate=RATE, lead_names=LEADS, return_tensors="pt")["input_values"]
        assert scores[-1]["value"] == pytest.approx(model(x).logits[0, 2].item(), abs=1e-5)


def test_values_of_a_head_that_was_trained_on_z_scores_are_in_their_unit(tmp_path: Path) -> None:
    scales = {"CD": {"mean": 60, "deviation": 16.0, "unit": "years"}}
    kind = {"problem_type": "mixed", "num_classification_labels": 1}
    save_classifier(tmp_path / "plain", **kind)
    save_classifier(tmp_path / "scaled", target_scales=scales, **kind)
    call = {"sampling_rate": RATE, "lead_names": LEADS}
    plain, scaled = (ecg_hub.load_pipeline(tmp_path / name)(ecg(), **call) for name in ("plain", "scaled"))
    assert scaled[:2] == plain[:2], "of classes and of values without a scale nothing changes"
    assert (set(plain[2]), scaled[2]["unit"]) == ({"label", "value"}, "years")
    assert scaled[2]["value"] == pytest.approx(60 + 16 * plain[2]["value"], rel=1e-6)
    with pytest.raises(StrictDataclassClassValidationError, match=r"target_scales\['CD'\]"):
        ecg_hub.AutoConfig.for_model(
            "ecg_cpc", target_scales={"CD": {"mean": float("nan"), "deviation": 1, "unit": ""}}
        )
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path / "scaled", num_labels=4, new_head=True)
    assert model.config.target_scales is None, "another head has outputs of its own"


def test_mixed_outputs_say_how_many_are_classes(tmp_path: Path) -> None:
    save_classifier(tmp_path, problem_type="mixed")
    with pytest.raises(InputError, match="needs num_classification_labels"):
        ecg_hub.load_pipeline(tmp_path)(ecg(), sampling_rate=RATE, lead_names=LEADS)


def test_several_ecgs_are_never_averaged_into_one(classifier: Path) -> None:
    pipe = ecg_hub.load_pipeline(classifier)
    rows = [
        {"signal": np.round(ecg(seed=seed).T * 200).astype(np.int16), "gain_uv": [5.0] * 12, "baseline": [0] * 12,
         "sampling_rate": RATE}
        for seed in range(3)
    ]  # fmt: skip
    batch = {name: [row[name] for row in rows] for name in rows[0]}
    assert pipe(batch) == pipe(rows) == [pipe(row) for row in rows]
    with pytest.raises(InputError, match="here are 2 in a list"):
        pipe({"signal": [ecg(seed=0), ecg(seed=1)], "sampling_rate": RATE, "lead_names": LEADS})


@pytest.mark.parametrize("top_k", [0, -1])
def test_the_best_labels_are_one_or_more(classifier: Path, top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k is {top_k}; allowed: 1 or more"):
        ecg_hub.load_pipeline(classifier)(ecg(), sampling_rate=RATE, lead_names=LEADS, top_k=top_k)


OF_THE_HEAD: dict[str, Any] = {
    "problem_type": "mixed", "num_classification_labels": 2, "thresholds": [0.1, 0.2, None], "record_maximum": ["MI"],
    "target_scales": {"CD": {"mean": 60.0, "deviation": 16.0, "unit": "years"}},
}  # fmt: skip


def test_a_new_head_has_nothing_of_the_one_that_is_there(tmp_path: Path) -> None:
    old = save_classifier(tmp_path, **OF_THE_HEAD)
    names = {0: "AF", 1: "PVC", 2: "BMI"}
    for given in ({}, {"id2label": names}, {"num_labels": 3}, {"num_labels": 5}, {"id2label": {0: "AF", 1: "PVC"}}):
        model = ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path, new_head=True, **given)
        config = model.config
        assert model.head_is_new, given
        assert not torch.equal(model.head.linear.weight[:2], old.head.linear.weight[:2])
        assert (config.thresholds, config.record_maximum, config.target_scales) == (None, None, None)
        assert len(model.head.linear.weight) == config.num_labels == len(config.id2label)
    assert config.id2label == {0: "AF", 1: "PVC"}
    assert config.label2id == {"AF": 0, "PVC": 1}
    with pytest.raises(CheckpointError, match=r"lacks 2 of the weights.*pass new_head=True"):
        ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path, num_labels=5)


def test_labels_in_other_words_keep_their_rules(tmp_path: Path) -> None:
    save_classifier(tmp_path, **OF_THE_HEAD)
    names = {0: "normal", 1: "Infarkt", 2: "Alter"}
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path, id2label=names)
    assert not model.head_is_new
    assert model.config.record_maximum == ["Infarkt"]
    assert model.config.target_scales == {"Alter": OF_THE_HEAD["target_scales"]["CD"]}
    assert model.config.thresholds == OF_THE_HEAD["thresholds"]
    assert model.config.label2id == {"normal": 0, "Infarkt": 1, "Alter": 2}


def test_models_without_a_trained_head_are_refused(classifier: Path, tmp_path: Path) -> None:
    encoder = tiny("ecg-cpc")
    encoder.save_pretrained(tmp_path)
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc-tiny")
    extractor.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="holds no head"):
        ecg_hub.load_pipeline(tmp_path)
    with pytest.raises(ValueError, match="holds no head"):  # transformers wraps the error
        transformers.pipeline("ecg-classification", model=str(tmp_path))
    for model, message in (
        (encoder, "encoder without a head"),
        (tiny_classifier("ecg-cpc"), "random weights"),
        (ecg_hub.AutoModelForECGClassification.from_pretrained(tmp_path, new_head=True), "random weights"),
    ):
        with pytest.raises(CheckpointError, match=message):
            ecg_hub.ECGClassificationPipeline(model=model, feature_extractor=extractor)
    model = tiny_classifier("ecg-cpc")
    model.load_state_dict(ecg_hub.AutoModelForECGClassification.from_pretrained(classifier).state_dict())
    ecg_hub.ECGClassificationPipeline(model=model, feature_extractor=extractor)


def test_mistakes_are_named(classifier: Path) -> None:
    pipe = ecg_hub.load_pipeline(classifier)
    with pytest.raises(InputError, match="sampling_rate"):
        pipe(ecg(), lead_names=LEADS)
    with pytest.raises(InputError, match="samplerate"):
        pipe({"signal": ecg(), "samplerate": 500})
    with pytest.raises(InputError, match="topk"):
        pipe(ecg(), topk=3)
    with pytest.raises(InputError, match="batch_size"):
        pipe(ecg(), sampling_rate=RATE, lead_names=LEADS, batch_size=8)
    with pytest.raises(InputError, match="shorter than the window"):
        pipe(ecg(1.0), sampling_rate=RATE, lead_names=LEADS)
    signal = ecg()
    signal[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        pipe(signal, sampling_rate=RATE, lead_names=LEADS)
    assert pipe(signal, sampling_rate=RATE, lead_names=LEADS, nan="zero")


def test_a_published_head(tmp_path: Path) -> None:
    """Labels of the authors, their preset, and for five labels the largest probability of a record's windows."""
    folder, signal = save_tiny_head("ecg-fm-mimic-iv-finetuned", tmp_path), ecg()
    scores = ecg_hub.load_pipeline(folder)(signal, sampling_rate=RATE, lead_names=LEADS)
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(folder)
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(folder).with_preset("native")
    windows = extractor(signal, sampling_rate=RATE, lead_names=LEADS, window="all", return_tensors="pt")["input_values"]
    assert len(windows) == 2
    with torch.no_grad():
        probabilities = torch.sigmoid(model(windows).logits)
    mean, largest = probabilities.mean(0).tolist(), probabilities.amax(0).tolist()
    entry = catalog.get("ecg-fm-mimic-iv-finetuned")
    assert entry.head is not None
    by_hand = {
        label: (largest if label in entry.head.maximum else mean)[index] for index, label in enumerate(entry.labels)
    }
    assert {score["label"]: score["score"] for score in scores} == pytest.approx(by_hand)
    assert by_hand["Ventricular tachycardia"] > mean[4] + 1e-4
    fed_otherwise = ecg_hub.load_pipeline(folder)(signal, sampling_rate=RATE, lead_names=LEADS, preset="benchmark")
    assert fed_otherwise != scores
    table = predict(folder, [RecordSource("r", lambda: (signal, RATE, LEADS))], progress=False)
    assert table.rows[0].scores == scores
    assert table.labels == entry.labels
