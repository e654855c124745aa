"""`ecg-eval cka`: features of every stage once per record, written to disk; then CKA of every two stages.

Both steps go on where they stopped: features by blocks of records, pairs as they are in the result file.

The stages of an encoder by name, and one vector per window of each: the mean over tokens.

Named as the architectures are drawn: conv1 to conv4 and s4_1 to s4_4 (ECG-CPC), stem and stage0 to stage6 (Net1D,
ECGFounder), stem and layer1 to layer4 (MERL, ECGFM-KED), embedding and block1 to block12 (transformers, xECG), `norm`
where a last norm stands between the last block and what heads are given, and `queries` where MELP's do. Encoders that
are not ours have one stage, `output`.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecg_hub.errors import InputError, ResultError
from ecg_hub.utils import terminal
from ecg_hub.utils.files import write_error, write_text
from eval_harness.analyses.cka.cka import Hsic, hsic, similarity
from eval_harness.analyses.cka.options import FEWEST, CkaOptions
from eval_harness.analyses.cka.schema import CKA_FILE, CkaResult, DataUsed, EncoderInfo, Pair, StageInfo
from eval_harness.analyses.files import continued, read_analysis, write_analysis
from eval_harness.analyses.trained import data_options, head_of_result, ids_digest, open_split
from eval_harness.data.records import Datasets
from eval_harness.data.windows import RunData, Windows, consecutive_windows, mean_by_record
from eval_harness.models.loading import LoadedModel, load_model, origin_notice
from eval_harness.results.folders import locked_folder
from eval_harness.results.schema import read_json
from eval_harness.runner.job import extractor_digest, model_info
from eval_harness.runner.plan import model_slug
from eval_harness.runner.preflight import require_all
from eval_harness.runner.run import make_accelerator

STEMS = {"net1d": ("stem", "stage", 0), "ecg_founder": ("stem", "stage", 0)}
STEMS |= {"merl": ("stem", "layer", 1), "ecgfm_ked": ("stem", "layer", 1)}
STEMS |= dict.fromkeys(
    ("ecg_jepa", "st_mem", "ecg_fm", "hubert_ecg", "melp", "merl_vit", "xecg"), ("embedding", "block", 1)
)
STEMS |= {"ecg_s4": ("encoder", "s4_", 1), "ecg_cpc": ("conv", "s4_", 1)}
"""Model type -> name of the first hidden state, name of the others, number of the first of these."""

LAST = {"ecg_jepa": "norm", "st_mem": "norm", "merl_vit": "norm", "melp": "queries"}
"""Model type -> name of what stands between the last hidden state and what heads are given."""

ANY_STEM = ("stem", "stage", 1)
"""For a model type added by somebody else."""


class Stages:
    """Gives the stages of an encoder."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.kind = str(encoder.config.model_type)
        self.ours = hasattr(encoder.config, "output_hidden_states")

    def __call__(self, values: Tensor) -> dict[str, Tensor]:
        """Encode windows (windows, leads, samples): stage -> means over tokens (windows, width) float32, in order."""
        with torch.inference_mode():
            if not self.ours:
                return {"output": self.encoder(values).pooler_output.float()}
            early = _Watched(self._convolutions())
            with early:
                output = self.encoder(values, output_hidden_states=True, return_dict=True)
            means = early.means()
            # The first hidden state is what the last watched convolution gave, and so is in the table already.
            states = output.hidden_states[1:] if means else output.hidden_states
            means |= dict(zip(self._names(len(states), bool(means)), map(self._mean, states), strict=True))
            if self.kind in LAST:
                # Not among the hidden states, and what the heads are given: it differs from the last block.
                means[LAST[self.kind]] = output.pooler_output
            return {name: value.float() for name, value in means.items()}

    def _convolutions(self) -> dict[str, Any]:
        """The layers that are looked into because the hidden states begin behind all of them."""
        if self.kind != "ecg_cpc":
            return {}
        return {f"conv{number}": layer for number, layer in enumerate(self.encoder.encoder.layers, start=1)}

    def _names(self, states: int, without_stem: bool) -> list[str]:
        stem, other, first = STEMS.get(self.kind, ANY_STEM)
        numbered = [f"{other}{first + k}" for k in range(states if without_stem else states - 1)]
        return numbered if without_stem else [stem, *numbered]

    def _mean(self, state: Tensor) -> Tensor:
        """Mean over tokens; the separators of ST-MEM, two per lead, are no part of the signal and left out."""
        if self.kind == "st_mem":
            leads = len(self.encoder.config.lead_names)
            batch, tokens, width = state.shape
            state = state.reshape(batch, leads, tokens // leads, width)[:, :, 1:-1].flatten(1, 2)
        return state.mean(dim=1)


class _Watched:
    """Collects the outputs of modules while an encoder runs, which may take a batch in several slices."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self.modules = modules
        self.seen: dict[str, list[Tensor]] = {name: [] for name in modules}
        self._handles: Sequence[Any] = ()

    def __enter__(self) -> None:
        # Taken off in `__exit__`: a hook that stays would collect the outputs of every later pass.
        self._handles = [module.register_forward_hook(self._hook(name)) for name, module in self.modules.items()]

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def keep(module: Any, inputs: Any, output: Tensor) -> None:
            del module, inputs
            self.seen[name].append(output.mean(dim=1))

        return keep

    def means(self) -> dict[str, Tensor]:
        """Module -> (windows, width)."""
        return {name: torch.cat(parts) for name, parts in self.seen.items()}


FEATURES = "features"
BLOCK = 256  # records between two notes of how far the features are
SAVE_EVERY_S = 5.0


def run_cka(options: CkaOptions) -> CkaResult:
    """Compute what is not there yet and return the whole result."""
    opened = data_options(
        options.models, options.data_root, options.include, options.cache_dir,
        preset=options.preset, device=options.device, num_workers=options.num_workers,
    )  # fmt: skip
    require_all(options.models, (options.dataset,), options.data_root, options.include)
    device = make_accelerator(opened).device
    loaded = {name: load_model(name, "linear", options.preset, options.seed) for name in options.models}
    for name, model in loaded.items():
        # Random weights must not be compared unnoticed.
        if (notice := origin_notice(model, name, "linear", options.seed)) is not None:
            terminal.say(notice)
    # Of the longest window, so that every encoder sees the same records.
    seconds = max(model.extractor.spec().input_seconds for model in loaded.values())
    if any(model.is_trivial for model in loaded.values()):
        raise InputError("The baseline 'trivial' has no encoder whose stages could be compared.")
    data, prepared = open_split(Datasets(opened), options.dataset, options.split, seconds, options.records)
    if len(data.test) < FEWEST:
        raise InputError(f"{len(data.test)} records of {options.dataset}: the debiased form needs {FEWEST} or more.")
    used = DataUsed(
        dataset=options.dataset, fingerprint=prepared.fingerprint, split=options.split, records=len(data.test)
    )
    settings: dict[str, Any] = {
        # By digest and not by name: a folder may hold other weights by the time the command is given again.
        "models": {name: [model.weights_sha256, extractor_digest(model)] for name, model in loaded.items()},
        "preset": options.preset,
        "data": [used.dataset, used.fingerprint, used.split],
        "records": ids_digest(data.test.record_ids),
    }
    path = options.output / CKA_FILE
    with locked_folder(options.output):
        asked = CkaResult(settings=settings, data=used, **head_of_result(data, device))
        result = continued(path, asked, options.overwrite)
        # A new result: features that lie here are of other settings, whose result was removed or discarded.
        if result is asked:
            shutil.rmtree(options.output / FEATURES, ignore_errors=True)
            write_analysis(path, result)
        if result.complete:
            return result
        tables: dict[tuple[str, str], NDArray[Any]] = {}
        encoders = []
        for name, model in loaded.items():
            stages = _features(name, model, data, device, options)
            # The id that the result shows: a short name that finds other weights is an `unverified:` one.
            tables |= {(model.id, stage): table for stage, table in stages.items()}
            widths = [StageInfo(name=stage, width=int(table.shape[1])) for stage, table in stages.items()]
            encoders.append(EncoderInfo(model=model_info(model), stages=widths))
        result = result.model_copy(update={"encoders": encoders})
        result = _pairs(path, result, tables, options.quiet)
        shutil.rmtree(options.output / FEATURES, ignore_errors=True)
    return result


def read_cka(path: Path) -> CkaResult:
    """Read a result; errors as `eval_harness.analyses.files.read_analysis`."""
    return read_analysis(path / CKA_FILE if path.is_dir() else path, CkaResult)


def _features(
    name: str, loaded: LoadedModel, data: RunData, device: torch.device, options: CkaOptions
) -> dict[str, NDArray[Any]]:
    """Stage -> features (records, width) float32, memory-mapped; encoded as far as they are not there yet."""
    # Of a local folder the slug is its last part alone: the digest keeps two of one name apart.
    short = hashlib.sha256(name.encode()).hexdigest()[:8]
    folder = options.output / FEATURES / f"{model_slug(name)}-{short}"
    notes = folder / "progress.json"
    progress: dict[str, Any] = read_json(notes) if notes.is_file() else {"done": 0, "stages": []}
    total = len(data.test)
    if progress["done"] < total:
        encoder = loaded.encoder.to(device).eval()
        bar = terminal.progress(total=total, initial=progress["done"], desc=name, unit=" records", quiet=options.quiet)
        with bar:
            for first, block in _blocks(Stages(encoder), loaded, data, device, options, progress["done"]):
                if not progress["stages"]:
                    progress["stages"] = _begin(folder, block, total)
                _write(folder, progress["stages"], block, first)
                size = len(next(iter(block.values())))
                progress["done"] = first + size
                # After the tables are flushed: a crash in between costs this block once more and loses nothing.
                write_text(notes, json.dumps(progress) + "\n")
                bar.update(size)
        # One encoder at a time on the device: several may not fit.
        loaded.encoder.to("cpu")
    return {stage: np.load(folder / f"{k}.npy", mmap_mode="r") for k, stage in enumerate(progress["stages"])}


def _blocks(
    stages: Stages, loaded: LoadedModel, data: RunData, device: torch.device, options: CkaOptions, done: int
) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Yield the first record and the features of each block of records: means over tokens, then over windows."""
    windows = Windows(data, loaded.extractor, options.num_workers)
    for first in range(done, len(data.test), BLOCK):
        part = data.test.select(range(first, min(first + BLOCK, len(data.test))))
        positions, _ = consecutive_windows(part, windows.length)
        parts: dict[str, list[NDArray[np.float32]]] = {}
        loader, _ = windows.eval_batches(part, options.batch_size)
        for batch in loader:
            for stage, means in stages(batch.input_values.to(device)).items():
                parts.setdefault(stage, []).append(means.cpu().numpy())
        block = {stage: mean_by_record(np.concatenate(values), positions, len(part)) for stage, values in parts.items()}
        for stage, values in block.items():
            if not np.isfinite(values).all():
                raise InputError(f"{loaded.id}: stage {stage!r} gives values that are not finite; see its input.")
        yield first, block


def _begin(folder: Path, block: Mapping[str, NDArray[np.float32]], records: int) -> list[str]:
    """Make the empty tables and return the stages."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for k, values in enumerate(block.values()):
            np.lib.format.open_memmap(
                folder / f"{k}.npy", mode="w+", dtype=np.float32, shape=(records, values.shape[1])
            ).flush()
    except OSError as error:
        raise write_error(folder, error) from error
    return list(block)


def _write(folder: Path, stages: Sequence[str], block: Mapping[str, NDArray[np.float32]], first: int) -> None:
    try:
        for k, stage in enumerate(stages):
            table = np.lib.format.open_memmap(folder / f"{k}.npy", mode="r+")
            table[first : first + len(block[stage])] = block[stage]
            table.flush()
    except (OSError, ValueError) as error:
        raise ResultError(
            f"{str(folder)!r} cannot be written ({error}). Remove it and give the command again."
        ) from error


def _pairs(path: Path, result: CkaResult, tables: Mapping[tuple[str, str], NDArray[Any]], quiet: bool) -> CkaResult:
    """Compute the pairs that are missing, saving on the way."""
    done = {(pair.first, pair.second): pair for pair in result.pairs}
    stages = list(tables)
    wanted = [(a, b) for i, a in enumerate(stages) for b in stages[i:]]
    own: dict[tuple[str, str], Hsic] = {}
    saved = time.monotonic()
    for a, b in terminal.progress(wanted, desc="pairs", unit=" pairs", quiet=quiet):
        if (a, b) in done:
            continue
        for stage in (a, b):
            if stage not in own:
                # Every stage with itself once, not once for each pair that it stands in.
                own[stage] = _own(tables[stage])
        between = own[a] if a == b else hsic(tables[a], tables[b])
        cka = similarity(between, own[a], own[b])
        done[a, b] = Pair(first=a, second=b, debiased=cka.debiased, biased=cka.biased)
        if time.monotonic() - saved > SAVE_EVERY_S:
            write_analysis(path, result.model_copy(update={"pairs": list(done.values())}))
            saved = time.monotonic()
    whole = result.model_copy(update={"pairs": [done[pair] for pair in wanted], "complete": True})
    write_analysis(path, whole)
    return whole


def _own(table: NDArray[Any]) -> Hsic:
    """HSIC of a stage with itself; NaN where it varies by no more than the rounding of float32."""
    values = np.asarray(table, dtype=np.float64)
    spread, size = float(values.std(axis=0).max()), float(np.abs(values).max())
    if spread <= 1e-6 * size:
        return Hsic(math.nan, math.nan)
    return hsic(table, table)
