"""The commands that pages print, and a small world in which they run as printed.

Absolute paths lie below the test's folder, data are mock trees, published weights are filled by rule and converted.
What a command computes is made smaller by options that are appended to it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.catalog import datasets
from dataset_scripts.mock import write
from ecg_hub import catalog
from ecg_hub.names import model_folder
from tests.support.checkpoints import save_tiny, save_tiny_head

ROOT = Path(__file__).resolve().parents[2]
CARDS = sorted((ROOT / "ecg_hub" / "models").glob("*/card.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = ("ecg-eval", "ecg-hub")
RECORDS = 64
_RUN = ["--epochs", "1", "--limit", "24", "--resamples", "20"]
_POST = ["--post-train", "stage1_epochs=1", "--post-train", "stage2_epochs=1"]
# Options that make a command small: of two with one name the last counts.
SMALL = {
    "run": _RUN,
    "label-efficiency": [*_RUN, "--fractions", "1,1/2", "--mode", "linear"],
    "ablation": [*_RUN[2:], *_POST, "--fractions", "1", "--seeds", "0", "--weights", "pretrained", "--preview", "off"],
    "cka": ["--records", "24"],
    "robustness": ["--resamples", "20", "--records", "16", "--corruptions", "lead_loss"],
    "transfer": ["--resamples", "20", "--records", "24"],
    "report": ["--resamples", "20"],
    "push": ["--allow-synthetic"],
}
PRETRAIN = ["--steps", "2", "--batch-size", "8", "--lanes", "2"]
PROBE = ["--probe-limit", "16", "--probe-epochs", "1"]


@dataclass(frozen=True)
class Command:
    """One command line of a page.

    Attributes:
        page: path of the page, relative to the repository.
        text: without the prompt, as printed.
    """

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words, without a comment at the end."""
        return shlex.split(self.text, comments=True)

    @property
    def ours(self) -> list[str] | None:
        """Program, verb and arguments if it is one of this project's, however many processes start it."""
        words = self.words
        if words[0] in ("accelerate", "torchrun"):
            at = words.index("-m")
            program = {"eval_harness": "ecg-eval", "eval_harness.cli.hub": "ecg-hub"}[words[at + 1]]
            words = [program, *words[at + 2 :]]
        if words[0] not in OURS:
            return None
        return [words[0], "run", *words[1:]] if words[1].startswith("--") else words


def fences(page: Path, kind: str) -> list[str]:
    """The blocks of a kind on a page."""
    return [text for name, text in FENCE.findall(page.read_text(encoding="utf-8")) if name == kind]


def commands(page: Path) -> Iterator[Command]:
    """Yield what follows a prompt on a page."""
    for text in fences(page, "console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                yield Command(str(page.relative_to(ROOT)), line[2:])


def shrunk(words: Sequence[str]) -> list[str]:
    """A command of ours made small: fewer records, epochs and resamples; of all tasks one."""
    program, verb, *rest = words
    # Hosts of data have their own tests; here the files are there already.
    rest = [word for word in rest if word != "--download"]
    if program == "ecg-hub":
        if verb != "pretrain":
            return [program, verb, *rest]
        if "--epochs" in rest:  # stands for steps
            at = rest.index("--epochs")
            rest = rest[:at] + rest[at + 2 :]
        return [program, verb, *rest, *PRETRAIN, *(PROBE if "--probe-task" in rest else [])]
    if "--dry-run" in rest and verb != "push":
        return [program, verb, *rest]
    if verb == "label-efficiency" and "--fractions" in rest:  # given twice, it is both
        at = rest.index("--fractions")
        rest = rest[:at] + rest[at + 2 :]
    small = SMALL.get(verb, [])
    if "post_train" in rest:
        small = [*small[2:], *_POST]
    elif verb == "run" and "--mode" not in rest:  # of three modes the cheapest
        small = [*small, "--mode", "linear"]
    return [program, verb, *("ptbxl_super" if word == "all" else word for word in rest), *small]


@dataclass(frozen=True)
class World:
    """Folders that stand in for those of the reader.

    Attributes:
        root: what an absolute path begins with.
        here: the folder in which the commands run.
    """

    root: Path
    here: Path

    @property
    def data(self) -> Path:
        """What pages call /data/ecg."""
        return self.root / "data" / "ecg"

    def place(self, word: str) -> str:
        """Return a word of a command with its absolute path below the root."""
        option, equals, value = word.partition("=")
        if equals and value.startswith("/"):
            return f"{option}={self.root}{value}"
        return f"{self.root}{word}" if word.startswith("/") else word

    def dataset(self, name: str) -> Path:
        """Write the mock tree of a dataset once."""
        folder = self.data / name
        return folder if folder.exists() else write(name, folder, records=RECORDS)

    def model(self, alias: str) -> None:
        """Put a tiny model under a short name, once."""
        if not model_folder(alias).exists():
            save_tiny(alias, model_folder(alias))

    def furnish(self, text: str) -> None:
        """Put in place what a text names: data of /data/ecg, published models."""
        for name in datasets() if "--tasks all" in text else [name for name in datasets() if name in text]:
            self.dataset(name)
        if "ptbxl" in text or "demo" in text:
            self.dataset("ptb-xl")
        for alias, entry in catalog.checkpoints().items():
            if "published-head" in text and entry.keeps_head and not entry.is_default and f" {alias} " in text:
                save_tiny_head(alias, model_folder(alias))
        for alias, entry in catalog.models().items():
            if entry.weights.kind != "none" and re.search(rf"(?<![\w:/-]){alias}(?![\w-])", text):
                self.model(alias)
