"""CSV and Parquet files with one column per lead; what they state of unit and rate, the description need not.

A CSV file may begin with lines about the person and the device, as exports of watches do. Of these, unit, rate and lead
are read; nothing else of them is kept or repeated in a message, because it may be a name or a date of birth.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataset_scripts.formats.channels import Channels, NoUnitError, find_leads, lead_channels, unit_uv
from ecg_hub.errors import DataError
from ecg_hub.input.units import is_unit
from ecg_hub.leads import LEADS, find_lead
from ecg_hub.utils.untrusted import check_channels, check_values, plain_file

if TYPE_CHECKING:
    import pandas as pd

_PREAMBLE = 100  # lines that may stand before the samples
# Not line feeds alone: `splitlines` parts at all of these.
_LINE_ENDS = ("\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
_MISSING = ("-", "--", "?", "n.a.", "N.A.")
_RATE = re.compile(r"(?<![\d.])(\d{1,6}(?:[.,]\d+)?)\s*(?:hz|hertz)\b", re.IGNORECASE)
_SAMPLING = re.compile(r"sampl|abtast|[ée]chantillon|muestre|campion|amostra", re.IGNORECASE)
_RATE_KEY = re.compile(r"rate|fre[qc]|fr[ée]q|cad[êe]n|abtast|\bhz\b", re.IGNORECASE)
_PLAIN_RATE = re.compile(
    r"(?:(?:data|signal|ecg|ekg) )?(?:rate|freq\w*\.?|fr[ée]q\w*\.?|hz|fs)(?: ?[(\[]?hz[)\]]?)?", re.IGNORECASE
)
# Such lines state a rate as well, of the heart, or the frequencies of a filter: "Heart rate,72", "Filter,0.05-150 Hz".
_NO_SAMPLING = re.compile(
    r"heart|herz|puls|card|c(?:oe|œ)ur|coraz|cuore|ventric|atri|respir|atem|pac(?:e|ing)|filt|notch|pass|band|cut.?off|"
    r"mains|power|\bline|netz|\bac\b|hum\b|emg|muscle|baseline|drift|"
    r"\d\s*(?:-|–|to|bis|à)\s*\d+(?:[.,]\d+)?\s*(?:hz|hertz)",
    re.IGNORECASE,
)
_BARE_RATE = re.compile(r"\d{2,5}(?:\.\d+)?")
_LEAD_KEY = re.compile(
    r"leads?|channel|ableitung|d[ée]rivation|derivaci[óo]n|derivazione|deriva[çc][ãa]o|afleiding", re.IGNORECASE
)
_TIMES = re.compile(
    r"(?:time|t|zeit|temps|tiempo|tempo|timestamp)(?:[ _]*[(\[_ ] *(m?s|m?secs?|seconds?|milliseconds?|[uµμ]s)[)\]]?)?",
    re.IGNORECASE,
)
_PER_SECOND = {"s": 1.0, "m": 1e3, "u": 1e6, "n": 1e9}
_MICRO = str.maketrans("µμ", "uu")
_TOLERANCE = 0.05
_UNIT_KEY = re.compile(r"\bunit|einheit|unit[ée]|unidad|eenheid", re.IGNORECASE)
_UNIT_BEHIND = re.compile(r"[(\[]([^()\[\]]+)[)\]]$|[_/ ]([munµμ]?V)$", re.IGNORECASE)


@dataclass(frozen=True)
class _Table:
    """The samples of a file and what it states: names of all columns, units by column ("" for none), rate or None."""

    names: Sequence[str]
    units: Sequence[str]
    rate: float | None
    frame: pd.DataFrame


def read_columns(
    path: Path, form: str, unit: str | None, sampling_rate: int | None, lead_names: Mapping[str, str | None]
) -> Channels:
    """Read one "csv" or "parquet" file: a header with lead names, a row per sample; other columns are left out."""
    table = _read_csv(path, lead_names) if form == "csv" else _read_parquet(path)
    used = lead_channels(table.names, lead_names)
    frame = table.frame
    odd = [table.names[k] for k in used if getattr(frame.dtypes.iloc[k], "kind", "O") not in "iuf"]
    # Made numbers by force, text would become NaN and a damaged file would pass for one with missing samples.
    if odd:
        raise DataError(f"{path.name}: the column {odd[0]!r} holds cells that are no numbers")
    leads = frame.iloc[:, used]
    # Integers stay integers, which the store keeps exactly.
    whole = all(kind.kind in "iu" for kind in leads.dtypes) and not leads.isna().to_numpy().any()
    step = _unit(path, [table.units[k] for k in used], unit)
    rate = _rate(path, table.rate, sampling_rate)
    _check_times(path, table, rate)
    return Channels(
        names=[table.names[k] for k in used],
        values=leads.to_numpy(np.int64) if whole else leads.to_numpy(np.float64, na_value=np.nan),
        gain_uv=np.full(len(used), step),
        zero=np.zeros(len(used)),
        sampling_rate=rate,
    )


def _unit(path: Path, stated: Sequence[str], described: str | None) -> float:
    """Return the microvolt of one step: as the file states it, else as described; a contradiction is refused."""
    found = {unit_uv(unit): unit for unit in stated if unit}
    if len(found) > 1:
        raise DataError(f"{path.name}: its leads are in {' and '.join(found.values())}, one unit is expected")
    if not found and described is None:
        raise NoUnitError(f"{path.name}: such a file states no unit and no rate; add unit: mV and sampling_rate: 500")
    given = next(iter(found), None)
    if described is not None and given is not None and unit_uv(described) != given:
        raise DataError(f"{path.name} states the unit {found[given]}, the description says unit: {described}")
    return given if given is not None else unit_uv(str(described))


def _rate(path: Path, stated: float | None, described: int | None) -> float:
    if stated is None and described is None:
        raise DataError(f"{path.name}: such a file states no sampling rate; add sampling_rate: 500")
    if stated is not None and described is not None and stated != described:
        raise DataError(f"{path.name} states {stated:g} Hz, the description says sampling_rate: {described}")
    return float(stated if stated is not None else described or 0)


def _check_times(path: Path, table: _Table, rate: float) -> None:
    """Refuse a rate that a column of times contradicts: every interval would be wrong by their ratio.

    Times without a unit contradict it where they fit it in no unit, and do not number the samples either.
    """
    for column, name in enumerate(table.names):
        match, times = _TIMES.fullmatch(name.strip()), table.frame.iloc[:, column]
        if match is None or times.dtype.kind not in "iuf" or len(times) < 2:
            continue
        values = times.to_numpy(np.float64)
        # The mean step alone would know of no gap, and the median of rounded times may be 0.
        steps = [(values[-1] - values[0]) / (len(values) - 1), float(np.median(np.diff(values)))]
        unit = match[1][0].lower().translate(_MICRO) if match[1] else ""
        units = [_PER_SECOND[unit]] if unit else [*_PER_SECOND.values(), rate]
        if steps[0] > 0 and all(abs(step / unit * rate - 1) > _TOLERANCE for step in steps for unit in units):
            found = f"{units[0] / steps[0]:.4g} samples a second" if unit else f"steps of {steps[0]:.4g}"
            raise DataError(f"{path.name}: its column {name!r} has {found}, not {rate:g} Hz")


def states_rate(path: Path) -> bool:
    """Return whether a table says its own rate: in lines before the samples."""
    if path.suffix.lower() != ".csv":
        return False
    lines = _lines(path)[:_PREAMBLE]
    return _stated_rate([line for line in lines if not _is_number(line)]) is not None


def separator_of(header: str) -> str:
    """Return whichever of comma, semicolon, tab and bar a header line holds most of."""
    return max(",;\t|", key=header.count)


def decoded(content: bytes) -> str:
    """Return text by its byte order mark, as UTF-8, else as Latin-1, in which every byte is one letter and none is
    lost."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; each is an object of its own, so too many of them are refused before."""
    plain_file(path)
    text = decoded(path.read_bytes())
    check_values(sum(map(text.count, _LINE_ENDS)) * len(LEADS), f"{path.name}, with a line per sample,")
    return text.splitlines()


