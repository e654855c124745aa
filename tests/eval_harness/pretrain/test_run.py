"""Pre-training runs in one process: the same numbers when continued, a hub model that the harness scores, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError, ResultError, UnknownNameError
from ecg_hub.hub.package import TRAINING_LOG, pack
from ecg_hub.models.ecg_cpc.convert_ecg_cpc import HEAD
from eval_harness.config.options import RunOptions
from eval_harness.pretrain.config import Probe
from eval_harness.pretrain.log import read_log
from eval_harness.pretrain.weights import from_weights
from eval_harness.results.folders import FolderRefusedError
from eval_harness.runner.run import evaluate
from tests.support.fill import published_state, read_case
from tests.support.hub_cards import check_model_card, code
from tests.support.models import tensors, tiny, write_lightning_checkpoint
from tests.support.pretraining import SECONDS, SETTINGS, curve, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run of six steps and its log."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = ecg_hub.AutoModelForPreTraining.from_pretrained(folder / "model")
    return {name: tensor.detach() for name, tensor in tensors(model).items()}


def assert_equal_weights(one: Path, two: Path) -> None:
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(two)[name]), name


def test_a_run_learns_and_logs_every_step(tmp_path: Path) -> None:
    log = run(tmp_path, draw=True, steps=40, learning_rate=3e-3, log_every=1, checkpoint_every=40)
    assert [row["step"] for row in log] == list(range(1, 41))
    first, last = (sum(row["loss"] for row in part) / 5 for part in (log[:5], log[-5:]))
    assert last < first - 0.3
    assert log[-1]["accuracy"].keys() == {"14"}
    assert all(row["records_per_s"] > 0 and row["grad_norm"] > 0 for row in log)
    assert read_log(tmp_path / "log.jsonl") == log
    for name in ("curves.png", "curves.svg"):
        assert (tmp_path / name).stat().st_size > 1000


def test_the_model_is_sent_with_its_log_and_its_corpora(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, log = whole
    package = pack(folder / "model", "ours")
    assert package.left_out == ()
    assert read_log(folder / "model" / TRAINING_LOG) == log
    card = package.files["README.md"]
    assert isinstance(card, bytes)
    assert package.files[TRAINING_LOG] == folder / "model" / TRAINING_LOG
    assert package.config["pretraining"]["corpora"]
    assert f"pre-trained on | {', '.join(package.config['pretraining']['corpora'])} |" in card.decode()
    assert "pre-training" in package.facts


def test_the_preset_native_has_the_windows_of_the_training(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, seconds = whole[0], SECONDS
    assert seconds != catalog.get("ecg-cpc").presets["native"]["input_seconds"]  # else this shows nothing
    assert ecg_hub.AutoFeatureExtractor.from_pretrained(folder / "model").spec("native").input_seconds == seconds


def test_the_finished_model_is_scaled_and_its_checkpoint_is_not(
    whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    run(tmp_path, scale_output=True)
    scaled, plain = weights(tmp_path), weights(whole[0])
    different = {name for name in scaled if not torch.equal(scaled[name], plain[name])}
    norm = "ecg_cpc.predictor.0.norm"
    assert different == {f"{norm}.weight", f"{norm}.bias", "projections.0.weight"}
    checkpoint = next((tmp_path / "checkpoints").glob("step_*/model"))
    assert ecg_hub.AutoConfig.from_pretrained(tmp_path / "model").pretraining["settings"]["scale_output"] is True
    assert "scale_output" not in ecg_hub.AutoConfig.from_pretrained(checkpoint).pretraining["settings"]


def test_a_continued_run_has_the_numbers_of_an_undisturbed_one(
    whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    run(tmp_path, steps=3)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 0.0}\n{"step": 5, "lo')  # written after the checkpoint, and half written
    log = run(tmp_path)
    assert curve(log) == curve(whole[1])
    assert_equal_weights(tmp_path, whole[0])


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run of six steps on disturbed windows, with the loss of the beats."""
    folder = tmp_path_factory.mktemp("disturbed")
    return folder, run(folder, settings={**SETTINGS, "beat_weight": 2.0}, augment=0.8)


