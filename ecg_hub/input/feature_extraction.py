"""ECGFeatureExtractor: the input contract of every model, one JSON beside the weights.

It knows nothing of any model: what differs lies in the presets (ecg_hub.input.presets). Per record: leads in canonical
order and millivolts (ecg_hub.input.recordings), steps for the whole record, windows cut at the source rate
(ecg_hub.input.windows), then `prepare_windows`: the preset's leads in the preset's order, the preset's rate
(ecg_hub.input.resampling), steps for the window (ecg_hub.input.preparation). An evaluation loop that cuts its own
windows calls `prepare_windows` directly and gets the same values.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import BatchFeature, SequenceFeatureExtractor

from ecg_hub.errors import InputError, unknown_name
from ecg_hub.input.formats.recording import stored_recording
from ecg_hub.input.preparation import apply_steps
from ecg_hub.input.presets import InputSpec, parse_preset
from ecg_hub.input.recordings import (
    CanonicalRecord,
    Recording,
    array_recording,
    canonical_record,
    canonical_unit,
)
from ecg_hub.input.resampling import as_rate, resample
from ecg_hub.input.rows import is_batch, row_recording, rows_of
from ecg_hub.input.windows import PLACEMENTS, window_length, window_starts
from ecg_hub.leads import LEADS
from ecg_hub.spelling import registered

Float32 = NDArray[np.float32]

logger = logging.getLogger(__name__)


class ECGBatchFeature(BatchFeature):
    """A BatchFeature that also reports on the records, in attributes that no model is called with.

    Attributes:
        flat_leads: per record, the leads whose samples are all equal. Legitimate, but worth knowing.
        zeroed_leads: per record, the leads set to zero under missing_leads="zero".
    """

    def __init__(
        self,
        data: dict[str, Any] | None = None,
        tensor_type: Any = None,
        flat_leads: Sequence[tuple[str, ...]] = (),
        zeroed_leads: Sequence[tuple[str, ...]] = (),
    ) -> None:
        super().__init__(data, tensor_type=tensor_type)
        self.flat_leads = tuple(flat_leads)
        self.zeroed_leads = tuple(zeroed_leads)

    # BatchFeature pickles its data alone: the attributes would not come back from a data loader's worker.
    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class ECGFeatureExtractor(SequenceFeatureExtractor):
    """Turns ECG signals into the `input_values` of a model: (windows, leads, samples), float32.

    Args:
        feature_size: number of leads; that of the default preset.
        sampling_rate: rate in Hz; that of the default preset. Without presets, the rate of the one preset made up:
            twelve leads in canonical order, 2.5 s, millivolts (240 Hz if not given).
        padding_value: kept for the base class; nothing is padded.
        presets: name -> preset, see ecg_hub.input.presets.
        preset: name of the default preset.
        kwargs: further attributes to store.

    Raises:
        InputError: a preset that is not valid, or a feature_size or sampling_rate that no preset has.
        UnknownNameError: `preset` is not one of `presets`.

    Example:
        >>> extractor = ECGFeatureExtractor()  # 12 leads, 2.5 s at 240 Hz
        >>> signal = np.random.default_rng(0).normal(size=(3, 5000)).astype(np.float32)
        >>> call = dict(sampling_rate=500, lead_names=["V1", "I", "II"])
        >>> extractor(signal, **call)
        Traceback (most recent call last):
            ...
        ecg_hub.errors.InputError: Missing leads V2, V3, V4, V5, V6; the signal has V1, I, II. ...
        >>> batch = extractor(signal, **call, missing_leads="zero", window="all")
        >>> batch["input_values"].shape, batch["input_values"].dtype
        ((4, 12, 600), dtype('float32'))
        >>> batch.zeroed_leads  # III and the augmented leads follow from I and II
        (('V2', 'V3', 'V4', 'V5', 'V6'),)
        >>> extractor(signal, **call, missing_leads="zero")["input_values"].shape  # by default the first window only
        (1, 12, 600)
    """

    model_input_names = ["input_values"]  # noqa: RUF012 (the base class declares it so)

    def __init__(
        self,
        feature_size: int | None = None,
        sampling_rate: int | None = None,
        padding_value: float = 0.0,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        preset: str = "benchmark",
        **kwargs: Any,
    ) -> None:
        if presets is None:
            plain = {"sampling_rate": sampling_rate or 240, "input_seconds": 2.5, "lead_names": list(LEADS)}
            presets = {preset: plain}
        specs = {name: parse_preset(name, given) for name, given in presets.items()}
        preset = registered("preset", str(preset), specs)
        _check_agrees("sampling_rate", sampling_rate, {spec.sampling_rate for spec in specs.values()})
        _check_agrees("feature_size", feature_size, {len(spec.lead_names) for spec in specs.values()})
        default = specs[preset]
        super().__init__(len(default.lead_names), default.sampling_rate, padding_value, **kwargs)
        self.presets = {name: spec.to_dict() for name, spec in specs.items()}
        self.preset = preset

    def spec(self, preset: str | None = None) -> InputSpec:
        """Return what a preset feeds the model.

        Args:
            preset: its name; the default preset if None.

        Raises:
            UnknownNameError: there is no such preset.

        Example:
            >>> ECGFeatureExtractor().spec().samples
            600
        """
        name = self.preset if preset is None else registered("preset", str(preset), self.presets)
        return parse_preset(name, self.presets[name])

    def with_preset(self, preset: str) -> ECGFeatureExtractor:
        """Return a copy whose default preset is another.

        Args:
            preset: its name.

        Raises:
            UnknownNameError: there is no such preset.

        Example:
            >>> from ecg_hub import AutoFeatureExtractor
            >>> extractor = AutoFeatureExtractor.from_pretrained("random:ecg-fm")
            >>> extractor.preset, extractor.with_preset("native").preset  # a copy; the extractor stays as it is
            ('benchmark', 'native')
            >>> [step["name"] for step in extractor.spec("native").steps]
            ['zscore']
            >>> extractor.spec("natve")
            Traceback (most recent call last):
                ...
            ecg_hub.errors.UnknownNameError: Unknown preset 'natve'. Did you mean 'native'? ...
        """
        spec = self.spec(preset)
        preset = spec.preset
        other = copy.deepcopy(self)
        other.preset, other.sampling_rate, other.feature_size = preset, spec.sampling_rate, len(spec.lead_names)
        return other

    def __call__(
        self,
        signals: Any,
        sampling_rate: Any = None,
        lead_names: Sequence[str] | None = None,
        unit: str | None = None,
        window: str = "first",
        missing_leads: str = "raise",
        nan: str | None = None,
        preset: str | None = None,
        seed: int | np.random.Generator | None = None,
        return_tensors: Any = None,
    ) -> ECGBatchFeature:
        """Prepare one or many signals.

        Args:
            signals: an array (leads, samples), the path of a record (WFDB, EDF, DICOM, XML, CSV, ...: every format
                that `docs/your_own_data.md` lists), a row `ds[0]` of `load_dataset`, or a list
                of these; or a batch of rows `ds[:8]`, so that `ds.map(extractor, batched=True)` works.
            sampling_rate: rate of the arrays in Hz. A file or a row brings its own; one given must agree.
            lead_names: one name per row of the arrays, matched without case; vx, vy, vz are ignored, absent III, aVR,
                aVL, aVF derived from I and II. A file brings its own; those given replace them, in the order of the
                file (of WFDB and device formats all channels, of EDF, DICOM, MUSE and tables those that are leads).
                A row has the twelve.
            unit: of the arrays: "mV" (if None), "uV", "V", or "zscore", which passes unchanged. Rows and most files
                bring their own; for a table that states none it must be given.
            window: "first", "center", "random" or "all" (consecutive windows; a shorter rest is dropped).
            missing_leads: "raise", or "zero" to feed zeros for leads that are neither there nor derivable.
            nan: "raise", or "zero" to set NaN samples to 0 as the published protocol does. If None, "zero" for rows,
                whose missing samples are marked as such and which a run reads so, and "raise" for everything else.
            preset: the preset to follow; the default preset if None.
            seed: seed or generator for window="random".
            return_tensors: "pt" for torch, "np" or None for numpy.

        Returns:
            `input_values` (windows, leads, samples) float32. For a list or a batch the windows of all, concatenated,
            and `record_index` (windows,) int64, the position of each window's signal in it. The leads that are
            flat or were set to zero are in the attributes `flat_leads` and `zeroed_leads`, per record.

        Raises:
            InputError: the signal does not fit the contract; the message quotes the value and names the remedy.
            UnknownNameError: there is no such preset, unit, window, lead or choice.

        Example:
            >>> extractor = ECGFeatureExtractor()
            >>> millivolts = np.random.default_rng(0).normal(size=(12, 1250)).astype(np.float32)
            >>> call = dict(sampling_rate=500, lead_names=LEADS)
            >>> expected = extractor(millivolts, **call)["input_values"]
            >>> given = extractor(millivolts * 1000, **call, unit="uV")["input_values"]
            >>> bool(abs(given - expected).max() < 1e-5)  # without `unit` they are 1,000 times too large
            True

            A row of a dataset has everything in it.

            >>> import tempfile
            >>> from ecg_hub import load_dataset
            >>> folder = tempfile.TemporaryDirectory()
            >>> ds = load_dataset("mock/ptb-xl", split="train", mock=40, cache_dir=folder.name)
            >>> extractor(ds[0])["input_values"].shape, extractor(ds[:8], window="all")["input_values"].shape
            ((1, 12, 600), (32, 12, 600))
            >>> folder.cleanup()
        """
        spec = self.spec(preset)
        if unit is not None:
            canonical_unit(unit)
        if window not in PLACEMENTS:
            raise unknown_name("window", str(window), PLACEMENTS)
        signals = rows_of(signals) if is_batch(signals) else signals
        several = isinstance(signals, (list, tuple))
        items = list(signals) if several else [signals]
        if not items:
            raise InputError("There is no signal: `signals` is an empty list. Pass at least one.")
        # One generator for all signals, so that their windows do not all begin at the same sample.
        rng = np.random.default_rng(seed)
        windows: list[Float32] = []
        records: list[CanonicalRecord] = []
        for index, item in enumerate(items):
            with _named(item, index if several else None):
                recording = _recording(item, sampling_rate, lead_names, unit)
                on_nan = nan or ("zero" if isinstance(item, Mapping) else "raise")
                records.append(canonical_record(recording, spec.lead_names, missing_leads, on_nan))
                cut = self._cut(records[-1].signal, recording.sampling_rate, spec, window, rng)
                windows.append(self.prepare_windows(cut, recording.sampling_rate, spec.preset))
        data: dict[str, Any] = {"input_values": np.concatenate(windows)}
        if several:
            data["record_index"] = np.repeat(np.arange(len(items)), [len(part) for part in windows])
        _log_flat(records, items)
        return ECGBatchFeature(
            data, return_tensors, [record.flat for record in records], [record.zeroed for record in records]
        )

    def prepare_record(self, record: Float32, sampling_rate: Any, preset: str | None = None) -> Float32:
        """Apply the steps that a preset asks for before windows are cut; most presets have none.

        Args:
            record: (12, samples) float32, millivolts, order of ecg_hub.leads.LEADS; NaN counts as 0.
            sampling_rate: its rate in Hz.
            preset: the preset to follow; the default preset if None.

        Returns:
            (12, samples) float32.

        Raises:
            InputError: wrong shape, or a step that does not fit the record.
        """
        spec = self.spec(preset)
        if np.ndim(record) != 2 or len(record) != len(LEADS):
            raise InputError(f"A record must be (12, samples), not of shape {np.shape(record)}.")
        if not spec.source_steps:
            return record
        return apply_steps(_without_nan(record[None]), float(as_rate(sampling_rate)), spec.source_steps)[0]

    def prepare_windows(self, windows: Float32, sampling_rate: Any, preset: str | None = None) -> Float32:
        """Prepare windows that are already cut: the batch path, with the same values as calling the extractor.

        A preset with steps for the whole record (spec().source_steps) wants them cut from prepare_record's result.

        Args:
            windows: (n, 12, samples) float32, millivolts, order of ecg_hub.leads.LEADS, window_length(input_seconds,
                sampling_rate) samples each; NaN counts as 0. n may be 0.
            sampling_rate: their rate in Hz.
            preset: the preset to follow; the default preset if None.

        Returns:
            (n, leads, samples) float32, a new array.

        Raises:
            InputError: wrong shape, rate or length.

        Example:
            >>> windows = np.random.default_rng(0).normal(size=(3, 12, 1250)).astype(np.float32)
            >>> extractor = ECGFeatureExtractor()
            >>> batch = extractor.prepare_windows(windows, 500)
            >>> batch.shape
            (3, 12, 600)
            >>> one = extractor(windows[0], sampling_rate=500, lead_names=LEADS)["input_values"]
            >>> bool(abs(batch[0] - one[0]).max() < 1e-6)  # the same values as one by one
            True
        """
        spec = self.spec(preset)
        rate = as_rate(sampling_rate)
        x = np.asarray(windows, dtype=np.float32)
        expected = (len(LEADS), window_length(spec.input_seconds, float(rate)))
        if x.ndim != 3 or x.shape[1:] != expected:
            raise InputError(
                f"Windows for preset {spec.preset!r} at {sampling_rate!r} Hz must be "
                f"(n, {expected[0]}, {expected[1]}), not of shape {x.shape}."
            )
        # The order is the published one, and part of the result. NaN first, which resampling would spread over the
        # reach of its filter; leads before the rate, so that fewer rows are resampled; the rate of a window that is
        # already cut, whose ends therefore see zeros (about 50 of 600 samples differ from resampling the record first);
        # filters and scaling last, at the model's rate.
        x = _without_nan(x)
        if spec.lead_names != LEADS:
            x = x[:, [LEADS.index(lead) for lead in spec.lead_names]]
        if rate != spec.sampling_rate:
            x = resample(x, rate, spec.sampling_rate, length=spec.samples, method=spec.resample)
        x = apply_steps(x, spec.sampling_rate, spec.model_steps)
        # A preset with nothing to do hands the windows through; the caller may write into the result all the same.
        return x.copy() if np.may_share_memory(x, windows) else x

    def _cut(
        self, signal: Float32, sampling_rate: Any, spec: InputSpec, placement: str, rng: np.random.Generator
    ) -> Float32:
        """Return the windows (n, 12, samples) of one record."""
        width = window_length(spec.input_seconds, float(as_rate(sampling_rate)))
        length = signal.shape[1]
        if length < width:
            raise InputError(
                f"The signal holds {length} samples ({length / float(sampling_rate):g} s at {sampling_rate!r} Hz), "
                f"shorter than the window of {spec.input_seconds:g} s of preset {spec.preset!r}. "
                "Give a longer signal; nothing is padded."
            )
        # Before cutting: a filter that ran over the window would have its transients at the window's ends.
        prepared = self.prepare_record(signal, sampling_rate, spec.preset)
        starts = window_starts(placement, length, width, rng)
        return np.stack([prepared[:, start : start + width] for start in starts])


def _check_agrees(name: str, given: int | None, allowed: set[int]) -> None:
    # Both are saved beside the presets, as transformers expects, and come back as arguments when the file is read.
    if given is not None and given not in allowed:
        raise InputError(
            f"{name}={given!r} disagrees with the presets, which have {sorted(allowed)}. "
            f"Leave {name} out; the default preset decides it."
        )


def _recording(item: Any, sampling_rate: Any, lead_names: Sequence[str] | None, unit: str | None) -> Recording:
    """Read one signal, array, path, row or recording, and reconcile what the user said with what a file or row says."""
    if isinstance(item, Recording):
        return item
    if isinstance(item, Mapping):
        return _row(item, sampling_rate, lead_names, unit)
    if hasattr(item, "column_names"):
        raise InputError(
            "A whole dataset was given as one signal. Pass a row `ds[0]`, some rows `ds[:8]`, or use "
            "ds.map(extractor, batched=True)."
        )
    if not isinstance(item, (str, os.PathLike)):
        return array_recording(item, sampling_rate, lead_names, unit or "mV")
    stored = stored_recording(item, sampling_rate, unit, lead_names)
    if stored.states_unit and _other_than_millivolt(unit):
        raise InputError(f"unit={unit!r} was given, but the file states its own units. Leave `unit` out.")
    rate = _agreed_rate(sampling_rate, stored.sampling_rate, "file")
    # Names are given in the order of the file, which what was read through a store of twelve leads no longer has.
    names = stored.lead_names if lead_names is None or stored.renamed else lead_names
    checked = array_recording(stored.values, rate, names, "mV")
    return replace(stored, values=checked.values, sampling_rate=rate, lead_names=checked.lead_names)


def _other_than_millivolt(unit: str | None) -> bool:
    # "mV" is said of anything by programs that say it always, and every recording becomes that.
    return unit is not None and canonical_unit(unit) != "mV"


def _row(item: Mapping[str, Any], sampling_rate: Any, lead_names: Sequence[str] | None, unit: str | None) -> Recording:
    """Read a row of `load_dataset`, which states everything itself."""
    source = "row of load_dataset"
    if _other_than_millivolt(unit):
        raise InputError(f"unit={unit!r} was given, but a {source} states its own units. Leave `unit` out.")
    if lead_names is not None:
        raise InputError(f"lead_names={lead_names!r} was given, but a {source} has the twelve leads. Leave it out.")
    stored = row_recording(item)
    _agreed_rate(sampling_rate, stored.sampling_rate, "row")
    return stored


def _agreed_rate(given: Any, stated: Any, source: str) -> Any:
    """Return the rate that a file or row states, else the one given; what it says, no argument overrides."""
    rate = given if stated is None else stated
    if given is not None and as_rate(given) != as_rate(rate):
        raise InputError(f"sampling_rate={given!r} was given, but the {source} says {rate!r} Hz. Leave it out.")
    return rate


@contextmanager
def _named(item: Any, index: int | None) -> Iterator[None]:
    """Let an InputError say which of several signals it is about."""
    try:
        yield
    except InputError as error:
        where = f"signals[{index}]: " if index is not None else ""
        if isinstance(item, (str, os.PathLike)) and repr(os.fspath(item)) not in str(error):
            where += f"record {os.fspath(item)!r}: "
        if isinstance(item, Mapping) and "record_id" in item:
            where += f"record {str(item['record_id'])!r}: "
        if not where:
            raise
        raise type(error)(f"{where}{error}") from error


def _without_nan(x: Float32) -> Float32:
    """Return the array with NaN set to 0; the array itself where there is none."""
    # The minimum propagates NaN: one pass without a temporary.
    if np.isnan(x.min(initial=0.0)):
        return np.where(np.isnan(x), np.float32(0.0), x)
    return x


def _log_flat(records: Sequence[CanonicalRecord], items: Sequence[Any]) -> None:
    for index, (record, item) in enumerate(zip(records, items, strict=True)):
        if record.flat:
            where = record_name(item) or f"signals[{index}]"
            logger.warning("Flat leads in %s: %s. They are fed as they are.", where, ", ".join(record.flat))


def record_name(item: Any) -> str:
    """Return the name of a signal for messages: its path, its `record_id`, or "" for an array."""
    if isinstance(item, (str, os.PathLike)):
        return f"record {os.fspath(item)!r}"
    if isinstance(item, Mapping) and "record_id" in item:
        return f"record {str(item['record_id'])!r}"
    return f"record {item.name!r}" if isinstance(item, Recording) and item.name else ""
