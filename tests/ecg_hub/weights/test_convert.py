"""Conversion: golden entries in, a model folder out; wrong files are refused by name."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError, UnknownNameError
from ecg_hub.names import model_folder
from ecg_hub.utils.files import file_sha256
from ecg_hub.weights import conversion as convert_module
from ecg_hub.weights.conversion import convert
from tests.support.fill import published_state, read_case
from tests.support.models import write_lightning_checkpoint

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden" / "ecg_cpc"
HEAD = "ts_encoder.head_ssl.proj.0.weight"
KERNEL = "ts_encoder.predictor.predictor.s4_layers.2.kernel.kernel."


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    state = published_state(*read_case(GOLDEN))
    assert len(state) == 76
    return {**state, HEAD: torch.zeros(512, 512), "criterion.weight": torch.zeros(3)}


def write(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"state_dict": state}, path)
    return path


def test_the_whole_way(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    write_lightning_checkpoint(tmp_path / "last_11597276.ckpt", published)
    with zipfile.ZipFile(tmp_path / "ECG-CPC_Checkpoint.zip", "w") as archive:
        archive.write(tmp_path / "last_11597276.ckpt", "ECG-CPC_Checkpoint/last_11597276.ckpt")
        archive.writestr("ECG-CPC_Checkpoint/config_last_11597276_ckpt.yaml", "base: {}")
    file = tmp_path / "ECG-CPC_Checkpoint.zip"
    summary = convert("ecg-cpc", file)
    target = model_folder("ecg-cpc")
    assert summary.output == target
    assert sorted(path.name for path in target.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert list(target.parent.iterdir()) == [target]  # no partial folder is left
    assert (summary.converted, summary.parameters) == (76, 2_932_736)
    assert set(summary.ignored) == {HEAD, "criterion.weight"}
    text = "\n".join(summary.lines())
    for part in (
        file_sha256(file),
        "contrastive loss",
        "1200 tokens",
        "last_11597276.ckpt",
        "left unread",
        "2,932,736",
    ):
        assert part in text
    model = ecg_hub.AutoModel.from_pretrained("ecg-cpc")
    assert model.config.kernel_length == 1200
    assert model.config.source == {
        "file": "ECG-CPC_Checkpoint.zip",
        "member": "ECG-CPC_Checkpoint/last_11597276.ckpt",
        "size": file.stat().st_size,
        "sha256": file_sha256(file),
        "page": catalog.get("ecg-cpc").weights.page,
    }
    assert ecg_hub.AutoFeatureExtractor.from_pretrained("ecg-cpc").spec().samples == 600
    card = (target / "README.md").read_text()
    assert file_sha256(file) in card
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "cc-by-4.0"
    assert json.loads((target / "config.json").read_text())["architectures"] == ["ECGCPCModel"]


@pytest.mark.heavy
def test_kernel_length_comes_from_omega(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = dict(published)
    angle = -2 * torch.pi / 250 * torch.arange(126, dtype=torch.float64)
    for name in list(state):
        if name.endswith(".omega"):
            state[name] = torch.stack([angle.cos(), angle.sin()], -1).float()
        if name.endswith(".z"):
            state[name] = torch.zeros(126, 2)
    convert("ecg-cpc", write(tmp_path / "w.ckpt", state), tmp_path / "model")
    assert ecg_hub.AutoConfig.from_pretrained(tmp_path / "model").kernel_length == 250


def lose(state: dict[str, Any]) -> None:
    del state["ts_encoder.encoder.layers.2.1.running_var"]


def rename(state: dict[str, Any]) -> None:
    state["ts_encoder.encoder.layers.2.2.running_var"] = state.pop("ts_encoder.encoder.layers.2.1.running_var")


def surplus(state: dict[str, Any]) -> None:
    state["ts_encoder.predictor.predictor.encoder.weight"] = torch.zeros(512, 512)


def reshape(state: dict[str, Any]) -> None:
    state[f"{KERNEL}C"] = torch.zeros(2, 512, 4, 2)


def retune(state: dict[str, Any]) -> None:
    state[f"{KERNEL}omega"] = state[f"{KERNEL}omega"].flip(-1)


def mixed_lengths(state: dict[str, Any]) -> None:
    state[f"{KERNEL}omega"] = torch.zeros(126, 2)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, r"missing: ts_encoder\.encoder\.layers\.2\.1\.running_var \(512,\)"),
        (rename, r"missing: .*2\.1\.running_var.*Did you mean 'ts_encoder\.encoder\.layers\.2\.2\.running_var'"),
        (surplus, r"unknown: ts_encoder\.predictor\.predictor\.encoder\.weight \(512, 512\)"),
        (reshape, r"wrong shape: .*\.C is \(2, 512, 4, 2\), expected \(1, 512, 4, 2\)"),
        (retune, r"unexpected values: .*omega"),
        (mixed_lengths, r"wrong shape: .*omega is \(126, 2\), expected \(601, 2\)"),
    ],
)
def test_every_name_is_accounted_for(
    damage: Callable[[dict[str, Any]], None], message: str, published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    state = dict(published)
    damage(state)
    with pytest.raises(CheckpointError, match=message) as raised:
        convert("ecg-cpc", write(tmp_path / "w.ckpt", state), tmp_path / "model")
    assert "1 entries do not fit" in str(raised.value) or damage is rename
    assert not (tmp_path / "model").exists()


@pytest.mark.heavy
def test_wrappers_and_half_precision_are_reported(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = {
        f"module.{name}": tensor.half() if name.endswith("output_linear.0.weight") else tensor
        for name, tensor in published.items()
    }
    summary = convert("ecg-cpc", write(tmp_path / "w.ckpt", state), tmp_path / "model")
    text = "\n".join(summary.lines())
    assert "prefix 'module.' taken off 78 names" in text
    assert "4 entries are in half precision" in text
    model = ecg_hub.AutoModel.from_pretrained(tmp_path / "model")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.heavy
def test_existing_folders(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    file = write(tmp_path / "w.ckpt", published)
    target = tmp_path / "model"
    target.mkdir()
    convert("ecg-cpc", file, target)  # an empty folder is fine
    (target / "old.txt").write_text("")
    with pytest.raises(InputError, match="Overwrite it"):
        convert("ecg-cpc", file, target)
    assert (target / "old.txt").exists()
    convert("ecg-cpc", file, target, overwrite=True)
    assert not (target / "old.txt").exists()
    assert (target / "config.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "w.ckpt"]
    with pytest.raises(InputError, match="is a file"):
        convert("ecg-cpc", file, file)


@pytest.mark.heavy
def test_a_failure_leaves_the_old_folder(
    published: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, target = write(tmp_path / "w.ckpt", published), tmp_path / "model"
    convert("ecg-cpc", file, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def fail(*args: Any) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(convert_module, "model_card", fail)
    with pytest.raises(OSError, match="disk full"):
        convert("ecg-cpc", file, target, overwrite=True)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "w.ckpt"]


@pytest.mark.heavy
def test_the_old_folder_returns_if_the_new_cannot_take_its_place(
    published: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, target = write(tmp_path / "w.ckpt", published), tmp_path / "model"
    convert("ecg-cpc", file, target)
    (target / "old.txt").write_text("")
    replace_folder, fresh = os.replace, []

    def fail_once(source: Path, destination: Path) -> None:
        if Path(destination) == target and not fresh:
            fresh.append(source)
            raise OSError("device busy")
        replace_folder(source, destination)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(OSError, match="device busy"):
        convert("ecg-cpc", file, target, overwrite=True)
    assert fresh
    assert (target / "old.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "w.ckpt"]


@pytest.mark.heavy
def test_folder_mode_follows_the_umask(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        convert("ecg-cpc", write(tmp_path / "w.ckpt", published), tmp_path / "model")
    finally:
        os.umask(old)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750


def test_weights_that_give_no_numbers_are_refused(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = dict(published)
    state["ts_encoder.predictor.predictor.norms.3.bias"] = torch.full((512,), float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        convert("ecg-cpc", write(tmp_path / "w.ckpt", state), tmp_path / "model")


@pytest.mark.heavy
def test_published_digest_is_compared(
    published: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = catalog.get("ecg-cpc")
    known = replace(entry, weights=replace(entry.weights, file="w.ckpt", sha256="0" * 64))
    monkeypatch.setattr(catalog, "_read_all", lambda: (("ecg-cpc", known),))
    summary = convert("ecg-cpc", write(tmp_path / "w.ckpt", published), tmp_path / "model")
    assert any("differs from the published one" in note for note in summary.notes)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("file", "said"), [("jepa_e10.ckpt", "only its name, jepa_e10.ckpt, says"), ("mine.ckpt", "nothing in it says")]
)
def test_what_looks_like_others_is_said(file: str, said: str, tmp_path: Path) -> None:
    state = published_state(*read_case(GOLDEN.parent / "ecg-s4-ps-bidirectional"))
    summary = convert("ecg-s4-jepa-ps", write(tmp_path / file, state), tmp_path / "model")
    (note,) = (note for note in summary.notes if "names and shapes are also those of" in note)
    assert "ecg-s4-data2vec-ps, ecg-s4-dinosr-ps, ecg-s4-hubert-ps" in note
    assert f"{said} that it is ecg-s4-jepa-ps" in note


def test_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ecg-cpc'"):
        convert("ecg-cpd", tmp_path / "w.ckpt")