def test_disturbed_windows_and_beats_are_logged_and_resumed_to_the_bit(
    disturbed: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, log = disturbed
    for row in log:
        assert row["loss"] == pytest.approx(row["contrastive_loss"] + 2 * row["beat_loss"], rel=1e-6)
    settings = {**SETTINGS, "beat_weight": 2.0}
    run(tmp_path, steps=3, settings=settings, augment=0.8)
    assert curve(run(tmp_path, settings=settings, augment=0.8)) == curve(log)
    assert_equal_weights(tmp_path, folder)
    facts = ecg_hub.AutoConfig.from_pretrained(folder / "model").pretraining
    assert (facts["settings"]["augment"], facts["settings"]["beat_weight"]) == (0.8, 2.0)
    assert "augment 0.8, " in (folder / "model" / "README.md").read_text()
    assert type(ecg_hub.AutoModel.from_pretrained(folder / "model")) is ecg_hub.ECGCPCModel


def test_pieces_share_what_is_random_in_a_disturbed_batch(
    disturbed: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    settings = {**SETTINGS, "beat_weight": 2.0}
    logs = [run(tmp_path / str(n), settings=settings, augment=0.8, accumulate=n, batch_norm="frozen") for n in (1, 4)]
    for one, other in zip(*map(curve, logs), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_folder_of_before_there_was_augmentation_is_continued(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    assert "augment" not in json.loads((whole[0] / "pretrain.json").read_text())["settings"]["numbers"]
    with pytest.raises(FolderRefusedError, match=r"numbers\.augment: .*0\.5"):
        run(whole[0], augment=0.5)


def test_a_finished_run_has_nothing_left_to_do(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, log = whole
    before = (folder / "checkpoints" / "step_00000006" / "optimizer.pt").stat().st_mtime_ns
    assert run(folder) == log
    assert (folder / "checkpoints" / "step_00000006" / "optimizer.pt").stat().st_mtime_ns == before


def test_only_the_last_checkpoints_stay(tmp_path: Path) -> None:
    run(tmp_path, checkpoint_every=1, keep=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000005", "step_00000006"]


@pytest.mark.heavy
def test_a_batch_in_pieces_gives_the_numbers_of_a_whole_one(tmp_path: Path) -> None:
    logs = [run(tmp_path / str(n), accumulate=n, batch_norm="frozen") for n in (1, 2, 4)]
    for log in logs[1:]:
        for one, other in zip(curve(logs[0]), curve(log), strict=True):
            assert one == pytest.approx(other, rel=1e-4)


def test_frozen_batch_norm_leaves_the_statistics(whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    run(tmp_path, batch_norm="frozen")
    name = "ecg_cpc.encoder.layers.0.norm.running_mean"
    assert not weights(tmp_path)[name].any()
    assert weights(whole[0])[name].any()


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    clipped = run(tmp_path / "clipped", steps=2, grad_clip=1e-6, weight_decay=0.0, epsilon=1.0)
    assert clipped[0]["grad_norm"] > 1  # the norm before clipping
    free = run(tmp_path / "free", steps=2, weight_decay=0.0, epsilon=1.0)
    moved = [
        (weights(tmp_path / name)["projections.0.weight"] - start()["projections.0.weight"]).abs().max()
        for name in ("clipped", "free")
    ]
    assert moved[0] < 1e-3 * moved[1]
    assert free[0]["loss"] == clipped[0]["loss"]


def start() -> dict[str, torch.Tensor]:
    model = ecg_hub.AutoModelForPreTraining.from_pretrained("random:ecg-cpc-tiny", seed=3, **SETTINGS)
    return {name: tensor.detach() for name, tensor in tensors(model).items()}


def test_bfloat16_trains_beside_float32_kernels(tmp_path: Path) -> None:
    log = run(tmp_path, steps=2, mixed_precision="bf16")
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path).values())
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.float32, torch.int64}
    plain = run(tmp_path / "plain", steps=2)
    assert log[0]["loss"] == pytest.approx(plain[0]["loss"], rel=0.05)
    assert log[0]["loss"] != plain[0]["loss"]


def test_the_checkpoint_is_a_hub_model_that_names_its_corpora(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    for folder in (whole[0] / "model", whole[0] / "checkpoints" / "step_00000006" / "model"):
        encoder, info = ecg_hub.AutoModel.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        facts = encoder.config.pretraining
        assert (facts["corpora"], facts["steps"], facts["seed"], facts["records"]) == (["ptb-xl"], 6, 3, 24)
        assert ecg_hub.AutoFeatureExtractor.from_pretrained(folder).spec().samples == 600
        card = (folder / "README.md").read_text()
        assert "| pre-trained on | ptb-xl |" in card
        assert "| optimiser steps | 6 |" in card
        facts = check_model_card(card)
        assert (facts["datasets"], facts["license"]) == (["ptb-xl"], "unknown")
        example = code(card).replace('"FOLDER"', repr(str(folder)))
        exec(compile(example, "README.md", "exec"), {"__name__": "card"})


@pytest.mark.heavy
def test_the_harness_scores_it_and_knows_what_it_has_seen(
    whole: tuple[Path, list[dict[str, Any]]], options: Callable[..., RunOptions]
) -> None:
    (result,) = evaluate(options(models=(str(whole[0] / "model"),)), quiet=True)
    assert result.status == "done", result.reason
    assert result.model.pretraining_corpora == ["ptb-xl"]
    assert result.data is not None
    assert result.data.contamination == "seen"


def test_training_goes_on_from_other_weights(whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    run(tmp_path, init=str(whole[0] / "model"), steps=1, learning_rate=1e-9, source={"corpora": ("sph",)})
    for name, tensor in weights(tmp_path).items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(tensor, weights(whole[0])[name], atol=1e-6), name
    facts = ecg_hub.AutoConfig.from_pretrained(tmp_path / "model").pretraining
    assert facts["corpora"] == ["ptb-xl", "sph"]
    assert "sha256" in facts["init"]


def test_training_folds_alone_are_said_of_all_that_the_weights_have_read(tmp_path: Path) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    run(first, steps=1, source={"corpora": ("ptb-xl", "sph"), "train_only": {"ptb-xl": "f", "sph": "g"}})
    facts = ecg_hub.AutoConfig.from_pretrained(first / "model").pretraining
    assert facts["train_only"] == {"ptb-xl": "f", "sph": "g"}
    card = (first / "model" / "README.md").read_text()
    assert "| pre-trained on | ptb-xl (training folds only), sph (training folds only) |" in card
    more = {"corpora": ("ptb-xl", "georgia"), "train_only": {"georgia": "h"}}
    run(second, init=str(first / "model"), steps=1, source=more)
    facts = ecg_hub.AutoConfig.from_pretrained(second / "model").pretraining
    assert facts["corpora"] == ["georgia", "ptb-xl", "sph"]
    assert facts["train_only"] == {"sph": "g", "georgia": "h"}, "all of PTB-XL was read the second time"
    again = {"corpora": ("sph", "georgia"), "train_only": {"sph": "g", "georgia": "other splits"}}
    run(third, init=str(second / "model"), steps=1, source=again)
    assert ecg_hub.AutoConfig.from_pretrained(third / "model").pretraining["train_only"] == {"sph": "g"}


def test_records_of_the_simulator_stay_what_they_are_until_real_ones_come(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(first, steps=1, source={"corpora": ("ptb-xl", "sph"), "simulated": ("ptb-xl", "sph")})
    facts = ecg_hub.AutoConfig.from_pretrained(first / "model").pretraining
    assert facts["simulated"] == ["ptb-xl", "sph"]
    assert "datasets:" not in (first / "model" / "README.md").read_text(), "a card would claim real records"
    run(second, init=str(first / "model"), steps=1, source={"corpora": ("sph",)})
    assert ecg_hub.AutoConfig.from_pretrained(second / "model").pretraining["simulated"] == ["ptb-xl"]


def test_an_encoder_alone_gets_new_projections(tmp_path: Path) -> None:
    tiny("ecg-cpc", num_negatives=20).save_pretrained(tmp_path / "encoder")
    run(tmp_path / "run", init=str(tmp_path / "encoder"), steps=1)
    config = ecg_hub.AutoConfig.from_pretrained(tmp_path / "run" / "model")
    assert "new projections" in config.pretraining["init"]
    assert config.pretraining["corpora"] == ["ptb-xl"]  # the encoder says that it is random
    assert config.random_weights is None


def test_weights_of_which_nothing_is_known_leave_the_corpora_open(tmp_path: Path) -> None:
    model = tiny("ecg-cpc", num_negatives=20)
    model.config.random_weights = None
    model.save_pretrained(tmp_path / "encoder")
    assert from_weights(str(tmp_path / "encoder"), {}, seed=0).corpora == ("undeclared",)


def test_the_authors_checkpoint_brings_its_projection(golden: Path, tmp_path: Path) -> None:
    manifest, arrays = read_case(golden / "ecg_cpc")
    state = published_state(manifest, arrays)
    state[HEAD] = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
    write_lightning_checkpoint(tmp_path / "last.ckpt", state)
    begun = from_weights(str(tmp_path / "last.ckpt"), {}, seed=0)
    assert torch.equal(begun.model.projections[0].weight, state[HEAD])
    first = "ts_encoder.encoder.layers.0.0.weight"
    assert torch.equal(begun.model.ecg_cpc.encoder.layers[0].conv.weight, state[first])
    assert begun.corpora == ("heedb-1.0",)
    del state[HEAD]
    write_lightning_checkpoint(tmp_path / "without.ckpt", state)
    with pytest.raises(CheckpointError, match="head_ssl"):
        from_weights(str(tmp_path / "without.ckpt"), {}, seed=0)


def test_another_run_in_the_folder_is_refused(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    folder = whole[0]
    with pytest.raises(FolderRefusedError, match=r"numbers\.learning_rate: 0\.001 in the folder, 0\.002 asked for"):
        run(folder, learning_rate=2e-3)
    with pytest.raises(FolderRefusedError, match='data: "of the waves" in the folder, "others" asked for'):
        run(folder, source={"fingerprint": "others"})
    with pytest.raises(FolderRefusedError, match=r"start\.settings"):
        run(folder, settings={**SETTINGS, "hidden_size": 8})


def test_overwrite_begins_anew(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    log = run(tmp_path, steps=2, learning_rate=2e-3, overwrite=True)
    assert [row["step"] for row in log] == [1, 2]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]


def test_a_loss_that_is_not_finite_names_step_and_records(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at step 3 .*not finite: record 11\)") as caught:
        run(tmp_path, source={"spoiled": (11,)})
    assert "--init" in str(caught.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"source": {"count": 7}}, "7 records, fewer than one batch of 8"),
        ({"batch_size": 6}, "batch of 6 cannot be drawn from 4 lanes"),
        ({"accumulate": 3}, "4 lanes of a process cannot be cut into 3 pieces"),
        ({"batch_norm": "sync"}, "works on GPUs"),
        ({"model": "merl"}, "'merl' cannot be pre-trained here.*ecg-cpc"),
        ({"settings": {"num_negatives": 0}}, "num_negatives is 0"),
        ({"settings": {"beat_weight": -1}}, "beat_weight is -1"),
        ({"settings": {"hidden": 8}}, "has no field 'hidden'"),
        ({"track": ("tensorboard",)}, "pip install tensorboard"),
        ({"seconds": 0.1}, "Feed longer windows"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=text):
        run(tmp_path, **changes)


def test_unknown_names_are_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'ecg-cpc'"):
        run(tmp_path, model="ecg-cpp")
    with pytest.raises(UnknownNameError, match="Known: tensorboard, trackio"):
        run(tmp_path, track=("wandb",))


def test_models_that_cannot_go_on_are_refused(tmp_path: Path) -> None:
    tiny("merl").save_pretrained(tmp_path / "merl")
    with pytest.raises(InputError, match=r"type 'merl', which cannot be pre-trained here\. Known: ecg-cpc"):
        run(tmp_path / "run", init=str(tmp_path / "merl"))
    with pytest.raises(CheckpointError, match="ecg-hub pull ecg-cpc"):
        run(tmp_path / "run", init="ecg-cpc")
    with pytest.raises(InputError, match="give it as --model"):
        run(tmp_path / "run", init="random:ecg-cpc")


@pytest.mark.heavy
def test_probes_are_scored_by_the_harness_and_logged_once(data_root: Path, data_cache: Path, tmp_path: Path) -> None:
    probe = Probe("ptbxl_super", every=2, data_root=str(data_root), epochs=2, limit=30, cache_dir=data_cache)
    log = run(tmp_path / "one", steps=3, probe=probe)
    found = {row["step"]: row["probe"] for row in log if "probe" in row}
    assert list(found) == [0, 2, 3]
    for row in found.values():
        assert row["low"] <= row["point"] <= row["high"]
        assert (row["metric"], row["mode"]) == ("macro_auroc", "linear")
        assert row["records"]["test"] <= 30
    assert curve(log) == curve(run(tmp_path / "two", steps=3)), "a probe changed the training"
    assert run(tmp_path / "one", steps=3, probe=probe) == log
    assert (tmp_path / "one" / "probes" / "step_00000002").is_dir()


def test_probes_that_cannot_run_are_refused_before_training() -> None:
    with pytest.raises(UnknownNameError, match="ptbxl_super"):
        Probe("ptbxl_supr", data_root="mock")
    with pytest.raises(InputError, match="linear or frozen"):
        Probe("ptbxl_super", data_root="mock", mode="finetune")
    with pytest.raises(InputError, match="must be 1 or more"):
        Probe("ptbxl_super", data_root="mock", every=0)


def test_a_failed_probe_is_a_line_and_ends_nothing(tmp_path: Path) -> None:
    log = run(tmp_path, steps=2, probe=Probe("ptbxl_super", data_root=str(tmp_path / "absent")))
    (first, last) = [row["probe"] for row in log if "probe" in row]
    assert first["point"] is None
    assert "absent" in first["reason"]
    (probe,) = [row["probe"] for row in read_log(tmp_path / "model" / TRAINING_LOG) if "probe" in row]
    assert probe == {key: first[key] for key in first if key != "reason"}  # a reason may name folders
    assert len([row for row in log if "loss" in row]) == 2
    assert last["point"] is None


def test_the_run_file_is_checked(whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    content = json.loads((whole[0] / "pretrain.json").read_text())
    assert content["corpora"] == ["ptb-xl"]
    (tmp_path / "pretrain.json").write_text(json.dumps({**content, "more": 1}))
    with pytest.raises(ResultError, match="more"):
        run(tmp_path)