def _read_csv(path: Path, lead_names: Mapping[str, str | None]) -> _Table:
    lines = _lines(path)
    if not any(line.strip() for line in lines):
        raise DataError(f"{path.name} cannot be read as csv: it is empty")
    head = _header_line(lines, lead_names)
    if head is None:
        return _one_column(path, lines)
    separator = _separator(lines[head])
    names = [name.strip() for name in _cells(lines[head], separator)]
    units = [_unit_behind(name) for name in names]
    begin = head + 1
    # Some programs write a line with the units below that with the names.
    below = _cells(lines[begin], separator) if begin < len(lines) else []
    if len(below) == len(names) and any(is_unit(cell) for cell in below) and not any(map(_is_number, below)):
        units = [cell.strip() if is_unit(cell) else unit for cell, unit in zip(below, units, strict=True)]
        begin += 1
    lines = [*lines[:begin], *(line for line in lines[begin:] if not line.startswith(("#", "%")))]
    _check_last(path, lines[begin:], separator, len(names))
    stated = _stated_unit(lines[:head])
    if stated and not any(units):
        units = [stated] * len(names)
    return _Table(names, units, _stated_rate(lines[:head]), _samples(path, lines[begin:], separator, len(names)))


def _check_last(path: Path, lines: Sequence[str], separator: str, columns: int) -> None:
    """Refuse a file that ends within a row: its last number may be half of one."""
    rows = [line for line in lines[-20:] if line.strip()]
    if len(rows) > 1 and len(_cells(rows[-1], separator)) < columns <= len(_cells(rows[-2], separator)):
        raise DataError(f"{path.name} is cut short: its last row holds fewer cells than its {columns} columns")


