"""Where a result lies in a results repository: `results/<model>/<revision>/<mode>/<task>.json`, derived from itself.

<model> is `org__name`. <revision> is the commit of a hub model, or `weights-` and the beginning of the digest of the
weights where there is no commit (folders, random and from-scratch models, baselines), followed by what was asked for
other than the usual: `+fast`, `+native`, `+seed-3`, `+epochs-5`. One folder so holds one way of scoring one model.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import PurePosixPath, PureWindowsPath

from pydantic import JsonValue

from ecg_hub.catalog import models
from ecg_hub.errors import InputError
from ecg_hub.names import UNVERIFIED
from eval_harness.config.options import PREFIX as PYTHON
from eval_harness.config.options import is_own
from eval_harness.config.protocol import Protocol
from eval_harness.results.schema import Result

RESULTS = "results"
META_FILE = "model_meta.json"
USUAL_PROTOCOL, USUAL_PRESET = "paper", "benchmark"
WEIGHTS_DIGITS = 16
FORCED = frozenset({"batch_size", "min_count", "name"})
"""Protocol fields that the data can force (a small train set, a copy with other thresholds): no setting of the run."""

PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
ENTRY = re.compile(rf"{RESULTS}/({PART.pattern})/({PART.pattern})/([a-z][a-z0-9_]*)/([a-z][a-z0-9_]*)\.json")
PREDICTIONS = re.compile(
    rf"{RESULTS}/({PART.pattern})/({PART.pattern})/([a-z][a-z0-9_]*)/predictions/([a-z][a-z0-9_]*)\.parquet"
)
META = re.compile(rf"{RESULTS}/({PART.pattern})/({PART.pattern})/{META_FILE}")
_SETTINGS = (*(f.name for f in fields(Protocol) if f.name not in FORCED), "limit", "dtype", "feature_dtype")


def public_id(model: str, revision: str | None = None, origin: str | None = None) -> str:
    """Return the name a model is published under: the paths of folders and files are cut down to their last part.

    A folder that is called like a published model keeps that name only with the weights of that model.
    """
    if is_own(model):
        source, _, name = model.removeprefix(PYTHON).rpartition(":")
        return f"{PYTHON}{_last(source).removesuffix('.py')}:{name}"
    if model.startswith("random:"):
        return model
    is_path = model.startswith((".", "~", "/", os.sep)) or "\\" in model or ("/" in model and revision is None)
    if not is_path:
        return model
    name = _last(model)
    return f"{UNVERIFIED}{name}" if name in models() and origin != "catalogue" else name


def model_folder(model: str, revision: str | None = None, origin: str | None = None) -> str:
    """Return the folder name of a published model: `org__name`, `random__ecg-cpc`."""
    name = public_id(model, revision, origin).replace(":", "__").replace("/", "__")
    if not PART.fullmatch(name):
        raise InputError(
            f"Model {model!r} cannot be published under this name: use letters, digits, '.', '_' and '-', beginning "
            "with a letter or digit."
        )
    return name


def settings(result: Result) -> dict[str, JsonValue]:
    """Return what was asked for other than the usual: protocol, preset, seed, and changed numbers."""
    found: dict[str, JsonValue] = {}
    if result.protocol.name != USUAL_PROTOCOL:
        found["protocol"] = result.protocol.name
    if result.model.preset != USUAL_PRESET:
        found["preset"] = result.model.preset
    if result.seed:
        found["seed"] = result.seed
    return found | {name: result.protocol.deviations[name] for name in _SETTINGS if name in result.protocol.deviations}


def revision_folder(result: Result) -> str:
    """Return the name of the revision and its settings."""
    model = result.model
    if model.revision:
        name = model.revision
    elif model.weights_sha256:
        name = f"weights-{model.weights_sha256[:WEIGHTS_DIGITS]}"
    else:
        raise InputError(f"The result of {model.id!r} on {result.task} names neither a commit nor weights_sha256.")
    asked = settings(result)
    parts = [str(asked.pop(key)) for key in ("protocol", "preset") if key in asked]
    parts += [f"{key}-{value}" for key, value in sorted(asked.items())]
    return "+".join([name, *(re.sub(r"[^A-Za-z0-9._-]", "_", part) for part in parts)])


def entry_folder(result: Result) -> str:
    """Return the folder of a result's model and revision, below which the modes lie."""
    model = result.model
    return f"{RESULTS}/{model_folder(model.id, model.revision, model.origin)}/{revision_folder(result)}"


def entry_path(result: Result) -> str:
    """Return where a result lies."""
    return f"{entry_folder(result)}/{result.mode}/{result.task}.json"


def predictions_path(result: Result) -> str:
    """Return where the predictions of a result lie, beside it under the name that it gives itself."""
    return f"{entry_folder(result)}/{result.mode}/predictions/{result.run}.parquet"


def _last(path: str) -> str:
    windows = "\\" in path
    return (PureWindowsPath(path) if windows else PurePosixPath(path)).name
