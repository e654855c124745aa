"""Mutated inputs through every reader: none hangs, takes more memory than its bound, or ends in another error."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module("fuzz_readers")


@pytest.fixture(scope="module")
def cases(fuzz: ModuleType) -> dict:
    return fuzz.load_cases()


def check(fuzz: ModuleType, tally: object, count: int) -> None:
    failures = [f"{f.outcome}: --seed 1 --only {f.number} ({f.reader})\n{f.text}" for f in tally.failures]  # type: ignore[attr-defined]
    assert not failures, "\n".join(failures[:5])
    assert sum(tally.total(outcome) for outcome in fuzz.OUTCOMES) == count  # type: ignore[attr-defined]
    assert min(tally.total("read"), tally.total("refused")) > 0  # type: ignore[attr-defined]


def test_some_mutated_inputs(fuzz: ModuleType, cases: dict) -> None:
    check(fuzz, fuzz.run(cases, 320, seed=1), 320)


@pytest.mark.heavy
def test_twenty_thousand_mutated_inputs(fuzz: ModuleType, cases: dict) -> None:
    check(fuzz, fuzz.run(cases, 20_000, seed=1), 20_000)


def test_an_input_follows_from_seed_and_number(fuzz: ModuleType, cases: dict) -> None:
    one = [fuzz.make_input(cases, 3, number) for number in range(80)]
    assert one == [fuzz.make_input(cases, 3, number) for number in range(80)]
    assert {reader for reader, _ in one} == set(cases)
    assert one != [fuzz.make_input(cases, 4, number) for number in range(80)]


def test_what_fails_is_told_and_the_rest_is_read(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(folder: Path) -> None:
        while True:
            pass

    def grow(folder: Path) -> None:
        bytearray(2**40)

    def crash(folder: Path) -> None:
        import os

        os._exit(7)

    def err(folder: Path) -> None:
        raise KeyError("x")

    monkeypatch.setattr(fuzz, "TIMEOUT_S", 0.5)
    bad = {"hang": hang, "memory": grow, "crash": crash, "undocumented": err, "read": lambda folder: None}
    tally = fuzz.run({name: fuzz.Seed({"a": b"abc"}, read) for name, read in bad.items()}, 5, seed=1)
    assert {name: dict(count) for name, count in tally.counts.items()} == {name: {name: 1} for name in bad}
    assert "hang" in fuzz.report(tally)
    assert "KeyError" in next(failure.text for failure in tally.failures if failure.reader == "undocumented")
