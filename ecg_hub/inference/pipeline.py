"""The transformers pipeline "ecg-classification": an ECG in, labelled scores out."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers.pipelines import PIPELINE_REGISTRY, Pipeline

from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.input.rows import is_batch, rows_of
from ecg_hub.modeling.auto import AutoFeatureExtractor, AutoModelForECGClassification
from ecg_hub.modeling.heads import maximum_columns

TASK = "ecg-classification"
_PREPARE = ("sampling_rate", "lead_names", "unit", "missing_leads", "nan", "preset")
_INPUT_KEYS = ("signal", "sampling_rate", "lead_names", "unit")


class ECGClassificationPipeline(Pipeline):
    """Scores ECGs with a classifier whose head was trained.

    Inputs: the path of a record, an array (leads, samples), a dict with `signal` and the keys `sampling_rate` in
    Hz, `lead_names`, `unit` ("mV" if not given), a row of `load_dataset`, or a list of these. A record is cut into
    consecutive windows; their probabilities (or regression outputs) are averaged, as the published protocol does
    (arXiv 2509.25095), but for labels of which the head's authors take the largest (`config.record_maximum`). A head
    that the authors of the weights trained is fed as they fed it, unless a preset is given.

    Raises:
        CheckpointError: the model is an encoder, or its head has random weights.

    Example:
        >>> import numpy as np
        >>> from ecg_hub.leads import LEADS
        >>> name = "random:ecg-cpc-tiny"
        >>> model = AutoModelForECGClassification.from_pretrained(name, num_labels=2, id2label={0: "NORM", 1: "MI"})
        >>> model.head_is_new = False  # as if it had been trained; load_pipeline("my-classifier") is the usual way
        >>> extractor = AutoFeatureExtractor.from_pretrained(name)
        >>> classify = ECGClassificationPipeline(model=model, feature_extractor=extractor)
        >>> ecg = np.random.default_rng(0).normal(size=(12, 5000))  # 10 s at 500 Hz: four windows, one list of scores
        >>> scores = classify(ecg, sampling_rate=500, lead_names=LEADS)
        >>> sorted(score["label"] for score in scores), all(0 < score["score"] < 1 for score in scores)
        (['MI', 'NORM'], True)
        >>> classify(ecg, lead_names=LEADS)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: sampling_rate is missing: pass the rate of the signal in Hz, for example ...
    """

    # transformers would otherwise look for a tokenizer and processors beside the weights.
    _load_feature_extractor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_video_processor = False
    _load_processor = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_classifier(self.model)
        self.feature_extractor: Any = extractor_for(self.model.config, self.feature_extractor)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Score one or many ECGs.

        Args:
            inputs: see the class; a batch of rows `ds[:8]` is a list of them.
            **kwargs: `sampling_rate`, `lead_names`, `unit` of arrays; `missing_leads`, `nan`, `preset` as in
                ECGFeatureExtractor; `top_k`, how many of the best labels to return (default: all).

        Returns:
            Per ECG a list of {"label", "score"}, best first, with "positive" if the label has a threshold; regression
            outputs follow as {"label", "value"}, with "unit" where the head was trained on z-scores whose mean and
            deviation it brings: then the value is in that unit. For a list of inputs, a list of such lists.

        Raises:
            InputError: the signal does not fit the contract (see ECGFeatureExtractor), an argument is unknown, or
                batch_size is given: the windows of one ECG are the batch.
        """
        if kwargs.pop("batch_size", None) not in (None, 1):
            raise InputError("The windows of one ECG already form a batch: leave batch_size out.")
        # A batch of rows is several ECGs, whose windows must not be averaged together.
        inputs = rows_of(inputs) if is_batch(inputs) else inputs
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        prepare = {name: kwargs.pop(name) for name in _PREPARE if name in kwargs}
        score = {"top_k": kwargs.pop("top_k")} if "top_k" in kwargs else {}
        # Dropped here, a misspelt name would mean the default without a word.
        if kwargs:
            raise InputError(f"Unknown argument {next(iter(kwargs))!r}; known: {', '.join((*_PREPARE, 'top_k'))}.")
        return prepare, {}, score

    def preprocess(self, inputs: Any, **prepare: Any) -> dict[str, Any]:
        """Cut and prepare all windows of one ECG."""
        if isinstance(inputs, dict) and "gain_uv" not in inputs:  # with it, a row of load_dataset
            unknown = sorted(set(inputs) - set(_INPUT_KEYS))
            if unknown or "signal" not in inputs:
                raise InputError(f"An ECG as a dict has the keys {', '.join(_INPUT_KEYS)}, not {sorted(inputs)!r}.")
            prepare = {**prepare, **{name: value for name, value in inputs.items() if name != "signal"}}
            inputs = inputs["signal"]
        if isinstance(inputs, torch.Tensor):
            inputs = inputs.cpu().numpy()
        if isinstance(inputs, os.PathLike):
            inputs = os.fspath(inputs)
        batch = self.feature_extractor(inputs, window="all", return_tensors="pt", **prepare)
        if "record_index" in batch:
            raise InputError(
                f"One ECG is an array (leads, samples); here are {int(batch['record_index'].max()) + 1} in a list. "
                "Give a list of ECGs, each with its own `signal` where they are dicts."
            )
        return {"input_values": batch["input_values"]}

    def _forward(self, model_inputs: dict[str, Any], **forward_parameters: Any) -> dict[str, Any]:
        return {"logits": self.model(**model_inputs).logits}

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None) -> list[dict[str, Any]]:
        """Average over the windows and put the labels on."""
        return labelled_scores(average_outputs(model_outputs["logits"], self.model.config), self.model.config, top_k)


