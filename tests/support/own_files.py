"""Small signal files of every format of a user's own archive, written from known integers."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dataset_scripts.mock.simulator import draw_anatomy, simulate, twelve_leads
from ecg_hub.leads import LEADS
from tests.support.records import write_record

MUSE_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
MDC = {
    "I": 1,
    "II": 2,
    "V1": 3,
    "V2": 4,
    "V3": 5,
    "V4": 6,
    "V5": 7,
    "V6": 8,
    "III": 61,
    "aVR": 62,
    "aVL": 63,
    "aVF": 64,
}


def integers(samples: int = 5000, leads: int = 12, seed: int = 0, peak: int = 3000) -> np.ndarray:
    """Return integers (samples, leads)."""
    return np.random.default_rng(seed).integers(-peak, peak + 1, (samples, leads))


def write_edf(
    path: Path,
    digital: np.ndarray,
    rate: float,
    names: Sequence[str] = LEADS,
    physical: tuple[float, float] = (-3276.8, 3276.7),
    unit: str = "uV",
    extra: Sequence[edfio.EdfSignal] = (),
    annotations: Sequence[edfio.EdfAnnotation] | None = None,
) -> None:
    """Write an EDF or (with annotations) EDF+ file whose signals hold these integers (samples, leads)."""
    signals = [
        edfio.EdfSignal.from_digital(
            digital[:, k].astype(np.int16),
            rate,
            label=name,
            physical_dimension=unit,
            physical_range=physical,
            digital_range=(-32768, 32767),
        )
        for k, name in enumerate(names)
    ]
    edfio.Edf([*signals, *extra], annotations=annotations).write(path)


def dicom_group(
    stored: np.ndarray,
    rate: float,
    names: Sequence[str] = LEADS,
    *,
    scheme: str = "MDC",
    sensitivity: str = "2.5",
    correction: str = "1",
    baseline: str = "0",
    unit: str = "uV",
    label: str = "RHYTHM",
    originality: str = "ORIGINAL",
    padding: int | None = None,
) -> Dataset:
    """Return a multiplex group of 16-bit samples (samples, leads), signed or unsigned."""
    group = Dataset()
    group.MultiplexGroupLabel, group.WaveformOriginality = label, originality
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = stored.shape[1], stored.shape[0]
    group.SamplingFrequency = str(rate)
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS" if stored.dtype.kind == "i" else "US"
    group.WaveformData = stored.tobytes()
    if padding is not None:
        group.add_new(0x5400100A, "OW", np.array([padding], dtype=stored.dtype).tobytes())
    channels = []
    for name in names:
        source, units, channel = Dataset(), Dataset(), Dataset()
        codes = {"MDC": f"2:{MDC.get(name)}", "SCPECG": f"5.6.3-9-{MDC.get(name)}", "meaning": "X"}
        source.CodeValue, source.CodingSchemeDesignator = codes[scheme], scheme
        source.CodeMeaning = f"Lead {name} (Einthoven)" if scheme == "meaning" else "as coded"
        units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
        channel.ChannelSourceSequence = DicomSequence([source])
        channel.ChannelSensitivity = sensitivity
        channel.ChannelSensitivityUnitsSequence = DicomSequence([units])
        channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = correction, baseline
        channel.WaveformBitsStored = 16
        channels.append(channel)
    group.ChannelDefinitionSequence = DicomSequence(channels)
    return group


def write_dicom(path: Path, *groups: Dataset) -> None:
    """Write a 12-lead ECG object with these multiplex groups."""
    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = generate_uid()
    content.Modality, content.PatientID = "ECG", "nobody"
    if groups:
        content.WaveformSequence = DicomSequence(groups)
    content.save_as(path, enforce_file_format=True)


def muse_lead(name: str, samples: np.ndarray, **changes: Any) -> str:
    """Return a LeadData element; keywords replace the text of its children."""
    data = samples.astype("<i2").tobytes()
    fields: dict[str, Any] = {
        "LeadSampleCountTotal": len(samples),
        "LeadAmplitudeUnitsPerBit": "4.88",
        "LeadAmplitudeUnits": "MICROVOLTS",
        "LeadID": name,
        "LeadSampleSize": 2,
        "LeadOff": "FALSE",
        "LeadDataCRC32": zlib.crc32(data),
        "WaveFormData": base64.encodebytes(data).decode(),
    }
    return "<LeadData>" + "".join(f"<{k}>{v}</{k}>" for k, v in {**fields, **changes}.items()) + "</LeadData>"


def muse_text(
    digital: np.ndarray, rate: int, names: Sequence[str] = MUSE_LEADS, prolog: str = "", **changes: Any
) -> str:
    """Return a MUSE export with a median beat before the rhythm strip (samples, leads)."""
    median = "".join(muse_lead(name, np.zeros(600)) for name in names)
    rhythm = "".join(muse_lead(name, digital[:, k], **changes) for k, name in enumerate(names))
    head = f"<SampleBase>{rate}</SampleBase><SampleExponent>0</SampleExponent>"
    return (
        f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{prolog}<RestingECG><PatientDemographics><PatientID>nobody'
        f"</PatientID></PatientDemographics><Waveform><WaveformType>Median</WaveformType>{head}{median}</Waveform>"
        f"<Waveform><WaveformType>Rhythm</WaveformType>{head}{rhythm}</Waveform></RestingECG>\n"
    )


def write_signal(path: Path, form: str, digital: np.ndarray, rate: int = 500) -> None:
    """Write twelve leads (samples, 12) whose unit is one microvolt (EDF: 0.1) in a format, with its ending.

    Args:
        path: without ending.
        form: wfdb, edf, dicom, csv or parquet.
        digital: integers.
        rate: Hz.
    """
    if form == "wfdb":
        write_record(path, digital.T / 1000.0, rate, LEADS)
    elif form == "edf":
        write_edf(Path(f"{path}.edf"), digital, rate)
    elif form == "dicom":
        write_dicom(Path(f"{path}.dcm"), dicom_group(digital.astype(np.int16), rate, sensitivity="1"))
    elif form == "csv":
        pd.DataFrame(digital, columns=list(LEADS)).to_csv(f"{path}.csv", index=False)
    else:
        pd.DataFrame(digital, columns=list(LEADS)).to_parquet(f"{path}.parquet")


def write_archive(folder: Path, records: int = 60, patients: int = 40, seconds: float = 5.0) -> None:
    """Write an archive of simulated WFDB records: ecg/, ecgs.csv and my_hospital.yaml.

    Every third record is normal, every third has infarction, every third left bundle branch block; the table also has
    a heart rate as target, age and sex.
    """
    rng = np.random.default_rng(0)
    kinds = (("SR",), ("SR", "AMI"), ("SR", "CLBBB"))
    words = ("normal", "infarction", "LBBB")
    (folder / "ecg").mkdir(parents=True)
    lines = ["id,person,diagnoses,rate,years,gender"]
    for k in range(records):
        eight = simulate(kinds[k % 3], rng, draw_anatomy(rng), seconds, 250)
        write_record(folder / "ecg" / f"r{k:03d}", twelve_leads(eight).T, 250, LEADS)
        more = ";old" if k % 2 else ""
        lines.append(f"r{k:03d},p{k % patients:03d},{words[k % 3]}{more},{60 + k % 30},{30 + k % 50},{'MF'[k % 2]}")
    (folder / "ecgs.csv").write_text("\n".join(lines) + "\n")
    write_description(folder / "my_hospital.yaml")


DESCRIPTION: Mapping[str, Any] = {
    "name": "my-hospital",
    "signals": "ecg",
    "table": "ecgs.csv",
    "columns": {
        "record": "id",
        "patient": "person",
        "labels": "diagnoses",
        "targets": ["rate"],
        "age": "years",
        "sex": "gender",
    },
    "folds": {"number": 5},
    "min_count": 5,
}


def write_description(path: Path, **changes: Any) -> Path:
    """Write DESCRIPTION with some fields replaced; None leaves a field out."""
    import yaml

    merged = {key: value for key, value in {**DESCRIPTION, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(merged, sort_keys=False, allow_unicode=True))
    return path


TASK = """\
name: my_diagnoses
version: 1
title: Diagnoses of my hospital
description: Infarction, left bundle branch block and normal ECGs.
category: adult_interpretation
dataset: my-hospital
run: my_diagnoses
label_column: label_all
kind: multi_label_classification
metric: macro_auroc
higher_is_better: true
resample_unit: record
citation: ours
labels: [LBBB, infarction, normal]
"""

RATE_TASK = """\
name: my_rate
version: 1
title: Heart rate
description: The heart rate in the table.
category: patient_characteristics
dataset: my-hospital
run: my_rate
label_column: targets
kind: regression
metric: mae
higher_is_better: false
resample_unit: record
citation: ours
labels: [rate]
"""
