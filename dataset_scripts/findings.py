"""What a comparison of a raw folder with a release says, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dataset_scripts.spec import Rejected

Verdict = Literal["ok", "missing", "differs", "open", "note"]
FAULTS = ("missing", "differs", "open")
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        subject: what was compared.
        verdict: "ok" (the fact holds), "missing", "differs", "open" (a known fact that was not compared), or "note"
            (something worth knowing that is no fact of the release).
        text: the result in one sentence.
    """

    subject: str
    verdict: Verdict
    text: str


@dataclass
class Verification:
    """All comparisons of one folder.

    Attributes:
        dataset: its name.
        folder: the raw folder.
        release: the release it was compared with; None where nothing is known of any.
        synthetic: whether the folder is a mock tree.
        thorough: whether records and checksums were read.
        findings: the comparisons, in order.
    """

    dataset: str
    folder: str
    release: str | None
    synthetic: bool
    thorough: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the folder is real and every known fact was compared and holds."""
        return not self.synthetic and not any(finding.verdict in FAULTS for finding in self.findings)

    def add(self, subject: str, verdict: Verdict, text: str) -> None:
        """Append a finding."""
        self.findings.append(Finding(subject, verdict, text))

    def compare(self, subject: str, found: Any, expected: Any, text: str) -> None:
        """Append whether a fact holds: `text` says it, and what was expected where it does not."""
        known = f"{expected:,}" if isinstance(expected, int) else str(expected)
        if found == expected:
            self.add(subject, "ok", text)
        else:
            self.add(subject, "differs", f"{text} instead of {known}")


def some(names: Iterable[str], number: int = SHOWN) -> str:
    """Return the first names as a comma list, and how many more there are."""
    listed = list(names)
    rest = len(listed) - number
    return ", ".join(listed[:number]) + (f" and {rest:,} more" if rest > 0 else "")


def reasons(rejected: Sequence[Rejected], number: int = 3) -> str:
    """Return the first records with their reasons."""
    shown = [f"{item.record_id} ({item.file}): {item.reason}" for item in rejected[:number]]
    rest = len(rejected) - number
    return "; ".join(shown) + (f"; and {rest:,} more" if rest > 0 else "")


def share(part: int, whole: int, noun: str) -> str:
    """Return "1 of 59 records is" or "12 of 21,799 records are"."""
    return f"{part:,} of {whole:,} {noun} {'is' if part == 1 else 'are'}"