def load_pipeline(name: str | os.PathLike[str], **kwargs: Any) -> ECGClassificationPipeline:
    """Load a classifier by folder, short name or hub id into a pipeline.

    Args:
        name: what AutoModelForECGClassification takes.
        **kwargs: as in transformers' pipelines, for example `device`.

    Returns:
        The pipeline, with the feature extractor that lies beside the weights.

    Raises:
        UnknownNameError: no such model.
        CheckpointError: the checkpoint is an encoder without a trained head, or lacks weights.

    Example:
        >>> load_pipeline("random:ecg-cpc-tiny")
        Traceback (most recent call last):
            ...
        ecg_hub.errors.CheckpointError: The head of this ECGCPCForECGClassification has random weights: its ...
    """
    model = AutoModelForECGClassification.from_pretrained(name)
    return ECGClassificationPipeline(
        model=model, feature_extractor=AutoFeatureExtractor.from_pretrained(name), task=TASK, **kwargs
    )


def check_classifier(model: Any) -> None:
    """Refuse a model that cannot classify.

    Args:
        model: a loaded model.

    Raises:
        CheckpointError: an encoder, or a classifier whose head still has its random weights.

    Example:
        >>> check_classifier(AutoModelForECGClassification.from_pretrained("random:ecg-cpc-tiny").base_model)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.CheckpointError: ECGCPCModel is an encoder without a head: it cannot classify. ...
    """
    if not hasattr(model, "head_is_new"):
        raise CheckpointError(
            f"{type(model).__name__} is an encoder without a head: it cannot classify. Train one with "
            "`ecg-eval --save-model`, or load a classifier."
        )
    if model.head_is_new:
        raise CheckpointError(
            f"The head of this {type(model).__name__} has random weights: its scores would mean nothing. Train it, "
            "save it and load it again."
        )


def extractor_for(config: Any, extractor: Any, preset: str | None = None) -> Any:
    """Return the feature extractor with a preset; None is that of a published head's training, or its default.

    Args:
        config: configuration of a classifier.
        extractor: an ECGFeatureExtractor.
        preset: name of a preset, or None.

    Example:
        >>> from types import SimpleNamespace
        >>> extractor = AutoFeatureExtractor.from_pretrained("random:ecg-founder")
        >>> config = SimpleNamespace(published_head={"model": "ecg-founder", "preset": "native"})
        >>> extractor_for(config, extractor).spec().input_seconds  # not the 2.5 s of the benchmark
        10.0
    """
    head = getattr(config, "published_head", None)
    chosen = preset or (None if head is None else head["preset"])
    return extractor if chosen is None else extractor.with_preset(chosen)


def class_count(config: Any) -> int:
    """Return how many of the leading outputs are classes; the others are regression targets.

    Args:
        config: configuration of a classifier.

    Example:
        >>> from types import SimpleNamespace
        >>> class_count(SimpleNamespace(problem_type="regression", num_labels=3))
        0
        >>> class_count(SimpleNamespace(problem_type="mixed", num_labels=3, num_classification_labels=2))
        2
    """
    if config.problem_type == "regression":
        return 0
    if config.problem_type == "mixed":
        if config.num_classification_labels is None:
            raise InputError(
                "problem_type 'mixed' needs num_classification_labels: how many leading outputs are classes."
            )
        return int(config.num_classification_labels)
    return int(config.num_labels)


