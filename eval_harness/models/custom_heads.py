"""What `--save-model` keeps of a run whose encoder is not ours: the head, and what was trained of the encoder.

    head.json                  labels, kind of head, thresholds, and which encoder it belongs to
    head.safetensors           the head
    encoder.safetensors        the nn.Module of the encoder as it was trained; absent in the modes `linear` and `frozen`
    preprocessor_config.json   the input

Code is not kept: who opens the head again names the encoder, and its fingerprint must be that of the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ecg_hub.errors import InputError, ResultError
from ecg_hub.utils.files import write_text
from eval_harness.config.options import is_python_object
from eval_harness.metrics.thresholds import plain_thresholds
from eval_harness.models.adapting import POOLING, AdaptedModel
from eval_harness.models.custom_models import CustomClassifier, CustomEncoder, load_custom
from eval_harness.models.loading import load_model
from eval_harness.results.schema import Finite, ModelInfo, Sha256, Strict, in_words, read_json

HEAD_FILE = "head.json"
HEAD_WEIGHTS = "head.safetensors"
ENCODER_WEIGHTS = "encoder.safetensors"


class HeadInfo(Strict):
    """The head of an encoder that is not ours.

    Attributes:
        model: what the run was asked for.
        weights_sha256: fingerprint of the encoder before training.
        pooling: kind of head.
        attention_heads: of the kind "attention".
        labels: names of the outputs, in order.
        thresholds: of each output, chosen on validation, None where a label lacks one of the two outcomes there; None
            where outputs are values.
        encoder_trained: whether the encoder's weights were trained, and are kept.
        credentialed: datasets for credentialed users that head or encoder were trained on, as in the config.json of a
            model of the hub; None: none is known.
    """

    schema_version: Literal["1.0"] = "1.0"
    model: str
    weights_sha256: Sha256
    pooling: Literal["mean", "attention"]
    attention_heads: Annotated[int, Field(ge=1)]
    hidden_size: Annotated[int, Field(ge=1)]
    labels: list[str]
    thresholds: list[Finite | None] | None = None
    encoder_trained: bool
    credentialed: list[str] | None = None


def save_custom_head(
    folder: Path, model: AdaptedModel, info: ModelInfo, mode: str, labels: list[str], thresholds: Any, heads: int
) -> None:
    """Write head, trained weights and their description into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder: Any = model.encoder
    classifier: Any = model.classifier
    _save(model.head, folder / HEAD_WEIGHTS)
    if not model.frozen:
        _save(encoder.module, folder / ENCODER_WEIGHTS)
    described = HeadInfo(
        model=info.id,
        weights_sha256=str(info.weights_sha256),
        pooling=POOLING[mode],  # type: ignore[arg-type]
        attention_heads=heads,
        hidden_size=encoder.config.hidden_size,
        labels=labels,
        thresholds=plain_thresholds(thresholds),
        encoder_trained=not model.frozen,
        credentialed=classifier.config.credentialed,
    )
    write_text(folder / HEAD_FILE, described.model_dump_json(indent=1) + "\n")


def _save(module: Any, path: Path) -> None:
    # Each tensor by itself: a file of safetensors holds no two names of one memory.
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}, path)


def open_custom_head(folder: Path, run_model: ModelInfo, asked: str | None) -> tuple[CustomClassifier, list[str]]:
    """Put a kept head on its encoder again."""
    described = read_head(folder)
    encoder = find_encoder(run_model, asked)
    if encoder.config.hidden_size != described.hidden_size:
        raise ResultError(
            f"The encoder gives features of width {encoder.config.hidden_size}; the head in {str(folder)!r} takes "
            f"{described.hidden_size}."
        )
    classifier = CustomClassifier(encoder, described.pooling, len(described.labels), described.attention_heads)
    try:
        classifier.head.load_state_dict(load_file(folder / HEAD_WEIGHTS), strict=True)
        if described.encoder_trained:
            _trained_module(encoder).load_state_dict(load_file(folder / ENCODER_WEIGHTS), strict=True)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ResultError(f"{str(folder)!r} does not hold the weights that {HEAD_FILE} says: {error}") from error
    return classifier, described.labels


def read_head(folder: Path) -> HeadInfo:
    """Read the description of a kept head."""
    path = folder / HEAD_FILE
    try:
        return HeadInfo.model_validate(read_json(path))
    except ValidationError as error:
        raise ResultError(f"{str(path)!r} describes no head: {in_words(error)}.") from error


def find_encoder(run_model: ModelInfo, asked: str | None) -> CustomEncoder:
    """Load the encoder of a run again and check that it is the same."""
    # A result folder may come from somebody else: what it names is data, never code to run.
    if asked is None and is_python_object(run_model.id):
        raise InputError(
            f"The encoder of this run is the Python object {run_model.id!r}, and code is run only where it is named: "
            f"add --model {run_model.id}, or where it lies now."
        )
    name = run_model.id if asked is None else asked
    if is_python_object(name):
        encoder, _, digest = load_custom(name, run_model.id)
    else:
        loaded = load_model(name, "linear", run_model.preset, 0)
        encoder, digest = loaded.encoder, loaded.weights_sha256
    # A head fits any encoder of its width, and gives nonsense on another one.
    if digest != run_model.weights_sha256 or not isinstance(encoder, CustomEncoder):
        raise ResultError(
            f"{name!r} is not the encoder of this run: its fingerprint is {digest[:12]}, that of {run_model.id!r} was "
            f"{str(run_model.weights_sha256)[:12]} (code, weights, and the `fingerprint` of a Python object)."
        )
    return encoder


def _trained_module(encoder: CustomEncoder) -> Any:
    if encoder.module is None:
        raise ValueError("weights of an encoder are there, and the encoder is no nn.Module")
    return encoder.module