def _header_line(lines: Sequence[str], lead_names: Mapping[str, str | None]) -> int | None:
    """Return the line with the names of the leads: that below which these columns hold numbers, else the first."""
    for line in lines[:_PREAMBLE]:
        check_channels(line.count(_separator(line)) + 1, "a line of the table")
    named = [n for n, line in enumerate(lines[:_PREAMBLE]) if _leads_in(line, lead_names) and not _says_lead(line)]
    for n in named:
        separator = _separator(lines[n])
        names = _cells(lines[n], separator)
        used = [k for k, name in enumerate(names) if _is_lead(name, lead_names)]
        rows = [_cells(line, separator) for line in lines[n + 1 : n + 4] if line.strip()]
        # The first row may hold units.
        if any(len(row) == len(names) and all(_is_number(row[k]) for k in used) for row in rows[:2]):
            return n
    return named[0] if named and named[0] == 0 else None


def _separator(header: str) -> str:
    """Return what separates the cells below a header; of a single column nothing does, and a comma is a decimal one."""
    separator = separator_of(header)
    return separator if separator in header else "\t"


def _says_lead(line: str) -> bool:
    """Return whether a line says of the whole file which lead it holds: "Lead,Lead I".

    Taken for names of columns, it would make two columns of numbers with decimal commas below.
    """
    cells = [cell for cell in _parts(line) if cell]
    return len(cells) == 2 and _LEAD_KEY.fullmatch(cells[0]) is not None


def _leads_in(line: str, lead_names: Mapping[str, str | None]) -> bool:
    return any(_is_lead(cell, lead_names) for cell in _cells(line, _separator(line)))


def _is_lead(cell: str, lead_names: Mapping[str, str | None]) -> bool:
    return cell.strip() in lead_names or find_lead(cell) is not None


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line.replace("\0", "")], delimiter=separator), [])


def _is_number(cell: str) -> bool:
    text = cell.strip().replace(",", ".")
    if text.lower() in ("", "nan", "na", "n/a", "null", "none", *_MISSING):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _samples(path: Path, lines: Sequence[str], separator: str, columns: int) -> pd.DataFrame:
    import pandas as pd

    check_values(len(lines) * columns, path.name)
    # A comma in a cell is a decimal one where something else separates the cells; the first rows may be whole numbers.
    decimal = "," if separator != "," and any("," in line for line in lines) else "."
    with warnings.catch_warnings():  # rows longer than the header would be cut
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # Without index_col=False pandas takes the first column for names where rows are longer than the header.
        return pd.read_csv(
            io.StringIO("\n".join(lines)),
            sep=separator,
            decimal=decimal,
            header=None,
            names=range(columns),
            index_col=False,
            na_values=list(_MISSING),
            engine="c",
        )


