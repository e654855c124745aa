"""From what a user holds, an array or a file, to the twelve canonical leads in millivolts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import DataError, InputError, UnknownNameError, unknown_name
from ecg_hub.input.amplitude import lead_spans, not_millivolt
from ecg_hub.input.samples import shown_names
from ecg_hub.input.units import MICROVOLT, is_unit, plain_unit, unit_uv
from ecg_hub.input.wfdb import read_digital, read_header
from ecg_hub.leads import DERIVED_LEADS, LEADS, LeadPlan, canonical_leads, find_lead, plan_leads
from ecg_hub.utils.remote import bring_record, place
from ecg_hub.utils.untrusted import check_values, reading

Float32 = NDArray[np.float32]

UNITS: dict[str, float] = {"mV": 1.0, "uV": 1e-3, "V": 1e3, "nV": 1e-6, "zscore": 1.0}
"""Accepted units and what turns them into millivolts; z-scores pass unchanged."""

_HEADER_SUFFIXES = (".hea", ".dat", ".mat", ".xyz")
ON_MISSING: tuple[str, ...] = ("raise", "zero")
WFDB_REMEDY = "Correct gain and unit in its header, or pass its samples as an array with unit='uV'."


@dataclass(frozen=True)
class Recording:
    """One signal with what is needed to read it.

    Attributes:
        values: (leads, samples), real numbers in the units given.
        sampling_rate: rate in Hz as given, None if unknown.
        lead_names: one name per row, in any accepted spelling.
        units: one unit per row (a key of UNITS or another spelling of it).
        remedy: what to do where the values cannot be in millivolts.
        name: of the record, for messages; "" where it has none.
        states_unit: whether a file said the units itself.
        renamed: whether names that the caller gave are in `lead_names` already.
    """

    values: NDArray[Any]
    sampling_rate: Any
    lead_names: Sequence[str]
    units: Sequence[str]
    remedy: str = "Convert the signal to millivolts."
    name: str = ""
    states_unit: bool = True
    renamed: bool = False


@dataclass(frozen=True)
class CanonicalRecord:
    """A signal brought to canonical order and millivolts.

    Attributes:
        signal: (12, samples) float32 in the order of LEADS; leads that nobody needs may be zero.
        flat: needed leads whose samples are all equal.
        zeroed: needed leads that were absent and set to zero.
    """

    signal: Float32
    flat: tuple[str, ...]
    zeroed: tuple[str, ...]


def canonical_unit(unit: str) -> str:
    """Return "mV", "uV", "V", "nV" or "zscore" for any accepted spelling ("mv", "µV", "microvolts", ...)."""
    if isinstance(unit, str) and unit.strip().lower() == "zscore":
        return "zscore"
    try:
        return plain_unit(unit)
    except (TypeError, ValueError, AttributeError):
        remedy = "Convert the signal to millivolts and pass unit='mV'."
        raise unknown_name("unit", str(unit), (*MICROVOLT, "zscore"), remedy) from None


def array_recording(signal: Any, sampling_rate: Any, lead_names: Sequence[str] | None, unit: str) -> Recording:
    """Check an array of the user, (leads, samples), with its rate in Hz, one name per row and one unit for all rows."""
    values = real_matrix(signal)
    if sampling_rate is None:
        raise InputError("sampling_rate is missing: pass the rate of the signal in Hz, for example sampling_rate=500.")
    if lead_names is None:
        raise InputError(
            "lead_names is missing: pass one name per row, for example lead_names=ecg_hub.leads.LEADS "
            f"for {', '.join(LEADS)}."
        )
    names = list(canonical_leads(lead_names))
    if len(names) != len(values):
        transposed = " The signal looks transposed, pass signal.T." if values.shape[1] == len(names) else ""
        raise InputError(
            f"{len(names)} lead names for a signal of shape {values.shape}; a signal is (leads, samples) "
            f"with one name per lead.{transposed}"
        )
    remedy = Recording.remedy if canonical_unit(unit) == "uV" else "Pass unit='uV' if the signal is in microvolts."
    return Recording(values, sampling_rate, names, [unit] * len(names), remedy)


def wfdb_recording(path: str | os.PathLike[str], every: bool = False, unit: str | None = None) -> Recording:
    """Read a WFDB record in the physical units that its header states; samples marked as missing become NaN.

    Args:
        path: with or without extension.
        every: whether channels that are no known lead are wanted as well, because the caller names them.
        unit: of channels for which the header states no voltage.
    """
    header_path = Path(f"{_record_stem(path)}.hea")
    try:
        with reading(header_path.name, "wfdb"):
            header = read_header(header_path)
            digital = read_digital(header, (lambda names: range(len(names))) if every else known_leads, unit)
            # What becomes of it has twelve leads, however few the file has.
            check_values(len(digital.values) * len(LEADS), f"{header_path.name}, with twelve leads,")
            values, rate = digital.physical(), _plain_number(digital.sampling_rate) if header.states_rate else None
    except DataError as error:
        raise InputError(f"Cannot read record {os.fspath(path)!r}: {error}. Download the record again.") from error
    if not digital.lines:
        raise InputError(f"Cannot read record {os.fspath(path)!r}: its header lists no signal.")
    names, units = [line.name for line in digital.lines], [line.unit for line in digital.lines]
    stated = all(_is_voltage(line.unit) for line in header.signals if line.name in names)
    for row, unit_of_row in enumerate(units):
        # "10uV" is a multiple, which the recording has no place for.
        if not is_unit(unit_of_row) and _is_voltage(unit_of_row):
            values[row] *= unit_uv(unit_of_row)
            units[row] = "uV"
    return Recording(values, rate, names, units, WFDB_REMEDY, states_unit=stated)


def _is_voltage(unit: str) -> bool:
    try:
        return unit_uv(unit) > 0
    except ValueError:
        return False


def known_leads(names: Sequence[str]) -> list[int]:
    """Return the channels whose names are leads, the orthogonal ones included."""
    known = [channel for channel, name in enumerate(names) if find_lead(name)]
    if names and not known:
        raise UnknownNameError(
            f"Unknown lead {shown_names(names)}. Known: {', '.join(LEADS)}. Pass lead_names with one name per channel."
        )
    return known


def _plain_number(rate: float) -> float:
    return int(rate) if rate == int(rate) else rate


def file_recording(
    path: str | os.PathLike[str],
    sampling_rate: Any = None,
    unit: str | None = None,
    lead_names: Sequence[str] | None = None,
) -> Recording:
    """Read a file of any format: WFDB, or one that archives of a user may hold (EDF, DICOM, XML, CSV, ...).

    Args:
        path: the file; of a WFDB record any of its files, or their common name.
        sampling_rate: Hz, for formats whose files state none.
        unit: the same of the unit; one that files state is not overruled.
        lead_names: the names that the caller gives its channels. What has twelve leads in canonical order when it is
            read gets them here, while the order of the file is known; a WFDB record is returned with every channel.
    """
    given = bring_record(place(path))
    if is_wfdb(given) or not given.exists():
        return wfdb_recording(path, lead_names is not None, unit)
    if given.is_dir():
        raise InputError(
            f"{os.fspath(path)!r} is a folder. Describe it in a YAML file (docs/your_own_data.md) and give that to "
            "`ecg-hub embed` or `ecg-hub predict`, or give its records one by one."
        )
    # By name: data stand on models, so no import statement may point the other way.
    read_file = import_module("dataset_scripts.formats.files").read_file
    try:
        names = None if lead_names is None else canonical_leads(lead_names)
        recording: Recording = read_file(given, sampling_rate, unit, names)
    except DataError as error:
        raise InputError(f"Cannot read record {os.fspath(path)!r}: {error}.") from error
    return replace(recording, renamed=names is not None)


def is_wfdb(path: Path) -> bool:
    """Return whether a path names a WFDB record: one of its files, or their common name."""
    return Path(f"{path}.hea").is_file() or path.suffix.lower() in _HEADER_SUFFIXES


def canonical_record(
    recording: Recording, needed: Sequence[str] = LEADS, missing_leads: str = "raise", nan: str = "raise"
) -> CanonicalRecord:
    """Bring a signal to (12, samples) in millivolts, absent limb leads derived; only `needed` leads have to exist."""
    for option, value in (("missing_leads", missing_leads), ("nan", nan)):
        if value not in ON_MISSING:
            raise unknown_name(f"{option} choice", str(value), ON_MISSING)
    plan = plan_leads(recording.lead_names, LEADS)
    units = {lead: _unit_of(lead, recording.units[row]) for lead, row in plan.rows.items()}
    if "zscore" in units.values():
        # Every lead was scaled on its own, so Einthoven's law no longer holds.
        plan = plan_leads(recording.lead_names, LEADS, derive=False)
    zeroed = tuple(lead for lead in needed if lead in plan.missing)
    if zeroed and missing_leads == "raise":
        raise InputError(_missing_text(zeroed, recording.lead_names, "zscore" in units.values()))
    signal = _fill(recording.values, plan, units)
    _settle_samples(signal, needed, nan)
    spans = lead_spans(signal)
    if "zscore" not in units.values() and (reason := not_millivolt(signal, spans)):
        raise InputError(f"{reason} {recording.remedy}")
    flat = tuple(lead for lead in needed if lead not in zeroed and spans[LEADS.index(lead)] == 0)
    return CanonicalRecord(signal, flat, zeroed)


def _unit_of(lead: str, unit: str) -> str:
    """Return the unit of a lead as `canonical_unit` does, with the way out where a file states none of voltage."""
    try:
        return canonical_unit(unit)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"Lead {lead}: {str(error).partition('.')[0]}. If you know what it is, pass unit='uV', or describe the "
            "file in a YAML file (docs/your_own_data.md) with unit: mV."
        ) from None


def real_matrix(signal: Any) -> NDArray[Any]:
    """Return an array, tensor or list of lists as matrix of real numbers."""
    if hasattr(signal, "detach") and hasattr(signal, "cpu"):  # a tensor, known without importing torch
        signal = signal.detach().cpu()
    if isinstance(signal, np.ma.MaskedArray):
        # What is masked is missing; as a plain array it would be whatever number lies beneath.
        kind = np.result_type(signal.dtype, np.float32)
        signal = np.where(np.ma.getmaskarray(signal), np.nan, np.ma.getdata(signal).astype(kind))
    try:
        values = np.asarray(signal)
    except (TypeError, ValueError) as error:
        raise InputError(f"A signal must be an array (leads, samples) of real numbers: {error}.") from error
    # Integers are welcome, with the unit that they are in; objects, booleans and complex numbers are no voltages.
    if values.dtype.kind not in "iuf":
        raise InputError(f"A signal must hold real numbers, not dtype {str(values.dtype)!r}. Convert it to float32.")
    if values.ndim != 2:
        raise InputError(
            f"A signal must be (leads, samples), not of shape {values.shape}. "
            "One lead is signal[None]; several records are a list of arrays."
        )
    if 0 in values.shape:
        raise InputError(f"The signal is empty: shape {values.shape}. Leave the record out.")
    return values


def _record_stem(path: str | os.PathLike[str]) -> Path:
    given = bring_record(place(path))
    if Path(f"{given}.hea").is_file():
        return given
    if given.suffix.lower() in _HEADER_SUFFIXES:
        given = given.with_suffix("")
    if any(mark in str(given) for mark in "*?[") and not Path(f"{given}.hea").is_file():
        raise InputError(
            f"No record at {os.fspath(path)!r}, which looks like a pattern. Leave out the quotation marks, so that the "
            "shell fills it in, or describe the files in a YAML file with `signals` (docs/your_own_data.md)."
        )
    if not Path(f"{given}.hea").is_file():
        raise InputError(
            f"No record at {os.fspath(path)!r}: there is no such file, and the header {str(given) + '.hea'!r} does not "
            "exist. Give the path of a file of any format, of a WFDB record without extension, or an array."
        )
    return given


def _missing_text(missing: Sequence[str], present: Sequence[str], zscored: bool) -> str:
    text = f"Missing leads {', '.join(missing)}; the signal has {', '.join(map(str, present))}."
    if zscored and any(lead in DERIVED_LEADS for lead in missing):
        text += " Limb leads cannot be derived from z-scores."
    return f"{text} Pass missing_leads='zero' to feed zeros for them."


def _fill(values: NDArray[Any], plan: LeadPlan, units: dict[str, str]) -> Float32:
    signal = np.zeros((len(LEADS), values.shape[1]), dtype=np.float32)
    # What float32 cannot hold becomes infinite, without a warning: it is refused with its place a moment later.
    with np.errstate(over="ignore", invalid="ignore"):
        for lead, row in plan.rows.items():
            factor = UNITS[units[lead]]
            # The product in float64, so that it is rounded once.
            signal[LEADS.index(lead)] = values[row] if factor == 1.0 else values[row].astype(np.float64) * factor
        # From the rows in millivolts: in the source I and II may have different units.
        for lead in plan.derived:
            of_i, of_ii = DERIVED_LEADS[lead]
            signal[LEADS.index(lead)] = of_i * signal[0] + of_ii * signal[1]
    return signal


def _settle_samples(signal: Float32, needed: Sequence[str], nan: str) -> None:
    """Raise for samples of needed leads that are not finite, or set NaN to zero, in place."""
    for lead in needed:
        row = signal[LEADS.index(lead)]
        bad = np.flatnonzero(~np.isfinite(row))
        if bad.size and np.isinf(row).any():
            first = int(np.flatnonzero(np.isinf(row))[0])
            raise InputError(f"Lead {lead} is {row[first]!s} at sample {first}. Fix or leave out the record.")
        if bad.size and nan == "raise":
            raise InputError(
                f"Lead {lead} has {bad.size} NaN samples, the first at {int(bad[0])}. "
                "Pass nan='zero' to set them to 0, as the published protocol does."
            )
    # The leads that nobody needs as well, since filters and statistics of whole records look at all twelve.
    signal[~np.isfinite(signal)] = 0.0
