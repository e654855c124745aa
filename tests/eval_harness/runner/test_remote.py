"""Data, stores and results in a store of objects: servers on this machine speak S3, and as Google's storage does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataset_scripts import load_dataset, mock, prepare
from ecg_hub.errors import DataError, RemoteError
from ecg_hub.utils import remote
from eval_harness import compare_models, evaluate, read_results
from eval_harness.cli.eval.main import main
from eval_harness.cli.hub.main import main as hub
from eval_harness.pretrain.data import open_folder, open_source
from eval_harness.pretrain.run import _Run
from tests.support.stores import SECRET, breaking_wire, bucket, google_bucket

pytestmark = pytest.mark.heavy
RECORDS = 150


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with bucket() as address:
        yield address


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    speak_to(server, monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return server


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with google_bucket() as address:
        yield address


@pytest.fixture(params=["s3", "gs"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a bucket, of each kind in turn."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    else:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{request.getfixturevalue('google')}")
        monkeypatch.setattr(remote, "_OUTLINED", set())
    return f"{request.param}://bucket"


def speak_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
    monkeypatch.setattr(remote, "_OUTLINED", set())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock.write("ptb-xl", tmp_path_factory.mktemp("raw") / "ptb-xl", records=RECORDS)


def sent(folder: Path, url: str) -> str:
    """Copy a folder to a URL."""
    place = remote.place(url)
    if not remote.listing(url):
        shutil.copytree(folder, place)
        remote.publish(place)
        shutil.rmtree(place)
    return url


def content(folder: Path) -> dict[str, Any]:
    """The results in a folder, without what differs from run to run."""
    results = {path.name: json.loads(path.read_text()) for path in folder.rglob("ptbxl*.json")}
    for result in results.values():
        for name in ("created", "environment", "seconds", "timing"):
            result.pop(name, None)
    return results


def test_a_run_there_is_the_run_here(store: str, raw: Path, tmp_path: Path) -> None:
    sent(raw, f"{store}/ecg/ptb-xl")
    asked: dict[str, Any] = {"modes": "linear", "epochs": 1, "limit": 60, "resamples": 50, "quiet": True}
    models = ["random:ecg-cpc-tiny", "trivial"]
    here = evaluate(models, "ptbxl_super", data_root=raw.parent, output=tmp_path / "here", **asked)
    there = evaluate(models, "ptbxl_super", data_root=f"{store}/ecg", output=f"{store}/results", **asked)
    assert [result.status for result in there] == ["done", "done"]
    # No signal stayed: the record store has them.
    kept = [path for path in remote.place(f"{store}/ecg").rglob("*.dat") if path.stat().st_size]
    assert kept == []
    # Another machine knows the URL alone.
    shutil.rmtree(remote.home() / "remote")
    read = read_results(f"{store}/results")
    assert [result.model.id for result in read] == sorted(models)
    assert content(remote.place(f"{store}/results")) == content(tmp_path / "here")
    assert here.to_frame()["point"].tolist() == there.to_frame()["point"].tolist()
    ranks = compare_models(f"{store}/results", resamples=50).to_frame()
    assert sorted(ranks["model"]) == ["random:ecg-cpc-tiny linear", "trivial linear"]
    assert main(["verify", f"{store}/results"]) == 0
    assert main(["report", f"{store}/results", "-o", f"{store}/report.html"]) == 0
    assert b"<html" in remote.bring(remote.place(f"{store}/report.html")).read_bytes()
    # The same call goes on, which here is: reads.
    again = evaluate(models, "ptbxl_super", data_root=f"{store}/ecg", output=f"{store}/results", **asked)
    assert [result.created for result in again] == [result.created for result in there]
    holders = [path for path in remote.home().rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert holders == []


def test_stores_and_shards_there(store: str, raw: Path, tmp_path: Path) -> None:
    sent(raw, f"{store}/ecg/ptb-xl")
    here = prepare("ptb-xl", raw, cache_dir=tmp_path / "here")
    first = load_dataset("ptb-xl", f"{store}/ecg/ptb-xl", cache_dir=f"{store}/stores")
    shutil.rmtree(remote.home() / "remote")
    remote._OUTLINED.clear()
    again = prepare("ptb-xl", f"{store}/ecg/ptb-xl", cache_dir=f"{store}/stores")
    assert again.fingerprint == here.fingerprint
    assert first["train"]["record_id"] == again.splits["train"]["record_id"]
    # It came from there: no record was read again.
    assert [path for path in remote.place(f"{store}/ecg").rglob("*.dat") if path.stat().st_size] == []
    from dataset_scripts.tools.export import write_shards

    write_shards(here, tmp_path / "shards", shard_bytes=2 * 10**6)
    write_shards(here, f"{store}/shards", shard_bytes=2 * 10**6)
    shutil.rmtree(remote.home() / "remote")
    local, far = open_folder(tmp_path / "shards"), open_source(f"{store}/shards")
    assert far.fingerprint == local.fingerprint
    assert far.counts.tolist() == local.counts.tolist()
    batches = [source.read(1, 0, int(source.counts[1])) for source in (local, far)]
    assert list(batches[0].record_ids) == list(batches[1].record_ids)
    assert all((a == b).all() for a, b in zip(batches[0].signals, batches[1].signals, strict=True))


def test_a_killed_worker_and_the_same_call_again(s3: str, raw: Path, tmp_path: Path) -> None:
    sent(raw, "s3://bucket/ecg/ptb-xl")
    here = prepare("ptb-xl", raw, cache_dir=tmp_path / "here")
    killed = threading.Event()

    def kill_one() -> None:
        while not killed.is_set():
            begun = [path for path in remote.place("s3://bucket/ecg").rglob("*.dat") if path.stat().st_size]
            if begun and (workers := loky_workers()):
                os.kill(workers[0], signal.SIGKILL)
                killed.set()
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    with pytest.raises(DataError, match="ended from outside"):
        prepare("ptb-xl", "s3://bucket/ecg/ptb-xl", cache_dir="s3://bucket/killed", num_proc=2)
    killer.join()
    # Nothing of it was sent.
    assert remote.listing("s3://bucket/killed") == {}
    again = prepare("ptb-xl", "s3://bucket/ecg/ptb-xl", cache_dir="s3://bucket/killed", num_proc=2)
    assert again.fingerprint == here.fingerprint
    assert not again.report["status"].eq("lost").any()


def loky_workers() -> list[int]:
    """Process ids of the workers of this process that read records."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"loky" in words and b"resource_tracker" not in words:
            found.append(int(folder.name))
    return sorted(found)


