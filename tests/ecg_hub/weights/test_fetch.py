"""The first use of a short name fetches its weights, from hosts on this machine, and only what may be fetched."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors import SafetensorError

import ecg_hub
from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.home import home
from ecg_hub.leads import LEADS
from ecg_hub.names import locate, model_folder
from ecg_hub.origin import origin_of
from ecg_hub.utils.http import RetryPolicy
from ecg_hub.weights import pull as module
from eval_harness.cli.hub.main import build_parser, main
from tests.support.checkpoints import convert_filled
from tests.support.fill import published_state, read_case
from tests.support.hosts import Host, md5, running
from tests.support.records import write_record

ROOT = Path(__file__).resolve().parents[3]
ARCHIVE, ARTICLE = "/figshare/file/download/7", "/figshare/articles/30192604/files"
LOAD = ecg_hub.AutoModel.from_pretrained


def saved(alias: str) -> bytes:
    """A checkpoint in the authors' names, filled by rule."""
    buffer = io.BytesIO()
    manifest, arrays = read_case(ROOT / "tests" / "golden" / catalog.get(alias).model_type)
    torch.save(published_state(manifest, arrays), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archive() -> bytes:
    """What figshare has of ECG-CPC."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("last_11597276.ckpt", saved("ecg-cpc"))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def merl() -> bytes:
    """The published file of MERL."""
    return saved("merl")


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is allowed; there is none but that of this machine."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name, value in (("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def host(online: None, archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A figshare with ECG-CPC, and an empty Zenodo and hub, all on this machine."""
    with running(Host()) as running_host:
        running_host.files = {ARCHIVE: archive}
        facts = {"size": len(archive), "computed_md5": md5(archive), "supplied_md5": ""}
        running_host.documents = {ARTICLE: [{"id": 7, "name": "ECG-CPC_Checkpoint.zip", **facts}]}
        pull = functools.partial(
            module.pull, patience=RetryPolicy(retries=0), **{kind: f"{running_host.url}/{kind}" for kind in KINDS}
        )
        monkeypatch.setattr(module, "pull", pull)
        yield running_host


KINDS = ("figshare", "zenodo", "hub")


@pytest.fixture
def published(host: Host, merl: bytes, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put MERL on a host of one kind, and into the catalogue as being there."""
    listed = {"key": "merl.pth", "size": len(merl), "checksum": f"md5:{md5(merl)}"}
    listed["links"] = {"self": f"{host.url}/zenodo/file"}
    host.documents["/zenodo/records/12"] = {"files": [listed]}
    host.files |= {"/zenodo/file": merl, "/hub/org/merl/resolve/main/merl.pth": merl}

    def publish(kind: str, **changes: Any) -> None:
        host.etag = f'"{hashlib.sha256(merl).hexdigest()}"'
        place = {"article": 12} if kind == "zenodo" else {"repo": "org/merl"}
        facts = {"kind": kind, "page": "https://example.org/page", "file": "merl.pth", **place, **changes}
        entry = replace(catalog.get("merl"), weights=catalog.Weights(**facts))
        entries = tuple(sorted({**catalog.models(), "merl": entry}.items()))
        monkeypatch.setattr(catalog, "_read_all", lambda: entries)

    return publish


def test_the_first_call_fetches_and_the_second_asks_nobody(
    host: Host, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = LOAD("ecg-cpc")
    assert model(torch.zeros(1, 12, 600)).pooler_output.shape == (1, 512)
    assert origin_of(model).kind == "catalogue"
    printed = capsys.readouterr()
    assert printed.out == ""
    # Then transformers' own bars.
    assert printed.err.splitlines()[:2] == [
        "licence of the weights: CC BY 4.0. Name the authors (Al-Masud, Lopez Alcaraz, Strodthoff) and link the paper "
        "and the original files.",
        f"fetching ECG-CPC_Checkpoint.zip from {catalog.get('ecg-cpc').weights.page} for {model_folder('ecg-cpc')}",
    ]
    assert not (home() / "downloads" / "ecg-cpc").exists()
    host.requests.clear()
    assert LOAD("ecg-cpc").config.source == model.config.source
    assert host.requests == []
    assert "licence" not in printed.err.split("\n", 2)[2] + capsys.readouterr().err
    assert caplog.messages == []


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["zenodo", "hf"])
def test_other_hosts(kind: str, published: Callable[..., None], host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    published(kind)
    assert LOAD("merl").config.source["file"] == "merl.pth"
    assert "The weights may not be passed on." in capsys.readouterr().err


@pytest.mark.heavy
def test_a_terminal_shows_how_far_it_is(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    LOAD("ecg-cpc")
    assert "ECG-CPC_Checkpoint.zip: 100%" in capsys.readouterr().err


@pytest.mark.heavy
def test_a_cut_download_goes_on_with_the_next_call(host: Host, archive: bytes) -> None:
    host.cuts = [1_000_000]
    with pytest.raises(CheckpointError, match=r"stopped after 1,000,000 of [\d,]+ bytes(?s:.)*The same command contin"):
        LOAD("ecg-cpc")
    assert not model_folder("ecg-cpc").exists()
    LOAD("ecg-cpc")
    assert host.asked(ARCHIVE) == [None, "bytes=1000000-"]


@pytest.mark.heavy
def test_a_wrong_digest_is_deleted(host: Host, archive: bytes) -> None:
    host.files[ARCHIVE] = archive[:-1] + b"x"
    with pytest.raises(CheckpointError, match=r"another checksum than 127\.0\.0\.1 states(?s:.)*was deleted"):
        LOAD("ecg-cpc")
    assert list((home() / "downloads" / "ecg-cpc").iterdir()) == []
    assert not model_folder("ecg-cpc").exists()
    host.files[ARCHIVE] = archive
    LOAD("ecg-cpc")


def test_a_digest_that_the_catalogue_knows(published: Callable[..., None]) -> None:
    published("zenodo", sha256="0" * 64)
    with pytest.raises(CheckpointError, match=r"have replaced merl\.pth"):
        LOAD("merl")
    assert not model_folder("merl").exists()


SCRIPT = """
import functools, sys
from ecg_hub.weights import pull as module
module.pull = functools.partial(module.pull, figshare=sys.argv[1] + "/figshare")
import ecg_hub
print(ecg_hub.AutoModel.from_pretrained("ecg-cpc").num_parameters())
"""


@pytest.mark.heavy  # two processes that import torch and convert
def test_two_processes_fetch_once(host: Host) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    (home() / "downloads").mkdir(parents=True)
    with FileLock(home() / "downloads" / ".ecg-cpc.lock"):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, host.url],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stderr is not None
            assert "Another process is pulling 'ecg-cpc'" in process.stderr.readline()
        assert host.requests == []
    results = [process.communicate(timeout=300) for process in processes]
    assert [out for out, _ in results] == ["2932736\n"] * 2, results
    assert sum(err.count("licence of the weights") for _, err in results) == 1
    assert host.asked(ARCHIVE) == [None]


@pytest.mark.heavy
@pytest.mark.parametrize("variable", ["ECG_HUB_OFFLINE", "HF_HUB_OFFLINE", "local_files_only"])
def test_offline(variable: str, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keywords: dict[str, Any] = {}
    if variable == "local_files_only":
        keywords, said = {"local_files_only": True}, "local_files_only is True"
    else:
        monkeypatch.setenv(variable, "1")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", variable.startswith("HF"))
        said = f"{variable} is set"
    for auto in (ecg_hub.AutoModel, ecg_hub.AutoConfig):
        with pytest.raises(CheckpointError, match=f"not fetched while {said}") as raised:
            auto.from_pretrained("ecg-cpc", **keywords)
        assert "\n  ecg-hub pull ecg-cpc\n" in str(raised.value)
    if not keywords:
        with pytest.raises(CheckpointError, match=f"Nothing is fetched while {said}"):
            module.pull("ecg-cpc")
    convert_filled("ecg-cpc", tmp_path)
    LOAD("ecg-cpc", **keywords)
    with pytest.raises(CheckpointError, match=f"force_download: nothing is fetched while {said}"):
        LOAD("ecg-cpc", force_download=True, **keywords)
    assert host.requests == []


@pytest.mark.parametrize("entry", catalog.models().values(), ids=lambda entry: entry.alias)
def test_the_commands_of_an_error_work(entry: catalog.ModelEntry) -> None:
    if entry.weights.kind == "none":
        return
    with pytest.raises(CheckpointError) as raised:
        LOAD(entry.alias)
    commands = re.findall(r"^  ecg-hub (.*)$", str(raised.value), re.MULTILINE)
    verbs = [build_parser().parse_args(command.split()).run.__name__ for command in commands]
    # A page whose links no program may follow is for a browser: `pull` would refuse.
    assert verbs == (["run_pull"] if entry.weights.kind != "manual" else []) + ["run_convert"]
    assert entry.weights.page in str(raised.value)
    assert str(entry.weights.file) in str(raised.value)


@pytest.mark.usefixtures("online")
def test_a_model_of_which_there_is_a_page_only() -> None:
    with pytest.raises(CheckpointError, match="No program may follow the links") as raised:
        LOAD("st-mem")
    assert "ecg-hub pull" not in str(raised.value)
    assert "ecg-hub convert st-mem --checkpoint FILE" in str(raised.value)
    assert not home().exists()
    assert ecg_hub.AutoFeatureExtractor.from_pretrained("st-mem").spec().samples == 600


def test_gated_weights_are_not_agreed_to(published: Callable[..., None], host: Host) -> None:
    published("hf")
    host.statuses = [(403, {"X-Error-Code": "GatedRepo"})] * 9
    with pytest.raises(CheckpointError, match="The authors decide who gets org/merl"):
        LOAD("merl")


def test_a_read_only_cache_folder(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, roots = Path.mkdir, (home(), tmp_path)

    def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
        if any(path.is_relative_to(root) for root in roots):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        make(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    for option, keywords in (("ECG_HUB_HOME", {}), ("cache_dir", {"cache_dir": tmp_path / "other"})):
        with pytest.raises(CheckpointError, match=rf"Read-only(?s:.)*Set {option} to a folder that can be"):
            LOAD("ecg-cpc", **keywords)
    assert host.requests == []


@pytest.mark.heavy
def test_a_full_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
        with pytest.raises(CheckpointError, match=r"The disk is full(?s:.)*set ECG_HUB_HOME"):
            LOAD("ecg-cpc")
    for error in (SafetensorError("I/O error: no space (os error 28)"), OSError(errno.ENOSPC, "no space")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "convert", _raising(error))
            with pytest.raises(CheckpointError, match="The disk is full"):
                LOAD("ecg-cpc")
    LOAD("ecg-cpc")
    assert host.asked(ARCHIVE) == [None]  # the file lay there whole


def _raising(error: Exception) -> Callable[..., None]:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail


@pytest.mark.heavy
def test_a_folder_and_a_hub_of_ones_own_come_first(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LOAD("random:ecg-cpc-tiny").save_pretrained("ecg-cpc")
    assert LOAD("ecg-cpc", check_name=False, force_download=True, revision="v2").config.hidden_size == 32
    shutil.rmtree("ecg-cpc")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.file_exists", lambda repo, file: True)
    assert locate("ecg-cpc").kind == "hub"
    monkeypatch.setattr("huggingface_hub.file_exists", _raising(OSError("connection refused")))
    for auto in (ecg_hub.AutoModel, ecg_hub.AutoFeatureExtractor):
        with pytest.raises(CheckpointError, match=r"did not answer .*connection refused"):
            auto.from_pretrained("ecg-cpc")
    assert host.requests == []
    monkeypatch.setattr("huggingface_hub.file_exists", lambda repo, file: False)
    LOAD("ecg-cpc")
    assert host.asked(ARCHIVE) == [None]


@pytest.mark.heavy
def test_cache_dir(host: Host, tmp_path: Path) -> None:
    LOAD("ecg-cpc", cache_dir=str(tmp_path / "other"))
    assert (tmp_path / "other" / "models" / "ecg-cpc" / "config.json").is_file()
    assert not home().exists()
    LOAD("ecg-cpc", cache_dir=tmp_path / "other")
    assert len(host.asked(ARCHIVE)) == 1
    shutil.copytree(tmp_path / "other", home())
    LOAD("ecg-cpc", cache_dir=tmp_path / "third")  # what lies below $ECG_HUB_HOME is not fetched again
    assert len(host.asked(ARCHIVE)) == 1


@pytest.mark.heavy
def test_revision(host: Host) -> None:
    for auto in (ecg_hub.AutoModel, ecg_hub.AutoConfig, ecg_hub.AutoFeatureExtractor):
        with pytest.raises(InputError, match="revision='v2' of 'ecg-cpc'"):
            auto.from_pretrained("ecg-cpc", revision="v2")
    assert host.requests == []
    LOAD("ecg-cpc", revision="main")
    with pytest.raises(InputError, match="revision='v2' of 'ecg-cpc'"):
        LOAD("ecg-cpc", revision="v2")


@pytest.mark.heavy
def test_force_download_replaces_what_was_fetched_alone(host: Host) -> None:
    LOAD("ecg-cpc", force_download=True)
    LOAD("ecg-cpc", force_download=True)
    assert len(host.asked(ARCHIVE)) == 2
    config = model_folder("ecg-cpc") / "config.json"
    fetched = json.loads(config.read_text())
    for change in ({"training": [{"dataset": "ptb-xl"}]}, {"conversion": None}, None):
        config.write_text("{" if change is None else json.dumps({**fetched, **change}))
        with pytest.raises(InputError, match=r"it may be your own(?s:.)*ecg-hub pull ecg-cpc --overwrite"):
            LOAD("ecg-cpc", force_download=True)
    assert len(host.asked(ARCHIVE)) == 2


def test_the_token_goes_to_the_hub(published: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    published("hf")
    tokens: list[Any] = []

    def note(*args: Any, token: Any, **kwargs: Any) -> str:
        tokens.append(token)
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", note)
    with pytest.raises(CheckpointError, match="Read-only"):
        LOAD("merl", token="hf_mine")
    assert tokens == ["hf_mine"]


@pytest.mark.heavy
def test_what_a_model_is_fed_needs_no_weights(host: Host) -> None:
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained("ecg-cpc")
    assert host.requests == []
    assert ecg_hub.AutoConfig.from_pretrained("ecg-cpc").source["file"] == "ECG-CPC_Checkpoint.zip"
    assert ecg_hub.AutoFeatureExtractor.from_pretrained("ecg-cpc").presets == extractor.presets


@pytest.mark.heavy
def test_classifiers(host: Host) -> None:
    for load in (ecg_hub.load_pipeline, ecg_hub.AutoModelForECGClassification.from_pretrained):
        with pytest.raises(CheckpointError, match="encoder without a head"):
            load("ecg-cpc")
    assert host.requests == []
    model = ecg_hub.AutoModelForECGClassification.from_pretrained("ecg-cpc", num_labels=3, new_head=True)
    assert model.head_is_new
    assert origin_of(model).kind == "catalogue"


@pytest.mark.heavy
def test_a_command(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path / "one", np.random.default_rng(1).normal(0, 0.3, (12, 5000)), 500, LEADS)
    words = [str(tmp_path / "one"), "-o", str(tmp_path / "features.parquet")]
    assert main(["predict", "ecg-cpc", words[0]]) == 1
    assert "is an encoder without a head" in capsys.readouterr().err
    assert main(["embed", "st-mem", *words]) == 1
    assert "ecg-hub pull" not in capsys.readouterr().err
    assert host.requests == []
    assert main(["embed", "ecg-cpc", *words]) == 0
    printed = capsys.readouterr()
    assert "1 record, 512 features each" in printed.out
    assert printed.err.startswith("licence of the weights: CC BY 4.0.")


@pytest.mark.heavy
def test_the_harness(host: Host) -> None:
    from eval_harness.models.loading import load_model

    loaded = load_model("ecg-cpc", "linear", "benchmark", 0)
    assert loaded.id == "ecg-cpc"
    assert loaded.origin is not None
    assert loaded.origin.kind == "catalogue"
