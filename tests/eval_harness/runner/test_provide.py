"""Weights and open datasets are fetched before a run, from hosts on this machine that imitate the public ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataset_scripts.catalog import get
from dataset_scripts.tools import download as download_module
from dataset_scripts.tools.download import SAMPLED, Remaining, is_unfinished, remaining
from dataset_scripts.tools.hosts import Hosts, Transport
from ecg_hub.errors import CheckpointError, DataError, InputError
from ecg_hub.utils.http import RetryPolicy
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.runner import provide
from eval_harness.runner.preflight import preflight
from eval_harness.runner.provide import preview, ready
from eval_harness.runner.run import evaluate
from tests.support.hosts import Host, running

Options = Callable[..., RunOptions]
BASE = "/files/ptb-xl/1.0.3/"
AT_ONCE = RetryPolicy(retries=0)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, data_root: Path) -> Iterator[Host]:
    """PhysioNet with PTB-XL alone: the simulated one, without the file that says so."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    tree = {
        path.relative_to(data_root / "ptb-xl").as_posix(): path.read_bytes()
        for path in (data_root / "ptb-xl").rglob("*")
        if path.is_file() and path.name != "mock.json"
    }
    sums = "".join(f"{hashlib.sha256(content).hexdigest()} {name}\n" for name, content in tree.items())
    with running(Host({BASE + name: content for name, content in tree.items()})) as made:
        made.files[BASE + "SHA256SUMS.txt"] = sums.encode()
        found = hosts_of(made)
        monkeypatch.setattr(download_module, "Hosts", lambda: found)
        monkeypatch.setattr(provide, "PATIENCE", AT_ONCE)
        yield made


def hosts_of(host: Host) -> Hosts:
    return Hosts(f"{host.url}/files", f"{host.url}/v2", f"{host.url}/api")


def gets(host: Host) -> list[str]:
    return [path for method, path, _ in host.requests if method == "GET"]


@pytest.mark.heavy
def test_open_datasets_come_and_the_others_stay_missing(
    options: Options, host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(tasks=("ptbxl_super", "georgia", "mimic_sex"), data_root=str(tmp_path / "data"), download=True)
    checked = ready(given)
    assert [job.run.dataset for job in checked.runnable] == ["ptb-xl"]
    assert not is_unfinished(tmp_path / "data" / "ptb-xl")
    told = capsys.readouterr().err
    number = len(host.files) - 1
    size = sum(len(content) for path, content in host.files.items() if "SUMS" not in path) / 1e9
    sizes, total, licence, *_ = told.splitlines()
    assert sizes.startswith(f"ptb-xl: {number:,} files, about ")
    assert float(sizes.split()[-2]) == pytest.approx(size, abs=0.01)
    assert total.startswith("in all about ")
    assert licence == "ptb-xl: licence CC-BY-4.0"
    block = " ".join(told[told.index("1 of 3 results can be had") :].split())
    assert "there: ptb-xl" in block
    assert "georgia: 127.0.0.1 has no SHA256SUMS.txt (404" in block
    assert "mimic-iv-ecg (credentialed): https://physionet.org/content/mimic-iv-ecg/1.0/" in block
    host.requests.clear()
    ready(options(data_root=str(tmp_path / "data"), download=True))
    assert host.requests == []


@pytest.mark.heavy
def test_a_download_that_broke_off_is_continued_by_the_same_command(host: Host, tmp_path: Path) -> None:
    words = ["--model", "random:ecg-cpc-tiny", "--tasks", "ptbxl_super", "--mode", "linear", "--download"]
    words += ["--data-root", str(tmp_path / "data"), "--output", str(tmp_path / "results"), "--device", "cpu"]
    last = sorted(path for path in host.files if path.endswith(".dat"))[-1]
    content = host.files.pop(last)
    assert main(words) == 1
    folder = tmp_path / "data" / "ptb-xl"
    assert is_unfinished(folder)
    get("ptb-xl").check_folder(folder, 500)  # its tables are there, so it looks whole
    host.files[last] = content
    host.requests.clear()
    assert ready(RunOptions(("trivial",), ("ptbxl_super",), data_root=str(tmp_path / "data"), download=True)).runnable
    assert gets(host) == [BASE + "SHA256SUMS.txt", BASE + "SHA256SUMS.txt", last]


def test_what_does_not_fit_is_refused_before_the_first_byte(
    options: Options, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provide, "free_bytes", lambda folder: 1_000)
    with pytest.raises(DataError, match=r"The disk of .* has room for 0\.00 GB, and about .* are to be fetched"):
        ready(options(data_root=str(tmp_path), download=True))
    assert gets(host) == [BASE + "SHA256SUMS.txt"]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_asks_for_sizes_and_fetches_nothing(options: Options, host: Host, tmp_path: Path) -> None:
    given = options(tasks=("ptbxl_super", "georgia"), data_root=str(tmp_path / "data"), download=True)
    first, total, failure = preview(preflight(given))
    assert first.startswith("would be fetched: ptb-xl: ")
    assert total.startswith("would be fetched: in all about ")
    assert failure.startswith("georgia: 127.0.0.1 has no SHA256SUMS.txt")
    assert not (tmp_path / "data").exists()


def test_several_processes_are_refused(
    options: Options, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="for one process"):
        ready(options(data_root=str(tmp_path), download=True))
    assert host.requests == []


def test_sizes_that_a_host_does_not_list_are_asked_of_some_files(host: Host, tmp_path: Path) -> None:
    with Transport(patience=AT_ONCE) as transport:
        whole = remaining(get("ptb-xl"), tmp_path, transport, hosts=hosts_of(host))
        assert whole.estimated
        asked = [path for method, path, _ in host.requests if method == "HEAD"]
        for ending in (".dat", ".hea"):
            assert 1 < len([path for path in asked if path.endswith(ending)]) <= SAMPLED
        for path in [path for path in host.files if path.endswith(".dat")]:
            del host.files[path]
        unknown = remaining(get("ptb-xl"), tmp_path, transport, hosts=hosts_of(host))
    assert (unknown.files, unknown.size) == (whole.files, None)
    assert str(unknown).endswith("of a size that the host does not state")
    assert str(Remaining(2, 3_000_000_000)) == "2 files, 3.00 GB"


def test_weights_that_do_not_come_are_told_once(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def pull(alias: str, **_: Any) -> None:
        asked.append(alias)
        raise CheckpointError("No connection to api.figshare.com.")

    monkeypatch.setattr("ecg_hub.weights.fetch.network_forbidden", lambda local_files_only=None: "")
    monkeypatch.setattr("ecg_hub.weights.pull.pull", pull)
    with pytest.raises(CheckpointError, match="model ecg-cpc\n  No connection"):
        evaluate(options(models=("ecg-cpc",), tasks=("ptbxl_super", "ptbxl_sub"), modes=("linear", "frozen")))
    assert asked == ["ecg-cpc"]
    with pytest.raises(DataError, match="data root"):
        evaluate(options(models=("ecg-cpc",), tasks=("georgia",)))
    assert asked == ["ecg-cpc"], "for nothing that can run no weights are fetched"


def test_a_model_that_no_hub_has_is_told_once(options: Options) -> None:
    with pytest.raises(CheckpointError, match="model some-group/absent"):
        evaluate(options(models=("some-group/absent",), modes=("linear", "frozen")))