def average_outputs(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """Average the windows of one record: probabilities of classes, plain values of regression outputs.

    Of labels in `config.record_maximum` the largest probability is taken instead of the mean.

    Args:
        logits: (windows, outputs).
        config: configuration of the classifier.

    Returns:
        (outputs,) float32 on the CPU.

    Example:
        >>> from types import SimpleNamespace
        >>> config = SimpleNamespace(problem_type="mixed", num_labels=2, num_classification_labels=1)
        >>> windows = torch.tensor([[4.0, 60.0], [-4.0, 80.0]])  # logit of a class, a heart rate
        >>> average_outputs(windows, config).tolist()  # probabilities are averaged, not logits
        [0.5, 70.0]
        >>> config = SimpleNamespace(problem_type=None, num_labels=1, id2label={0: "PVC"}, record_maximum=["PVC"])
        >>> average_outputs(torch.tensor([[-4.0], [0.0]]), config).tolist()  # one window with it is enough
        [0.5]
    """
    classes = class_count(config)
    # Probabilities are averaged, not logits: the published rule. In float32 at least from here on, as half precision
    # would make ties between scores.
    logits = logits.float().cpu()
    values = torch.cat([torch.sigmoid(logits[:, :classes]), logits[:, classes:]], dim=1)
    outputs = values.mean(dim=0)
    largest = maximum_columns(config)
    outputs[largest] = values[:, largest].amax(dim=0)
    return outputs


def check_top_k(top_k: int | None) -> None:
    """Refuse a number of labels that would leave none, or all but the last ones."""
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k!r}; allowed: 1 or more, or None for all labels.")


def labelled_scores(outputs: torch.Tensor, config: Any, top_k: int | None = None) -> list[dict[str, Any]]:
    """Put labels on averaged outputs: classes sorted by score, then regression outputs in order.

    Args:
        outputs: (outputs,) of `average_outputs`.
        config: configuration of the classifier.
        top_k: how many classes to return; None is all.

    Example:
        >>> from types import SimpleNamespace
        >>> labels = {"id2label": {0: "NORM", 1: "MI"}, "thresholds": [0.5, 0.2]}
        >>> config = SimpleNamespace(problem_type=None, num_labels=2, **labels)
        >>> labelled_scores(torch.tensor([0.25, 0.5]), config)
        [{'label': 'MI', 'score': 0.5, 'positive': True}, {'label': 'NORM', 'score': 0.25, 'positive': False}]
        >>> scales = {"age": {"mean": 60.0, "deviation": 16.0, "unit": "years"}}  # the head was trained on z-scores
        >>> config = SimpleNamespace(problem_type="regression", id2label={0: "age"}, target_scales=scales)
        >>> labelled_scores(torch.tensor([-0.5]), config)
        [{'label': 'age', 'value': 52.0, 'unit': 'years'}]
    """
    check_top_k(top_k)
    classes, values, labels = class_count(config), outputs.tolist(), config.id2label
    # Sorting is stable: ties keep the order of the labels.
    order = sorted(range(classes), key=lambda index: -values[index])[: classes if top_k is None else top_k]
    scores: list[dict[str, Any]] = []
    for index in order:
        score: dict[str, Any] = {"label": labels[index], "score": values[index]}
        threshold = None if config.thresholds is None else config.thresholds[index]
        if threshold is not None:
            score["positive"] = values[index] >= threshold
        scores.append(score)
    return scores + [_value(labels[index], values[index], config) for index in range(classes, len(values))]


def _value(label: str, output: float, config: Any) -> dict[str, Any]:
    """Return a regression output by its label; a z-score in the unit of what was measured."""
    scale = (getattr(config, "target_scales", None) or {}).get(label)
    if scale is None:
        return {"label": label, "value": output}
    # As the number of an ejection fraction or an age, 0.37 would be read as one.
    return {"label": label, "value": scale["mean"] + scale["deviation"] * output, "unit": scale["unit"]}


if TASK not in PIPELINE_REGISTRY.supported_tasks:
    PIPELINE_REGISTRY.register_pipeline(
        TASK, ECGClassificationPipeline, pt_model=AutoModelForECGClassification, type="multimodal"
    )
