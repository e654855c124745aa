"""Files of hospitals as text, written from the specifications: HL7 aECG, Philips Sierra with XLI, Mortara, Kardia."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

NAME, IDENTITY, BORN = "Mustermann", "PAT-4711", "19470815"
"""What stands in every file about a patient who does not exist, and must appear nowhere else."""


def aecg_sequence(name: str, samples: np.ndarray, scale: str = "2.5", unit: str = "uV", origin: str = "0") -> str:
    """Return one lead; `name` is the code after MDC_ECG_LEAD_."""
    digits = " ".join(map(str, samples.tolist()))
    return (
        f'<component><sequence><code code="MDC_ECG_LEAD_{name.upper()}" codeSystem="2.16.840.1.113883.6.24"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="{origin}" unit="{unit}"/><scale value="{scale}" unit="{unit}"/>'
        f"<digits>{digits}</digits></value></sequence></component>"
    )


def aecg_set(leads: str, increment: str = "0.002", unit: str = "s", time: str = "TIME_ABSOLUTE") -> str:
    """Return a sequence set with its times before the leads."""
    head = f'<component><sequence><code code="{time}"/><value xsi:type="GLIST_TS"><head value="20020122091000.000"/>'
    step = f'<increment value="{increment}" unit="{unit}"/></value></sequence></component>'
    return f"<component><sequenceSet>{head}{step}{leads}</sequenceSet></component>"


def aecg_text(*sets: str, derived: str = "", kind: str = "RHYTHM", prolog: str = "") -> str:
    """Return an annotated ECG of one series with these sequence sets, and a derived series."""
    beat = f'<derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/>{derived}</derivedSeries></derivation>'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{prolog}<AnnotatedECG xmlns="urn:hl7-org:v3" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id root="{IDENTITY}"/><componentOf><name>{NAME}'
        f'</name><birthTime value="{BORN}"/></componentOf><component><series><code code="{kind}"/>{"".join(sets)}'
        f"{beat if derived else ''}</series></component></AnnotatedECG>\n"
    )


def write_leads_aecg(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return an annotated ECG of (samples, leads) in units of 2.5 microvolt."""
    leads = "".join(aecg_sequence(name, digital[:, k]) for k, name in enumerate(names))
    return aecg_text(aecg_set(leads, increment=f"{1 / rate:.6f}")).encode()


def xli(columns: Sequence[np.ndarray]) -> bytes:
    """Compress leads as Philips does: differences, high bytes before low ones, LZW of ten-bit codes."""
    chunks = []
    for column in columns:
        x = column.astype(np.int64)
        bends = 2 * x[1:-1] - x[:-2] - x[2:]  # the difference that foretells each sample from the third on
        words = np.concatenate([x[:2], bends[1:] + 64, [64]]) & 0xFFFF
        packed = _lzw((words >> 8).astype(np.uint8).tobytes() + (words & 0xFF).astype(np.uint8).tobytes())
        start = int(bends[0]) & 0xFFFF
        chunks.append(len(packed).to_bytes(4, "little") + bytes(2) + start.to_bytes(2, "little") + packed)
    return b"".join(chunks)


def _lzw(data: bytes) -> bytes:
    table = {bytes([value]): value for value in range(256)}
    codes = []
    current = b""
    for value in data:
        longer = current + bytes([value])
        if longer in table:
            current = longer
            continue
        codes.append(table[current])
        if len(table) < 1023:
            table[longer] = len(table)
        current = bytes([value])
    codes.append(table[current])
    bits = "".join(f"{code:010b}" for code in [*codes, 1023])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def limb_residuals(digital: np.ndarray) -> np.ndarray:
    """Return what XLI stores of twelve leads: III, aVR, aVL, aVF as differences from what I and II foretell."""
    stored = digital.astype(np.int64).copy()
    i, ii, iii = (stored[:, k].copy() for k in range(3))
    stored[:, 2] = ii - i - iii
    stored[:, 3] = -_towards_zero(i + ii) - digital[:, 3]
    stored[:, 4] = _towards_zero(i - iii) - digital[:, 4]
    stored[:, 5] = _towards_zero(ii + iii) - digital[:, 5]
    return stored


def _towards_zero(doubled: np.ndarray) -> np.ndarray:
    return np.trunc(doubled / 2).astype(np.int64)