def test_a_connection_that_breaks_in_the_middle(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = os.urandom(6 * 10**6)
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "signals.bin").write_bytes(content)
    sent(tmp_path / "big", "s3://bucket/big")
    monkeypatch.setattr(remote, "WAIT_SECONDS", 0.01)
    with breaking_wire(s3, after_bytes=500_000, times=5) as (address, cuts):
        speak_to(address, monkeypatch)
        assert remote.bring(remote.place("s3://bucket/big/signals.bin")).read_bytes() == content
        assert len(cuts) == 5
    # Sending, too: what arrives is whole, or nothing is there.
    with breaking_wire(s3, after_bytes=0, times=2) as (address, cuts):
        speak_to(address, monkeypatch)
        path = remote.place("s3://bucket/up/signals.bin")
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        remote.publish(path)
        assert len(cuts) == 2
    speak_to(s3, monkeypatch)
    assert remote.bring(remote.place("s3://bucket/up/signals.bin")).read_bytes() == content


def test_no_record_is_lost_where_the_network_is(s3: str, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be fetched ends the preparation: it is no damaged record."""
    sent(raw, "s3://bucket/ecg/ptb-xl")
    monkeypatch.setattr(remote, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(remote, "RETRIES", 1)
    real = remote._download

    def breaks(url: str, path: Path, size: int, stamp: int) -> None:
        if url.endswith("00130_hr.dat"):
            raise RemoteError(f"{url!r} cannot be reached")
        real(url, path, size, stamp)

    monkeypatch.setattr(remote, "_download", breaks)
    with pytest.raises(RemoteError, match="00130_hr"):
        prepare("ptb-xl", "s3://bucket/ecg/ptb-xl", cache_dir=remote.home() / "stores")
    monkeypatch.setattr(remote, "_download", real)
    again = prepare("ptb-xl", "s3://bucket/ecg/ptb-xl", cache_dir=remote.home() / "stores")
    assert not again.report["status"].eq("lost").any()


def test_a_pre_training_goes_on_on_another_machine(
    s3: str, raw: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = ["--set", "hidden_size=16", "--set", "num_hidden_layers=1", "--set", "num_negatives=16"]
    data = ["--data", "ptb-xl", "--data-root", str(raw.parent), "--seconds", "2", "--batch-size", "8"]
    asked = ["pretrain", "--model", "ecg-cpc-tiny", *small, *data, "--device", "cpu", "--checkpoint-every", "1"]
    asked += ["--steps", "5", "--keep", "2", "--cache-dir", str(tmp_path / "cache"), "--output"]
    assert hub([*asked, str(tmp_path / "here")]) == 0
    at_step = _Run.at_step

    def stopped(run: _Run, step: int, checkpoint: Path | None) -> None:
        at_step(run, step, checkpoint)
        if step == 3:
            raise DataError("the machine is taken away")

    monkeypatch.setattr(_Run, "at_step", stopped)
    assert hub([*asked, "s3://bucket/pretrained"]) != 0
    monkeypatch.setattr(_Run, "at_step", at_step)
    # Another machine has the URL alone, and only the checkpoints that are kept lie there.
    shutil.rmtree(remote.home() / "remote")
    kept = {name.split("/")[1] for name in remote.listing("s3://bucket/pretrained") if name.startswith("checkpoints/")}
    assert kept == {"step_00000002", "step_00000003"}
    assert hub([*asked, "s3://bucket/pretrained"]) == 0
    shutil.rmtree(remote.home() / "remote")
    folder = remote.bring(remote.place("s3://bucket/pretrained"))
    weights = [(place / "model" / "model.safetensors").read_bytes() for place in (tmp_path / "here", folder)]
    assert weights[0] == weights[1]


def test_analyses_read_and_write_there(s3: str, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "random:ecg-cpc-tiny", "--data-root", str(raw.parent), "--device", "cpu"]
    run = ["--tasks", "ptbxl_super", "--mode", "linear", "--epochs", "1", "--limit", "40", "--resamples", "20"]
    assert main([*asked, *run, "--save-model", "--output", "s3://bucket/kept"]) == 0
    shutil.rmtree(remote.home() / "remote")
    trained = "s3://bucket/kept/random__ecg-cpc-tiny/linear"
    assert main(["robustness", trained, "--corruptions", "gain", "--data-root", str(raw.parent)]) == 0
    assert f"{trained}/robustness/" in capsys.readouterr().out
    cka = ["cka", *asked, "--dataset", "ptb-xl", "--records", "12", "--output", "s3://bucket/cka"]
    assert main(cka) == 0
    there = remote.listing("s3://bucket/cka")
    assert {"cka.json", "cka.svg"} <= set(there)
    # The same command elsewhere finds it finished, and sends nothing.
    shutil.rmtree(remote.home() / "remote")
    assert main(cka) == 0
    assert remote.listing("s3://bucket/cka")["cka.json"] == there["cka.json"]
    assert any(name.startswith("robustness/") for name in remote.listing(trained))
