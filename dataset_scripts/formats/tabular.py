"""CSV and Parquet files with one column per lead: no unit, no rate, so the description states both."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataset_scripts.formats.channels import Channels, lead_channels, unit_uv
from ecg_hub.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_columns(path: Path, form: str, unit: str, sampling_rate: int, lead_names: Mapping[str, str]) -> Channels:
    """Read one "csv" or "parquet" file: a header with lead names, a row per sample; other columns are left out."""
    frame = _read_csv(path) if form == "csv" else _read_parquet(path)
    names = [str(name) for name in frame.columns]
    used = lead_channels(names, lead_names)
    odd = [names[k] for k in used if getattr(frame.dtypes.iloc[k], "kind", "O") not in "iuf"]
    # Made numbers by force, text would become NaN and a damaged file would pass for one with missing samples.
    if odd:
        raise DataError(f"{path.name}: the column {odd[0]!r} holds cells that are no numbers")
    leads = frame.iloc[:, used]
    # Integers stay integers, which the store keeps exactly.
    whole = all(kind.kind in "iu" for kind in leads.dtypes) and not leads.isna().to_numpy().any()
    return Channels(
        names=[names[k] for k in used],
        values=leads.to_numpy(np.int64) if whole else leads.to_numpy(np.float64, na_value=np.nan),
        gain_uv=np.full(len(used), unit_uv(unit)),
        zero=np.zeros(len(used)),
        sampling_rate=sampling_rate,
    )


def separator_of(header: str) -> str:
    """Return whichever of comma, semicolon and tab a header line holds most of."""
    return max(",;\t", key=header.count)


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        header, first = handle.readline(), handle.readline()
    separator = separator_of(header)
    # A comma in a cell is a decimal one where something else separates the cells.
    decimal = "," if separator != "," and "," in first else "."
    with warnings.catch_warnings():  # rows longer than the header would be cut
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # Without index_col=False pandas takes the first column for names where rows are longer than the header.
        return pd.read_csv(path, sep=separator, decimal=decimal, encoding="utf-8-sig", index_col=False, engine="c")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)