def sierra_text(
    digital: np.ndarray,
    rate: int,
    names: Sequence[str],
    *,
    version: str = "1.04",
    encoding: str = "Base64",
    compressed: bool = True,
    changes: dict[str, str] | None = None,
    body: str | None = None,
) -> str:
    """Return Sierra XML of (samples, leads) in units of 5 microvolt; `changes` replaces attributes of the waveform."""
    new = version != "1.03"
    twelve = len(names) == 12 and names[2] == "III"
    stored = limb_residuals(digital) if compressed and twelve else digital
    if compressed:
        data = base64.encodebytes(xli(list(stored.T))).decode()
    elif encoding == "Base64":
        data = base64.encodebytes(stored.T.astype("<i2").tobytes()).decode()
    else:
        data = " ".join(map(str, stored.T.reshape(-1).tolist()))
    method = "XLI" if compressed else "Uncompressed"
    shared = {"dataencoding": encoding, "durationperchannel": str(round(len(digital) * 1000 / rate))}
    own = (
        {"compression": method, "numberofleads": str(len(names)), "leadlabels": " ".join(names)}
        | {"samplespersecond": str(rate), "resolution": "5", "signaloffset": "0", "signalsigned": "True"}
        if new
        else {"compressflag": str(compressed), "compressmethod": method, "nbitspersample": "16"}
    )
    attributes = " ".join(f'{k}="{v}"' for k, v in {**shared, **own, **(changes or {})}.items())
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        f"<documenttype>SierraECG</documenttype><documentversion>{version}</documentversion></documentinfo>"
        f"<dataacquisition><signalcharacteristics><samplingrate>{rate}</samplingrate><signalresolution>5"
        f"</signalresolution><acquisitiontype>STD-12</acquisitiontype><numberchannelsallocated>{len(names)}"
        f"</numberchannelsallocated></signalcharacteristics></dataacquisition><patient><generalpatientdata><patientid>"
        f"{IDENTITY}</patientid><name><lastname>{NAME}</lastname></name></generalpatientdata></patient><waveforms>"
        f"<parsedwaveforms {attributes}>{data if body is None else body}</parsedwaveforms>"
        f'<repbeats dataencoding="Base64" samplespersec="500" resolution="5"><repbeat leadname="I"><waveform>AAAAAA=='
        f"</waveform></repbeat></repbeats></waveforms></restingecgdata>\n"
    )


def write_leads_sierra(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return Sierra XML, compressed where the order of leads is the one that compression needs."""
    return sierra_text(digital, rate, names, compressed=list(names[:3]) == ["I", "II", "III"]).encode()


def mortara_channel(name: str, samples: np.ndarray, rate: float, **changes: Any) -> str:
    """Return one CHANNEL; keywords replace its attributes."""
    fields: dict[str, Any] = {"OFFSET": 0, "BITS": 16, "FORMAT": "SIGNED", "UNITS_PER_MV": 400, "NAME": name}
    fields |= {"DURATION": len(samples), "SAMPLE_FREQ": rate, "ENCODING": "BASE64"}
    fields["DATA"] = base64.b64encode(samples.astype("<i2").tobytes()).decode()
    return "<CHANNEL " + " ".join(f'{k}="{v}"' for k, v in {**fields, **changes}.items()) + "/>"


def mortara_text(*channels: str) -> str:
    """Return a Mortara export with a median beat before the rhythm strip."""
    beat = mortara_channel("I", np.zeros(600), 1000).replace("CHANNEL", "TYPICAL_CYCLE_CHANNEL")
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ECG ACQUISITION_TIME="20170101101500" NUM_QRS="12"><SUBJECT '
        f'LAST_NAME="{NAME}" ID="{IDENTITY}" DOB="{BORN}"/><TYPICAL_CYCLE>{beat}</TYPICAL_CYCLE>'
        f"{''.join(channels)}</ECG>\n"
    )


def write_leads_mortara(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return a Mortara export of (samples, leads) in units of 2.5 microvolt."""
    return mortara_text(*(mortara_channel(name, digital[:, k], rate) for k, name in enumerate(names))).encode()


_KARDIA = {"I": "leadI", "II": "leadII", "III": "leadIII", "aVR": "AVR", "aVL": "AVL", "aVF": "AVF"}


def kardia_content(digital: np.ndarray, rate: int, names: Sequence[str]) -> dict[str, Any]:
    """Return a recording of the Kardia API with a resolution of 500 nV, unfiltered and as filtered by the maker."""
    samples = {_KARDIA.get(name, name): digital[:, k].tolist() for k, name in enumerate(names)}
    raw = {"frequency": rate, "mainsFrequency": 50, "amplitudeResolution": 500, "numLeads": len(names)}
    flat = {name: [0] * len(digital) for name in samples}
    return {
        "id": IDENTITY,
        "patientID": NAME,
        "recordedAt": BORN,
        "algorithmDetermination": "normal",
        "data": {"raw": {**raw, "samples": samples}, "enhanced": {**raw, "samples": flat}},
    }


def write_leads_kardia(digital: np.ndarray, rate: int, names: Sequence[str]) -> bytes:
    """Return the recording as JSON."""
    return json.dumps(kardia_content(digital, rate, names)).encode()
