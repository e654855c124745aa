"""Score per module of the last mutation run, and what survived.

    python benchmarks/mutation_score.py [MODULE.py ...]     the table; with modules, the changes that survived in them

Reads the folder `mutants` that `mutmut run` writes (`make mutation`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

FOLDER = Path("mutants")
NOTICED = ("killed", "timeout", "segfault")


def read(folder: Path) -> dict[str, dict[str, str]]:
    """Module -> mutant -> status, of all modules that were mutated."""
    found = {}
    for path in sorted(folder.rglob("*.py.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        if codes:
            module = str(path.relative_to(folder)).removesuffix(".meta")
            found[module] = {name: status_by_exit_code[code] for name, code in codes.items()}
    return found


def row(name: str, statuses: list[str]) -> str:
    counts = Counter(statuses)
    tried = len(statuses) - counts["not checked"]
    noticed = sum(counts[status] for status in NOTICED)
    share = f"{100 * noticed / tried:.1f}" if tried else "-"
    cells = (name, len(statuses), noticed, counts["survived"], counts["no tests"], counts["not checked"], share)
    return "| " + " | ".join(map(str, cells)) + " |"


def main(modules: list[str]) -> None:
    found = read(FOLDER)
    if not found:
        sys.exit("There is no mutation run in the folder 'mutants': make mutation")
    print("| module | mutants | noticed | survived | without a test | not tried | noticed, % of tried |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, mutants in found.items():
        print(row(name, list(mutants.values())))
    print(row("all", [status for mutants in found.values() for status in mutants.values()]))
    for module in modules:
        for mutant, status in found[module].items():
            if status not in (*NOTICED, "not checked"):
                subprocess.run(["mutmut", "show", mutant], check=False)


if __name__ == "__main__":
    main(sys.argv[1:])
