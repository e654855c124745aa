"""What cells of a user's table mean: code pages, several labels in one, and what of them a message may repeat."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_scripts.custom.description import Columns
from dataset_scripts.readers.tables import TextTable, is_nothing
from ecg_hub.errors import DataError

_NUMBER = re.compile(r"[-+]?\d{1,5}(?:[.,]\d{1,6})?")
_OTHER_SEPARATORS = (";", ",", "|", "/", "\t", "\n", "+", "&")


def decoded_table(path: Path, encoding: str | None) -> tuple[str, bool]:
    """Return the text of a table, and whether its code page is only guessed: then each byte is one letter.

    Raises:
        DataError: it is not in the code page that the description says.
    """
    content = path.read_bytes()
    # Excel writes a byte order mark, which would become part of the first column's name.
    marked = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    for name in filter(None, (marked, encoding, None if encoding else "utf-8")):
        try:
            return content.decode(name), False
        except UnicodeDecodeError as error:
            if name in (encoding, marked):
                line = content[: error.start].count(b"\n") + 1
                raise DataError(
                    f"The table {str(path)!r} is not in the code page {name} (line {line}). Correct `encoding` in the "
                    "description, or save the table as UTF-8."
                ) from None
    # Never fails, as every byte is a letter of Latin-1; whether those letters matter is for `refuse_guessed_letters`.
    return content.decode("latin-1"), True


_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def refuse_guessed_letters(
    path: Path, needed: Sequence[str], names: Sequence[str], rows: Sequence[tuple[int, Mapping[str, str]]]
) -> None:
    """Refuse a table whose code page nobody said where it matters: in columns that are used, or in their names."""
    used = [name for name in needed if name in names]
    places = ((line, name) for line, cells in rows for name in used if not cells[name].isascii())
    found = next(places, None)
    if found is None and (len(used) == len(needed) or all(name.isascii() for name in names)):
        return
    where = f"column {found[1]!r}, line {found[0]}" if found else "the first line"
    raise DataError(
        f"The table {str(path)!r} is not UTF-8, and {where} holds letters that differ between code pages. Add "
        "`encoding` to the description, e.g. encoding: cp1252 (Western Europe), cp1250 (Central Europe), cp1251 "
        "(Cyrillic), or save the table as UTF-8."
    )


def is_unknown(cell: str) -> bool:
    """Return whether a cell says that nothing is known; of labels "unknown" may be one, so they go by `is_nothing`."""
    return is_nothing(cell) or cell.strip().lower() in _UNKNOWN


_UNKNOWN = frozenset(
    {
        *("unknown", "unk", "u", "undefined", "unspecified", "undisclosed", "unbekannt", "inconnu", "inconnue"),
        *("desconocido", "desconocida", "desconhecido", "desconhecida", "sconosciuto", "onbekend", "okänd", "nieznany"),
        *("anonymous", "anonymized", "anonymised", "anonym"),
    }
)


def label_parts(cell: str, column: str, separator: str) -> list[str]:
    """Return the labels of a cell: joined by the separator, or a list or dictionary as Python and JSON write them.

    A dictionary of labels and percentages (PTB-XL's `scp_codes`) means its labels, one of 0 and 1 those with 1.

    Example:
        >>> label_parts("AF; LBBB", "dx", ";"), label_parts("['AF', 'LBBB']", "dx", ";")
        (['AF', 'LBBB'], ['AF', 'LBBB'])
        >>> label_parts("{'NORM': 100.0, 'SR': 0.0}", "dx", ";"), label_parts('{"AF": 0, "LBBB": 1}', "dx", ";")
        (['NORM', 'SR'], ['LBBB'])
    """
    text = _without_constructor(cell.strip())
    bracketed = text[:1] + text[-1:] in ("[]", "{}", "()")
    parts = _listed(text, column) if bracketed else text.split(separator)
    labels = [part.strip() for part in parts if not is_nothing(part)]
    _refuse_flags(labels, column)
    return labels


def _refuse_flags(labels: Sequence[str], column: str) -> None:
    """Refuse a row of 0 and 1, as programs write a vector of labels: "0" would become a label of nearly all records."""
    flags = [word.lower() for label in labels for word in label.split()]
    # By what repeats: numbers of classes may be 0 and 1, each once.
    if len(flags) > len(set(flags)) and set(flags) <= _FLAG_WORDS:
        raise ValueError(
            f"column {column!r} holds {len(flags)} numbers 0 and 1, and nothing says which is of which label; write "
            "the labels that are meant, e.g. ['AF', 'LBBB'], or a column of 0 and 1 for each"
        )


_FLAG_WORDS = frozenset({"0", "1", "false", "true"})


def _without_constructor(text: str) -> str:
    """Return what stands in frozenset(...), array(..., dtype=object) or Index(...), as Python prints some lists."""
    match = re.fullmatch(
        r"(?:np\.|pd\.)?(?:frozenset|set|list|tuple|array|Index)\((.*?)(?:,\s*dtype=[^()]*)?\)", text, re.DOTALL
    )
    return text if match is None else match[1].strip() or "[]"


def _listed(text: str, column: str) -> list[str]:
    value = _literal(text)
    if isinstance(value, Mapping):
        return _marked(value, column)
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str | int) for item in value):
        # A set has no order of its own.
        items = sorted(map(str, value)) if isinstance(value, set | frozenset) else map(str, value)
        return list(items)
    raise ValueError(
        f"column {column!r} holds a list that cannot be read; write ['AF', 'LBBB'], or labels with a separator"
    )


def _literal(text: str) -> Any:
    # NumPy prints lists without commas, of which Python would make one word: ['AF' 'LBBB'].
    apart = re.search(r"['\"]\s+['\"]", text)
    for read in () if apart else (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    # Some programs print words without quotation marks: [AF, LBBB].
    words = re.findall(r"'([^']*)'", text) or re.findall(r'"([^"]*)"', text)
    if words:
        return words if re.fullmatch(r"[\[(](?:\s*(?:'[^']*'|\"[^\"]*\")\s*,?)*[\])]", text, re.DOTALL) else None
    # PostgreSQL prints its arrays in braces: {AF,LBBB}.
    plain = text[0] in "[{" and not re.search(r"[\[\]{}:'\"]", text[1:-1])
    return [word.strip() for word in text[1:-1].split(",")] if plain else None


def _marked(value: Mapping[Any, Any], column: str) -> list[str]:
    """Return the keys of a dictionary that are meant."""
    numbers = list(value.values())
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"column {column!r} holds a dictionary whose values are no numbers; labels are expected")
    if all(isinstance(number, bool | int) and number in (0, 1) for number in numbers):
        return [str(label) for label, number in value.items() if number]
    if any(0 < number <= 1 for number in numbers):
        raise ValueError(
            f"column {column!r} holds labels with fractions, of which nobody knows from where on they count; write the "
            "labels that are meant, e.g. ['AF', 'LBBB']"
        )
    return [str(label) for label in value]


def check_separator(path: Path, table: TextTable, columns: Columns) -> None:
    """Refuse a column of labels that are joined by something else than the separator, which nobody chose."""
    if not isinstance(columns.labels, str) or "separator" in columns.model_fields_set:
        return
    cells = [cells[columns.labels].strip() for _, cells in table.rows]
    if any(columns.separator in cell for cell in cells):
        return
    for other in _OTHER_SEPARATORS:
        if other != columns.separator and _joins(cells, other):
            raise DataError(
                f"The table {str(path)!r}: labels in column {columns.labels!r} seem to be joined by {other!r}, and the "
                f"separator is {columns.separator!r}. Say separator: {other!r} under columns; or, if {other!r} is part "
                f"of the labels, separator: {columns.separator!r}."
            )


def _joins(cells: Sequence[str], separator: str) -> bool:
    """Return whether parts of cells occur in several combinations: each part alone, or with different others."""
    seen: dict[str, set[str]] = defaultdict(set)
    for cell in {cell for cell in cells if cell[:1] not in ("[", "{", "(")}:
        for part in cell.split(separator):
            seen[part.strip()].add(cell)
    joined = (cell for cell in cells if separator in cell and cell[:1] not in ("[", "{", "("))
    return any(_each_elsewhere(cell, separator, seen) for cell in joined)


def _each_elsewhere(cell: str, separator: str, seen: Mapping[str, set[str]]) -> bool:
    parts: list[str] = [part.strip() for part in cell.split(separator)]
    # One that stands alone elsewhere is a label for itself, whatever the others are; so are numbers of a code system.
    alone = any(part in seen[part] for part in parts if part)
    codes = all(re.fullmatch(r"\d{4,}", part) for part in parts)
    return alone or codes or all(part and len(seen[part]) > 1 for part in parts)


def shown(cell: str) -> str:
    """Return what a message may say of a cell: a number as it is, of text only its length.

    A column that was named by mistake may hold names or dates of birth.

    Example:
        >>> shown("300"), shown("Jane Doe")
        ("'300'", 'text of 8 letters')
    """
    text = cell.strip()
    if not text:
        return "nothing"
    return repr(text) if _NUMBER.fullmatch(text) else f"text of {len(text)} letters"
