"""From what a user holds, an array or a WFDB record, to the twelve canonical leads in millivolts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import DataError, InputError, unknown_name
from ecg_hub.input.amplitude import lead_spans, not_millivolt
from ecg_hub.input.wfdb import load_wfdb, physical_values, read_header
from ecg_hub.leads import DERIVED_LEADS, LEADS, LeadPlan, canonical_leads, plan_leads

Float32 = NDArray[np.float32]

UNITS: dict[str, float] = {"mV": 1.0, "uV": 1e-3, "V": 1e3, "zscore": 1.0}
"""Accepted units and what turns them into millivolts; z-scores pass unchanged."""

# Unicode has two of them: the micro sign, and the Greek letter mu.
_UNIT_SPELLINGS = {**{unit.lower(): unit for unit in UNITS}, "µv": "uV", "μv": "uV"}
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
    """

    values: NDArray[Any]
    sampling_rate: Any
    lead_names: Sequence[str]
    units: Sequence[str]
    remedy: str = "Convert the signal to millivolts."


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
    """Return "mV", "uV", "V" or "zscore" for any accepted spelling ("mv", "µV", ...)."""
    canonical = _UNIT_SPELLINGS.get(unit.lower()) if isinstance(unit, str) else None
    if canonical is None:
        raise unknown_name("unit", str(unit), UNITS, "Convert the signal to millivolts and pass unit='mV'.")
    return canonical


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


def wfdb_recording(path: str | os.PathLike[str]) -> Recording:
    """Read a WFDB record in the physical units that its header states; samples marked as missing become NaN."""
    stem = _record_stem(path)
    header = Path(f"{stem}.hea")
    plain = _format_16_recording(header)
    if plain is not None:
        return plain
    try:
        record = load_wfdb().rdrecord(str(stem), physical=True)
    except FileNotFoundError as error:
        missing = error.filename or str(error)
        raise InputError(
            f"Cannot read record {os.fspath(path)!r}: its file {str(missing)!r} is missing. Download the record again."
        ) from error
    except Exception as error:  # wfdb lets whatever its parser meets through: IndexError, HeaderSyntaxError, ...
        raise InputError(
            f"Cannot read record {os.fspath(path)!r}: {_file_fault(header)} ({error}). Download the record again."
        ) from error
    if record.p_signal is None or not record.sig_name:
        raise InputError(f"Cannot read record {os.fspath(path)!r}: {str(header)!r} lists no signal.")
    names = [str(name) for name in record.sig_name]
    units = [str(unit) for unit in record.units]
    return Recording(record.p_signal.T, _stated_rate(header, record.fs), names, units, WFDB_REMEDY)


def canonical_record(
    recording: Recording, needed: Sequence[str] = LEADS, missing_leads: str = "raise", nan: str = "raise"
) -> CanonicalRecord:
    """Bring a signal to (12, samples) in millivolts, absent limb leads derived; only `needed` leads have to exist."""
    for option, value in (("missing_leads", missing_leads), ("nan", nan)):
        if value not in ON_MISSING:
            raise unknown_name(f"{option} choice", str(value), ON_MISSING)
    plan = plan_leads(recording.lead_names, LEADS)
    units = {lead: canonical_unit(recording.units[row]) for lead, row in plan.rows.items()}
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


def real_matrix(signal: Any) -> NDArray[Any]:
    """Return an array, tensor or list of lists as matrix of real numbers."""
    if hasattr(signal, "detach"):  # a tensor, known without importing torch
        signal = signal.detach().cpu()
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


def _format_16_recording(path: Path) -> Recording | None:
    """Read a record of plain format 16, or leave it, with whatever is wrong with it, to the `wfdb` package."""
    try:
        header = read_header(path)
        if not (header.simple and header.signals and all(signal.name for signal in header.signals)):
            return None
        values = physical_values(header)
    except (DataError, OSError):
        return None
    rate = header.sampling_rate
    stated = _stated_rate(path, int(rate) if rate == int(rate) else rate)
    names, units = [signal.name for signal in header.signals], [signal.unit for signal in header.signals]
    return Recording(values, stated, names, units, WFDB_REMEDY)


def _record_stem(path: str | os.PathLike[str]) -> Path:
    given = Path(path).expanduser()
    if Path(f"{given}.hea").is_file():
        return given
    if given.suffix.lower() in _HEADER_SUFFIXES:
        given = given.with_suffix("")
    if not Path(f"{given}.hea").is_file():
        raise InputError(
            f"No WFDB record at {os.fspath(path)!r}: the header {str(given) + '.hea'!r} does not exist. "
            "Give the record's path without extension, or an array."
        )
    return given


def _stated_rate(header: Path, rate: Any) -> Any:
    """Return the rate if the header states one; wfdb fills in 250 Hz where it does not."""
    lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    record_line = next(line for line in lines if line.strip() and not line.startswith("#"))
    return rate if len(record_line.split()) > 2 else None


def _file_fault(header: Path) -> str:
    """Say which file is at fault when wfdb gives up: the header if it cannot be read, else the signal file."""
    try:
        fields = load_wfdb().rdheader(str(header.with_suffix("")))
        files = [header.parent / name for name in dict.fromkeys(fields.file_name or [])]
    except Exception:
        return f"its header {str(header)!r} is not valid"
    named = ", ".join(repr(str(file)) for file in files)
    return f"{named or repr(str(header))} does not hold what the header says, it may be cut short"


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
