"""Where a run stands, and the file that it continues from."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ecg_hub.errors import ResultError
from eval_harness.models.adapting import AdaptedModel
from eval_harness.training.trainer import Checkpoint, Progress
from tests.support.tiny_training import equal, toy, trainer


class TestProgress:
    def test_the_first_of_equal_scores_stays_the_best(self) -> None:
        progress = Progress()
        for epoch, score in enumerate((0.5, 0.7, 0.7, 0.6, 0.7)):
            progress.note(1.0, score, 0.1, {"w": torch.tensor(float(epoch))})
        assert (progress.epoch, progress.best_epoch, progress.best_score) == (5, 2, 0.7)
        assert progress.best_state == {"w": torch.tensor(1.0)}

    def test_a_better_score_takes_its_place(self) -> None:
        progress = Progress()
        for epoch, score in enumerate((-3.0, -2.0, -1.0)):
            progress.note(1.0, score, 0.1, {"w": torch.tensor(float(epoch))})
        assert (progress.best_epoch, progress.best_score, progress.best_state) == (3, -1.0, {"w": torch.tensor(2.0)})

    def test_an_epoch_without_a_score_never_takes_the_place_of_one_with(self) -> None:
        progress = Progress()
        for epoch, score in enumerate((math.nan, math.nan, 0.4, math.nan)):
            progress.note(1.0, score, 0.1, {"w": torch.tensor(float(epoch))})
            if epoch == 1:
                assert (progress.best_epoch, progress.best_score) == (2, None), "the latest, as long as none has one"
        assert (progress.best_epoch, progress.best_score, progress.best_state) == (3, 0.4, {"w": torch.tensor(2.0)})

    def test_every_epoch_is_in_the_history(self) -> None:
        progress = Progress()
        progress.note(0.25, 0.5, 1.23456, {})
        progress.note(0.125, math.nan, 2.0, {}, {"stage": 2})
        assert progress.history == [
            {"epoch": 1, "loss": 0.25, "validation": 0.5, "seconds": 1.235},
            {"epoch": 2, "loss": 0.125, "validation": None, "seconds": 2.0, "stage": 2},
        ]


class TestCheckpoint:
    def saved(self, folder: Path, mode: str = "finetune") -> tuple[Checkpoint, Progress, AdaptedModel, Any]:
        model = toy(mode)
        optimizer = torch.optim.AdamW(model.head.parameters(), lr=0.25)
        model.head(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        progress = Progress(3, 2, 0.5, [{"epoch": 1.0}], {"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)})
        checkpoint = Checkpoint(folder / "run" / "checkpoint.pt", "this run")
        checkpoint.save(progress, model, optimizer)
        return checkpoint, progress, model, optimizer

    def test_all_that_a_run_continues_from_is_in_it(self, tmp_path: Path) -> None:
        checkpoint, progress, model, optimizer = self.saved(tmp_path)
        other = toy("finetune", seed=9)
        fresh = torch.optim.AdamW(other.head.parameters(), lr=0.5)
        found = checkpoint.load(other, fresh)
        assert found == progress
        assert equal(other.trained_state(), model.trained_state())
        assert fresh.param_groups[0]["lr"] == 0.25
        for one, two in zip(fresh.state.values(), optimizer.state.values(), strict=True):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[name], two[name]) for name in one)

    @pytest.mark.parametrize("mode", ["linear", "finetune"])
    def test_what_was_never_trained_is_not_written(self, tmp_path: Path, mode: str) -> None:
        checkpoint, _, model, _ = self.saved(tmp_path, mode)
        content = torch.load(checkpoint.path, weights_only=True)
        assert content["state"].keys() == model.trained_state().keys()
        assert content["fingerprint"] == "this run"

    def test_without_a_file_the_run_starts_anew(self, tmp_path: Path) -> None:
        model = toy("finetune")
        before = model.trained_state()
        optimizer = torch.optim.AdamW(model.parameters())
        assert Checkpoint(tmp_path / "none.pt", "f").load(model, optimizer) == Progress()
        assert equal(model.trained_state(), before)

    def test_the_file_of_another_run_is_left_alone(self, tmp_path: Path) -> None:
        checkpoint, _, _, _ = self.saved(tmp_path)
        other = toy("finetune", seed=9)
        before = other.trained_state()
        optimizer = torch.optim.AdamW(other.head.parameters(), lr=0.5)
        assert Checkpoint(checkpoint.path, "another run").load(other, optimizer) == Progress()
        assert equal(other.trained_state(), before)
        assert optimizer.param_groups[0]["lr"] == 0.5
        assert not optimizer.state

    def test_a_checkpoint_of_an_earlier_version_has_no_averages(self, tmp_path: Path) -> None:
        checkpoint, progress, model, optimizer = self.saved(tmp_path)
        content = torch.load(checkpoint.path, weights_only=True)
        del content["averaged"]
        torch.save(content, checkpoint.path)
        assert checkpoint.load(model, optimizer) == dataclasses.replace(progress, averaged={})

    def test_it_goes_on_with_the_optimiser_that_wrote_it(self, tmp_path: Path) -> None:
        checkpoint, _, model, _ = self.saved(tmp_path)  # by the loop over tensors, as before the fused one
        fused = torch.optim.AdamW(model.head.parameters(), lr=0.5, fused=True)
        checkpoint.load(model, fused)
        assert not fused.param_groups[0]["fused"]
        model.head(torch.ones(2, 4)).sum().backward()
        fused.step()

    def test_a_broken_file_is_named_with_what_to_do(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(b"half a file")
        model = toy("finetune")
        with pytest.raises(ResultError, match=r"checkpoint\.pt' cannot be read .* Delete it to train this run anew"):
            Checkpoint(path, "f").load(model, torch.optim.AdamW(model.parameters()))

    def test_a_file_is_data_and_never_runs_code(self, tmp_path: Path) -> None:
        checkpoint, _, model, optimizer = self.saved(tmp_path)
        torch.save({"fingerprint": "this run", "code": Path}, checkpoint.path)
        with pytest.raises(ResultError, match="cannot be read"):
            checkpoint.load(model, optimizer)

    @pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    def test_no_setting_of_the_machine_makes_a_file_run_code(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint, _, model, optimizer = self.saved(tmp_path)
        torch.save({"fingerprint": "this run", "code": Path}, checkpoint.path)
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        with pytest.raises(ResultError, match="cannot be read"):
            checkpoint.load(model, optimizer)

    def test_a_file_of_another_device_is_read_into_the_memory_of_the_processor(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint, progress, model, optimizer = self.saved(tmp_path)
        load, places = torch.load, []

        def watched(*parts: Any, **settings: Any) -> Any:
            places.append(settings.get("map_location"))
            return load(*parts, **settings)

        monkeypatch.setattr(torch, "load", watched)
        assert checkpoint.load(model, optimizer) == progress
        assert places == ["cpu"]

    def test_a_full_disk_is_said_and_leaves_the_last_good_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint, progress, model, optimizer = self.saved(tmp_path)
        good = checkpoint.path.read_bytes()

        def full(content: Any, path: Any) -> None:
            raise RuntimeError("unexpected pos 64")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(ResultError, match=r"cannot be written \(unexpected pos 64\)\. The disk may be full"):
            checkpoint.save(progress, model, optimizer)
        assert checkpoint.path.read_bytes() == good

    def test_it_is_removed_once_and_twice(self, tmp_path: Path) -> None:
        checkpoint, _, _, _ = self.saved(tmp_path)
        checkpoint.drop()
        assert not checkpoint.path.exists()
        checkpoint.drop()

    def test_the_trainer_drops_its_own(self, tmp_path: Path) -> None:
        made = trainer(tmp_path)
        made.run()
        assert made.checkpoint.path.is_file()
        made.drop_checkpoints()
        assert not made.checkpoint.path.exists()
