"""Task files of strangers: whatever stands in them, `--include` takes them or refuses them in a sentence, at once."""

from __future__ import annotations

import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from ecg_hub.errors import EcgHubError
from eval_harness.cli.eval.main import main
from eval_harness.tasks.registry import runs, tasks
from tests.support.hangs import ends
from tests.support.pages import ROOT, fences

TASK = fences(ROOT / "docs" / "contributing" / "task.md", "yaml")[0]
NAMES = "abcdefghijklmnopqrstuvwxyz"
BOMB = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{b}, *{b}]\n" for b, n in pairwise(NAMES))
HOSTILE = {
    "references": BOMB,
    "a list in itself": "name: &a [*a]\n",
    "deep lists": "name: " + "[" * 20_000,
    "deep mappings": "name:\n" + "".join(" " * n + "a:\n" for n in range(900)),
    "a tag of Python": "name: !!python/object/apply:os.system ['touch ran']\n",
    "another tag": "name: !!python/name:os.system\n",
    "megabytes": "# " + "x" * 3_000_000,
    "many values": "name: [" + "1," * 100_000 + "1]",
    "long integers": "name: " + "9" * 5000,
    "sixtieths": "name: 1" + ":1" * 120_000,
    "no date": "name: 2026-13-45\n",
    "lists as names": "? [a, b]\n: 1\n",
    "twice": "name: a\nname: b\n",
    "nothing": "",
    "a list": "- a\n",
    "control characters": 'name: "a\\x1b]0;title\\x07\\x9b2J\\u202e"\n',
    "bytes": "\xff\xfe\x00",
}


def _refused(*paths: Path | str) -> str:
    with pytest.raises(EcgHubError) as error, ends():
        tasks(paths)
    return str(error.value)


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_task_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.yaml").write_bytes(HOSTILE[kind].encode("latin-1" if kind == "bytes" else "utf-8"))
    message = _refused(tmp_path / "task.yaml")
    assert len(message) < 5000
    assert not (tmp_path / "ran").exists()


def test_what_is_printed_of_it_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "task.yaml").write_text(HOSTILE["control characters"])
    assert main(["validate", str(tmp_path / "task.yaml")]) != 0
    printed = "".join(capsys.readouterr())
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(printed)


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
def test_places_that_hold_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    for place in (tmp_path / "pipe.yaml", tmp_path / "loop.yaml", "/dev/zero", tmp_path / ("n" * 300), "a\0b", ""):
        assert _refused(place)
    # In a folder nobody named them, and they are refused as well: what is skipped in silence is missed.
    assert _refused(tmp_path)


@pytest.mark.parametrize("dataset", ["../../../etc/passwd", "/etc/passwd", "/dev/zero", "x\\0y", "~/.ssh/id_rsa", "."])
def test_a_task_that_names_a_place_as_its_dataset(dataset: str, tmp_path: Path) -> None:
    lines = [f'dataset: "{dataset}"' if line.startswith("dataset:") else line for line in TASK.splitlines()]
    (tmp_path / "task.yaml").write_text("\n".join(lines))
    with pytest.raises(EcgHubError) as error:
        runs(list(tasks([tmp_path / "task.yaml"]).values())[-1:], [tmp_path / "task.yaml"])
    assert "root:" not in str(error.value)


def test_mutated_tasks_are_read_or_refused(tmp_path: Path) -> None:
    rng, file, counts = random.Random(1), tmp_path / "task.yaml", [0, 0]
    pieces = ["\0", "\t", ": ", "- ", "[", "]", "{", "}", "&a ", "*a", "!!binary ", "|", ">", "'", '"', "9" * 400]
    for _ in range(150):
        text = list(TASK)
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(4)] = rng.choice(pieces)
        file.write_text("".join(text))
        try:
            tasks([file])
            counts[0] += 1
        except EcgHubError:
            counts[1] += 1
    assert min(counts) > 5
