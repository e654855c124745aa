"""Options as fields of dataclasses: what a field holds, and arguments and values made of it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import InputError
from eval_harness.cli.common import add_arguments, read_config, read_values
from eval_harness.config.fields import Kind, kind_of, option, options_of, wrong_choice


@dataclass(frozen=True)
class Filter:
    names: tuple[str, ...] = option("names", (), flags=("--name",), metavar="N")
    cutoff_hz: float = option("corner, 50 % of the power (default: {default:g})", 40.0)
    order: int | None = option("of the filter", None, old_flag="--poles")
    kind: str = option("its kind", "butter", choices=("butter", "bessel"))
    both_ways: bool = option("forth and back", False, group="how")
    band: tuple[float, float] | None = option("A-B", None, parse=lambda text: tuple(map(float, text.split("-"))))
    folder: Path = Path()


def parse(*given: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Filter)
    return read_values(Filter, vars(parser.parse_args(given)))


def test_a_field_holds_what_its_annotation_says() -> None:
    assert kind_of(Filter, "names") == Kind(str, many=True)
    assert kind_of(Filter, "cutoff_hz") == Kind(float)
    assert kind_of(Filter, "order") == Kind(int, optional=True)
    assert not kind_of(Filter, "band").many
    assert [item.name for item in options_of(Filter)][-1] == "band", "a plain field is no option"
    assert [item.name for item in options_of(Filter, "how")] == ["both_ways"]


def test_arguments_are_made_of_fields_and_absent_where_not_given() -> None:
    assert parse() == {}
    words = ("--name", "a,b", "--name", "c", "--cutoff-hz", "20", "--kind", "bessel", "--both-ways", "--band", "1-2.5")
    assert parse(*words, "--order", "4") == {
        "names": ("a", "b", "c"), "cutoff_hz": 20.0, "order": 4, "kind": "bessel", "both_ways": True,
        "band": (1.0, 2.5),
    }  # fmt: skip
    assert Filter(**parse("--order", "2")) == Filter(order=2)


def test_help_shows_text_type_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="filter", usage="filter", add_help=False)
    add_arguments(parser, Filter, "", suffix=" [{default}]")
    assert [line.split(maxsplit=2) for line in parser.format_help().splitlines()[3:]][:3] == [
        ["--name", "N", "names [()]"],
        ["--cutoff-hz", "FLOAT", "corner, 50 % of the power (default: 40) [40.0]"],
        ["--order", "INT", "of the filter"],
    ]
    assert "poles" not in parser.format_help()


def test_a_file_gives_the_same_under_the_names_of_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "filter.yaml"
    file.write_text("name: [a, b]\ncutoff-hz: 20\npoles: 4\nband: 1-2\nextra: 5\n")
    given = read_config(file, Filter, others=("extra",))
    assert capsys.readouterr().err.startswith("note: poles is now called order;")
    assert given == {"name": ["a", "b"], "cutoff_hz": 20, "order": 4, "band": "1-2", "extra": 5}
    assert read_values(Filter, given) == {"names": ("a", "b"), "cutoff_hz": 20.0, "order": 4, "band": (1.0, 2.0)}
    with pytest.raises(InputError, match="unknown option 'extra'"):
        read_config(file, Filter)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"order": "many"}, r"order is 'many': it must be of type int \(of the filter\)\."),
        ({"cutoff_hz": None}, r"cutoff_hz is None: it must be of type float"),
        ({"both_ways": "perhaps"}, r"both_ways is 'perhaps': it must be of type bool"),
    ],
)
def test_values_of_another_type_are_refused_with_the_text(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_values(Filter, given)
    assert read_values(Filter, {"order": None}) == {}


def test_the_first_wrong_choice_is_found() -> None:
    assert wrong_choice(Filter()) is None
    wrong = wrong_choice(Filter(kind="besel"))
    assert wrong is not None
    assert wrong.name == "kind"