def _one_column(path: Path, lines: Sequence[str]) -> _Table:
    """Read an export of one lead: lines about the recording, then one number per line."""
    import pandas as pd

    content = [line.strip().strip('"') for line in lines]
    begin = next((n for n, line in enumerate(content[: _PREAMBLE + 1]) if _numbers_from(content, n)), None)
    preamble = content[: begin or 0]
    lead = next((cell for line in preamble for cell in _parts(line) if cell and _is_lead(cell, {})), None)
    if begin is None or lead is None:
        # For its error alone, which names no cell: any of them may be a person's name.
        find_leads([cell for line in lines[:1] for cell in _cells(line, separator_of(line))], {})
        raise DataError(f"{path.name}: below the names of the leads there are no numbers")
    values = [float(line.replace(",", ".")) for line in content[begin:] if line]
    return _Table([lead], [_stated_unit(preamble)], _stated_rate(preamble), pd.DataFrame({0: values}))


def _numbers_from(content: Sequence[str], begin: int) -> bool:
    """Return whether a line and everything behind it is one number per line."""
    rest = [line for line in content[begin:] if line]
    return bool(content[begin]) and all(map(_is_number, rest[:10])) and all(map(_is_number, rest)) and len(rest) > 1


def _parts(line: str) -> list[str]:
    """Return the cells of a line "key,value", "key;value" or "key: value"."""
    return [part.strip().strip('"') for part in re.split(r"[,;\t]|:\s", line)]


def _stated_unit(preamble: Sequence[str]) -> str:
    """Return the unit that lines before the samples state, "" for none.

    Lines that speak of a unit decide, else the others (which may be of a calibration pulse); several units state none.
    """
    for lines in ([line for line in preamble if _UNIT_KEY.search(_parts(line)[0])], preamble):
        found = {unit_uv(cell): cell for line in lines for cell in _parts(line) if cell and is_unit(cell)}
        if found:
            return next(iter(found.values())) if len(found) == 1 else ""
    return ""


def _stated_rate(preamble: Sequence[str]) -> float | None:
    """Return the rate in Hz that lines before the samples state: "512 hertz", "Sampling rate,500".

    Lines that speak of sampling decide, else the others; rates that contradict each other state none.
    """
    for rate_of in (_sampling_rate, _other_rate):
        found = {rate for line in preamble if (rate := rate_of(line)) is not None}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _sampling_rate(line: str) -> float | None:
    """Return the rate of a line that speaks of sampling; of what stands before that word it may state another."""
    word = _SAMPLING.search(line)
    if word is None:
        return None
    key, *values = _parts(line)
    if values and _SAMPLING.search(key) and _RATE_KEY.search(key) and _BARE_RATE.fullmatch(values[0]):
        return float(values[0])
    match = _RATE.search(line, word.start())
    return None if match is None else float(match[1].replace(",", "."))


def _other_rate(line: str) -> float | None:
    """Return the rate of any other line, unless it is that of the heart or of a filter."""
    if _SAMPLING.search(line) or _NO_SAMPLING.search(line):
        return None
    match = _RATE.search(line)
    if match is not None:
        return float(match[1].replace(",", "."))
    key, *values = _parts(line)
    plain = values and _PLAIN_RATE.fullmatch(key) and _BARE_RATE.fullmatch(values[0])
    return float(values[0]) if plain else None


def _unit_behind(name: str) -> str:
    """Return the unit behind a name such as "I (mV)" or "V1_uV", else ""."""
    match = _UNIT_BEHIND.search(name.strip())
    unit = (match[1] or match[2]) if match else ""
    return unit if is_unit(unit) else ""


def _read_parquet(path: Path) -> _Table:
    import pyarrow.parquet as pq

    plain_file(path)
    with pq.ParquetFile(path) as file:
        # A value that repeats takes no room in the file, and all the room of a value when it is read.
        check_channels(len(file.schema), path.name)
        check_values(file.metadata.num_rows * max(len(file.schema), len(LEADS)), path.name)
        frame = file.read().to_pandas()
    # pandas keeps columns of leads or times in the index, where `set_index` put them.
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    return _Table(names, [_unit_behind(name) for name in names], None, frame)
