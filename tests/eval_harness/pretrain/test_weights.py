"""Checkpoints that were damaged, or could not be written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import ResultError
from eval_harness.pretrain import weights as weights_module
from tests.support.pretraining import curve, run


def test_a_card_says_how_an_architecture_differs_from_the_published_one(tmp_path: Path) -> None:
    tiny = {"hidden_size": 32, "num_conv_layers": 2, "num_hidden_layers": 2, "state_size": 4}
    model = weights_module.from_scratch("ecg-cpc-tiny", {}, seed=0).model
    assert weights_module.architecture_changes(model.config) == tiny
    model.save_pretrained(tmp_path)
    assert weights_module.architecture_changes(weights_module.from_weights(str(tmp_path), {}, 0).model.config) == tiny
    published = weights_module.from_scratch("ecg-cpc", {}, seed=0).model.config
    assert weights_module.architecture_changes(published) == {}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: (folder / "optimizer.pt").write_bytes(b"short"), "optimizer.pt was changed or cut off"),
        (lambda folder: (folder / "model" / "model.safetensors").unlink(), "model.safetensors is absent"),
        (lambda folder: (folder / "state.json").write_text('{"step": 6'), "not valid JSON"),
        (lambda folder: (folder / "state.json").unlink(), "cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    damage: Any, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = run(tmp_path)
    damage(tmp_path / "checkpoints" / "step_00000006")
    assert curve(run(tmp_path)) == curve(log)
    said = capsys.readouterr().err
    assert text in said
    assert "continues after step 4 of 6" in said
    assert names(tmp_path) == ["step_00000002", "step_00000004", "step_00000006", "step_00000006.damaged"]


def test_without_a_whole_checkpoint_nothing_is_trained_anew_in_silence(tmp_path: Path) -> None:
    run(tmp_path, steps=2)
    (tmp_path / "checkpoints" / "step_00000002" / "optimizer.pt").unlink()
    with pytest.raises(ResultError, match=r"None of the checkpoints.*--overwrite"):
        run(tmp_path, steps=2)


def second_call(error: Exception, real: Any) -> Any:
    calls = []

    def fails(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return real(*args, **kwargs)

    return fails


@pytest.mark.heavy
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0"),
    ],
)
def test_a_full_disk_is_named_and_the_last_checkpoint_is_whole(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(weights_module.torch, "save", second_call(error, weights_module.torch.save))
        with pytest.raises(ResultError, match=r"disk.*free space.*checkpoint of step 2 is whole"):
            run(tmp_path / "full")
    assert names(tmp_path / "full") == ["step_00000002"]
    assert curve(run(tmp_path / "full")) == curve(expected)


def test_weights_that_cannot_be_written_are_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecg_hub.modeling.modeling_utils import ECGPreTrainedModel

    error = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(ECGPreTrainedModel, "save_pretrained", second_call(error, ECGPreTrainedModel.save_pretrained))
    with pytest.raises(ResultError, match=r"No space left.*checkpoint of step 2 is whole"):
        run(tmp_path)
    assert names(tmp_path) == ["step_00000002"]
