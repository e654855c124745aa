"""Old names of arguments work for one release and say so."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import warnings
from dataclasses import dataclass

import pytest

from ecg_hub.renamed import renamed_argument, tell_renamed


@renamed_argument("max_loss", "max_unreadable")
def readable(records: int, max_unreadable: float = 0.01) -> float:
    return records * (1 - max_unreadable)


@renamed_argument("max_loss", "max_unreadable")
@dataclass(frozen=True)
class Options:
    records: int
    max_unreadable: float = 0.01


def test_old_name_warns_once_where_it_is_written() -> None:
    with pytest.warns(FutureWarning, match=r"^max_loss is now called max_unreadable; the old name is gone") as caught:
        assert readable(100, max_loss=0.5) == 50  # type: ignore[call-arg]
    assert [warning.filename for warning in caught] == [__file__]


def test_dataclass_takes_its_old_field_name() -> None:
    with pytest.warns(FutureWarning, match="max_unreadable"):
        options = Options(5, max_loss=0.5)  # type: ignore[call-arg]
    assert options == Options(5, max_unreadable=0.5)
    assert [field.name for field in dataclasses.fields(Options)] == ["records", "max_unreadable"]
    assert options == pickle.loads(pickle.dumps(options)) == copy.deepcopy(options)


def test_new_name_is_silent_and_the_signature_shows_it_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert readable(100, 0.5) == readable(100, max_unreadable=0.5) == 50
        assert dataclasses.replace(Options(5), max_unreadable=0.5) == Options(5, 0.5)
    assert list(inspect.signature(readable).parameters) == ["records", "max_unreadable"]
    assert list(inspect.signature(Options).parameters) == ["records", "max_unreadable"]


@pytest.mark.parametrize("call", [readable, Options])
def test_both_names_together_are_refused(call: object) -> None:
    with pytest.raises(TypeError, match="max_loss is the old name of max_unreadable: give max_unreadable alone"):
        call(5, max_loss=0.5, max_unreadable=0.5)  # type: ignore[operator]


def test_command_lines_say_it_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    tell_renamed("--max-loss", "--max-unreadable")
    assert capsys.readouterr() == (
        "",
        "note: --max-loss is now called --max-unreadable; the old name is gone with the next release.\n",
    )
