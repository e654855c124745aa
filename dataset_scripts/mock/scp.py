"""The 71 SCP-ECG statements of PTB-XL: kinds, class and subclass as published, descriptions in our words."""

from __future__ import annotations

from typing import NamedTuple

from dataset_scripts.codes import read_codes


class Statement(NamedTuple):
    """One row of scp_statements.csv.

    Attributes:
        kinds: any of d (diagnostic), f (form), r (rhythm).
        superclass: the diagnostic class, or "".
        subclass: the diagnostic subclass, or "".
        description: what it says.
    """

    kinds: str
    superclass: str
    subclass: str
    description: str


STATEMENTS: dict[str, Statement] = {
    row["code"]: Statement(row["kinds"], row["superclass"], row["subclass"], row["description"])
    for row in read_codes("scp")
    if row["column"] == "statement"
}
"""Code -> statement, in the order of the published file."""
