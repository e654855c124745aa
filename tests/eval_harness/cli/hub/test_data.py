"""`ecg-hub data`: every verb as a user types it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from dataset_scripts import catalog
from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.report import row
from dataset_scripts.core.spec import SPLITS, ECGDataset, Source
from dataset_scripts.load import load_dataset
from dataset_scripts.mock import write
from dataset_scripts.tools import download as download_module
from dataset_scripts.tools.hosts import Hosts
from dataset_scripts.tools.plot import Record
from ecg_hub.home import home
from eval_harness.cli.hub.data_verbs import heading, summary
from eval_harness.cli.hub.main import main
from eval_harness.tasks import registry
from tests.support.hosts import Host, md5, running

HEAVY = ("torch", "transformers", "datasets", "matplotlib", "pandas")
PROGRAM = """
import sys
from eval_harness.cli.hub.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("HEAVY", [name for name in {heavy!r} if name in sys.modules], code)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("ptb-xl", tmp_path_factory.mktemp("cli") / "ptb-xl", records=40, seed=2)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("ptb-xl", tmp_path_factory.mktemp("cli") / "ptb-xl", records=30, seed=2, awkward=True)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, ECGDataset]:
    """The registered datasets, to be changed for one test."""
    changed = dict(datasets())
    monkeypatch.setattr(catalog, "datasets", lambda: changed)
    return changed


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["data", *words]) == code
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 1) -> str:
    assert main(["data", *words]) == code
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


class TestListings:
    def test_one_line_each(self, capsys: pytest.CaptureFixture[str]) -> None:
        table, below = printed(capsys, "ls").split("\n\n")
        head, *lines = table.splitlines()
        assert head.split() == ["dataset", "records", "Hz", "access", "licence"]
        assert [line.split()[0] for line in lines] == list(datasets())
        assert below == "in all rows: mock yes; prepared no; package ecg-hub\n"

    def test_prepared_ones_are_marked(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        printed(capsys, "prepare", "ptb-xl", "--data-dir", str(folder))
        rows = json.loads(printed(capsys, "ls", "--json"))
        assert not any(row["prepared"] for row in rows), "simulated records are no PTB-XL"
        assert json.loads(printed(capsys, "info", "ptb-xl", "--json"))["prepared"] == []
        real = write("ptb-xl", tmp_path / "real", records=40, seed=3)
        (real / "mock.json").unlink()
        printed(capsys, "prepare", "ptb-xl", "--data-dir", str(real))
        rows = {row["dataset"]: row for row in json.loads(printed(capsys, "ls", "--json"))}
        assert rows["ptb-xl"]["prepared"] is True
        assert [name for name, row in rows.items() if row["prepared"]] == ["ptb-xl"]
        assert rows["ptb-xl"]["mock"] is True

    @pytest.mark.parametrize("name", list(datasets()))
    def test_everything_about_one(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        dataset = get(name)
        text = printed(capsys, "info", name)
        for part in (dataset.title, dataset.page, dataset.access, "get it", *dataset.label_columns):
            assert part in text
        content = json.loads(printed(capsys, "info", name, "--json"))
        assert content["name"] == name
        assert content["problems"] == list(dataset.problems)
        assert len(content["releases"]) == len(dataset.releases)

    def test_a_name_that_is_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "Did you mean 'ptb-xl'" in refused(capsys, "info", "ptb-xk", code=2)

    @pytest.mark.parametrize("words", [["ls"], ["info", "ptb-xl"], ["info", "ptb-xl", "--json"], ["prepare", "--help"]])
    def test_listings_are_light(self, words: list[str]) -> None:
        program = PROGRAM.format(heavy=HEAVY)
        command = [sys.executable, "-c", program, "data", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout.rstrip().endswith("HEAVY [] 0"), done.stdout + done.stderr


class TestPrepare:
    def test_what_came_of_it(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("prepare", "ptb-xl", "--data-dir", str(folder), "--cache-dir", str(tmp_path / "cache"))
        text = printed(capsys, *words, "--min-count", "2", "--threshold", "exclude_removed=true")
        facts = json.loads(printed(capsys, *words, "--min-count", "2", "--threshold", "exclude_removed=true", "--json"))
        assert sum(facts["records"].values()) == 40
        for name, number in facts["records"].items():
            assert any(line.split() == [name, str(number)] for line in text.splitlines())
        for part in (facts["fingerprint"], "min_count 2", "synthetic True", "label_super", "exclude_removed True"):
            assert part in text
        assert facts["lost"] == 0
        assert Path(facts["store"]).is_relative_to(tmp_path / "cache")

    def test_the_next_step_is_a_run_where_a_task_reads_it(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["data", "prepare", "ptb-xl", "--data-dir", str(folder)]
        assert main(words) == 0
        said = "".join(capsys.readouterr())
        assert "ecg-eval --model random:ecg-cpc-tiny --tasks dataset:ptb-xl" in said
        monkeypatch.setattr(registry, "suites", dict)
        assert main(words) == 0
        said = "".join(capsys.readouterr())
        assert "ecg-hub data plot ptb-xl" in said
        assert "ecg-eval" not in said

    def test_losses_are_named_and_written(
        self, awkward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("prepare", "ptb-xl", "--data-dir", str(awkward))
        assert "max_unreadable=0.01" in refused(capsys, *words)
        report = tmp_path / "new" / "report.csv"
        assert main(["data", *words, "--max-unreadable", "0.2", "--report", str(report)]) == 0
        captured = capsys.readouterr()
        assert captured.err.count("lost: ") == 3
        assert any(line.split() == ["lost", "3"] for line in captured.out.splitlines())
        rows = list(csv.DictReader(report.read_text().splitlines()))
        assert len(rows) == 30
        assert sum(row["status"] == "lost" for row in rows) == 3

    def test_the_reasons_of_losses_add_up_to_the_lost_records(self) -> None:
        about = "none of the twelve leads among 3 names; say which is which under lead_names"
        report = pd.DataFrame(
            [row(f"r{k}", f"r{k}.edf", "lost", f"r{k}.edf: {about}") for k in range(3)]
            + [row("good", "good.edf", "ok", "no lead V1; every sample is 0")]
        )
        empty: dict[str, Any] = dict.fromkeys(SPLITS, ())
        prepared = Mock(report=report, splits=empty, labels={}, exclusions={}, deviations={}, label_hashes={})
        facts = summary(prepared)
        assert facts["lost_reasons"] == {f"r0.edf: {about}": 3}
        assert facts["remarks"] == {"no lead V1": 1, "every sample is 0": 1}

    def test_the_old_name_of_an_option_finds_the_same_store(
        self, awkward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("data", "prepare", "ptb-xl", "--data-dir", str(awkward), "--cache-dir", str(tmp_path), "--json")
        facts = []
        for name in ("--max-loss", "--max-unreadable"):
            assert main([*words, name, "0.2"]) == 0
            captured = capsys.readouterr()
            facts.append(json.loads(captured.out))
            assert captured.err.count("--max-loss is now called --max-unreadable") == int(name == "--max-loss")
        assert [fact.pop("seconds") >= 0 for fact in facts] == [True, True]
        assert facts[0] == facts[1]

    def test_a_synthetic_tree(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr("eval_harness.cli.hub.data.MOCK_RECORDS", 30)
        facts = json.loads(printed(capsys, "prepare", "ptb-xl", "--mock", "--json"))
        assert sum(facts["records"].values()) == 30
        assert facts["deviations"]["synthetic"] is True
        assert facts["shards"] is None

    @pytest.mark.heavy
    def test_shards_are_written_and_continued(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "shards"
        words = ("prepare", "ptb-xl", "--data-dir", str(folder), "--shards", str(target), "--shard-size", "1")
        out = printed(capsys, *words)
        assert f"{target}: " in out
        assert "MB (train " in out
        files = sorted(target.glob("data/*.parquet"))
        assert len(files) > 3
        files[0].unlink()
        shards = json.loads(printed(capsys, *words, "--json"))["shards"]
        assert sorted(target.glob("data/*.parquet")) == files
        assert shards["files"] == len(files)
        assert shards["bytes"] == sum(path.stat().st_size for path in files)
        assert sum(shards["records"].values()) == 40
        assert "shard_bytes 1000000 instead of 2000000" in refused(capsys, *words[:-1], "2")
        assert "is no size in MB" in refused(capsys, *words[:-1], "0")

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["ptb-xl"], 1, "https://physionet.org"),
            (["ptb-xl", "--data-dir", "/no/such/folder"], 1, "does not exist"),
            (["ptb-xk", "--data-dir", "."], 2, "Did you mean"),
            (["ptb-xl", "--data-dir", "FOLDER", "--threshold", "min_samples=3"], 1, "no threshold 'min_samples'"),
            (["ptb-xl", "--data-dir", "FOLDER", "--threshold", "wrong"], 1, "write NAME=VALUE"),
            (["ptb-xl", "--data-dir", "FOLDER", "--threshold", "min_count=3"], 1, "--min-count"),
            (["ptb-xl", "--data-dir", "FOLDER", "--sampling-rate", "250"], 1, "500, 100"),
            (["ptb-xl", "--download", "--mock"], 1, "leave one of the two out"),
        ],
    )
    def test_errors_are_one_message(
        self, words: list[str], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        real = [word.replace("FOLDER", str(folder)) for word in words]
        assert message in refused(capsys, "prepare", *real, code=code)


class TestDownload:
    @pytest.fixture
    def host(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1")
        with running(Host()) as host:
            local = Hosts(f"{host.url}/files", f"{host.url}/v2", f"{host.url}/api")
            monkeypatch.setattr(download_module, "Hosts", lambda: local)
            yield host

    @pytest.mark.heavy
    def test_fetched_and_prepared_by_one_command(
        self,
        host: Host,
        folder: Path,
        registered: dict[str, ECGDataset],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        del files["mock.json"]
        entries = []
        for number, (name, content) in enumerate(files.items()):
            link = {"self": f"{host.url}/get/{number}"}
            entries.append({"key": name, "size": len(content), "checksum": f"md5:{md5(content)}", "links": link})
            host.files[f"/get/{number}"] = content
        host.documents["/api/records/1"] = {"files": entries}
        registered["ptb-xl"] = replace(get("ptb-xl"), sources=(Source(host="zenodo", ref="1"),))
        words = ["data", "prepare", "ptb-xl", "--data-dir", str(tmp_path / "raw"), "--download", "--min-count", "1"]
        assert main(words) == 0
        captured = capsys.readouterr()
        assert f"{len(files):,} files in " in captured.err
        assert "licence of PTB-XL: CC-BY-4.0" in captured.err
        assert "synthetic" not in captured.out
        assert main(["data", "prepare", "ptb-xl", "--download", "--min-count", "1"]) == 0
        default = home() / "data" / "ptb-xl"
        assert f"{len(files):,} files in {default}" in capsys.readouterr().err
        found = load_dataset("ptb-xl", split="train", min_count=1)
        assert found["record_id"] == load_dataset("ptb-xl", tmp_path / "raw", split="train")["record_id"]
        for verb in ("prepare", "verify"):
            assert main(["data", verb, "ptb-xl"]) in (0, 1)
            assert "No folder" not in capsys.readouterr().err

    def test_data_behind_an_agreement(
        self, host: Host, registered: dict[str, ECGDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = Source(host="physionet", ref="mimic-iv-ecg/1.0")
        registered["ptb-xl"] = replace(get("ptb-xl"), access="credentialed", redistribution=False, sources=(source,))
        error = refused(capsys, "prepare", "ptb-xl", "--data-dir", str(tmp_path / "raw"), "--download")
        assert "wget -r -N -c -np -nH --cut-dirs=3" in error
        assert "https://physionet.org/files/mimic-iv-ecg/1.0/" in error
        assert host.requests == []


class TestVerify:
    def test_a_synthetic_tree_fails_and_says_so(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = printed(capsys, "verify", "ptb-xl", "--data-dir", str(folder), code=1)
        assert text.splitlines()[-1] == "This is a synthetic tree, not PTB-XL."
        content = json.loads(printed(capsys, "verify", "ptb-xl", "--data-dir", str(folder), "--json", code=1))
        assert content["synthetic"] is True
        assert content["holds"] is False

    def test_a_folder_without_known_faults(
        self,
        folder: Path,
        tmp_path: Path,
        registered: dict[str, ECGDataset],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        real = tmp_path / "real"
        real.mkdir()
        for path in folder.iterdir():
            if path.name != "mock.json":
                (real / path.name).symlink_to(path)
        registered["ptb-xl"] = replace(get("ptb-xl"), releases=())
        text = printed(capsys, "verify", "ptb-xl", "--data-dir", str(real), "--signals")
        assert "all 40 records can be read" in text
        assert "Nothing is wrong with the files" in text

    def test_a_damaged_folder(
        self, awkward: Path, registered: dict[str, ECGDataset], capsys: pytest.CaptureFixture[str]
    ) -> None:
        registered["ptb-xl"] = replace(get("ptb-xl"), releases=())
        text = printed(capsys, "verify", "ptb-xl", "--data-dir", str(awkward), "--signals", code=1)
        assert "missing  1 of 29 records is missing: 28" in text
        assert "differs  2 of 29 records are unreadable: 27" in text

    def test_without_a_folder(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "pass --data-dir DIR" in refused(capsys, "verify", "ptb-xl")


class TestOwnArchive:
    """A YAML file that describes a user's own archive stands wherever a name does."""

    @pytest.fixture
    def own(self, folder: Path, tmp_path: Path) -> str:
        (tmp_path / "records").symlink_to(folder / "records500")
        names = sorted(path.stem for path in folder.rglob("*_hr.hea"))
        table = "".join(f"{name},{k},{'AF' if k % 2 else 'NORM'}\n" for k, name in enumerate(names))
        (tmp_path / "table.csv").write_text("id,person,findings\n" + table)
        columns = "columns:\n  record: id\n  patient: person\n  labels: findings\n"
        (tmp_path / "own.yaml").write_text(f"name: my-archive\nsignals: records\ntable: table.csv\n{columns}")
        return str(tmp_path / "own.yaml")

    @pytest.mark.heavy
    def test_prepared_verified_and_drawn(self, own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "my-archive" in printed(capsys, "info", own)
        facts = json.loads(printed(capsys, "prepare", own, "--json"))
        assert sum(facts["records"].values()) == 40
        assert facts["labels"] == {"label_all": 2}
        printed(capsys, "prepare", own, "--shards", str(tmp_path / "shards"))
        assert json.loads((tmp_path / "shards" / "shards.json").read_text())["dataset"] == "my-archive"
        assert "the files of all 40 records are there" in printed(capsys, "verify", own)
        assert main(["data", "plot", own, "00003_hr", "-o", str(tmp_path / "one.png")]) == 0


class TestPlot:
    @pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
    def test_a_picture(
        self, ending: str, magic: bytes, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "new" / f"record.{ending}"
        words = ("plot", "ptb-xl", "5", "--data-dir", str(folder), "--output", str(target), "--seconds", "4")
        assert printed(capsys, *words).strip() == str(target)
        assert target.read_bytes().startswith(magic)
        assert [path.name for path in target.parent.iterdir()] == [target.name]
        if ending == "svg":
            assert b"SYNTHETIC" in target.read_bytes()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["5", "-o", "record.bmp"], "must end in .png, .pdf, .svg"),
            (["999"], "no record '999'"),
            (["5", "--start", "20"], "lasts 10.0 s"),
        ],
    )
    def test_errors(
        self,
        words: list[str],
        message: str,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert message in refused(capsys, "plot", "ptb-xl", *words, "--data-dir", str(folder))
        assert list(tmp_path.glob("*.png")) == []

    def test_labels_that_cannot_be_derived_are_not_called_none(self) -> None:
        column = get("ptb-xl").label_columns[0]
        record = Record("1", np.zeros((500, 12)), 500, "mV", None, None, None, {}, synthetic=False)
        for labels, said in (({}, "not known here"), ({column: []}, "none"), ({column: ["a", "b"]}, "a; b")):
            assert heading(get("ptb-xl"), replace(record, labels=labels))[1] == f"labels: {said}"

    def test_without_matplotlib(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        said = refused(capsys, "plot", "ptb-xl", "5", "--data-dir", str(folder), "-o", "x.png")
        assert "pip install matplotlib" in said


class TestPush:
    @pytest.mark.heavy
    def test_a_dry_run_writes_the_folder(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("push", "ptb-xl", "--data-dir", str(folder), "--repo", "org/ptb-xl", "--dry-run")
        text = printed(capsys, *words, "--output", str(tmp_path / "repo"))
        assert f"nothing was sent: {tmp_path / 'repo'}" in text
        assert (tmp_path / "repo/README.md").is_file()
        assert list((tmp_path / "repo/data").glob("train-*.parquet"))
        for _ in range(2):  # the folder of our own is written anew each time
            assert "README.md" in printed(capsys, *words)

    def test_closed_data_are_a_card(
        self, registered: dict[str, ECGDataset], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        registered["ptb-xl"] = replace(get("ptb-xl"), access="credentialed", redistribution=False)
        words = ("push", "ptb-xl", "--data-dir", str(folder), "--repo", "org/x", "--dry-run")
        text = printed(capsys, *words, "--output", str(tmp_path / "repo"))
        assert "the card alone" in text
        assert [path.name for path in (tmp_path / "repo").iterdir()] == ["README.md"]

    def test_sent(
        self,
        registered: dict[str, ECGDataset],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        registered["ptb-xl"] = replace(get("ptb-xl"), access="restricted", redistribution=False)
        sent: list[dict[str, Any]] = []
        monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda self, repo, **options: None)
        monkeypatch.setattr(
            "huggingface_hub.HfApi.upload_folder",
            lambda self, **options: sent.append(options) or "https://hub/commit/2",
        )
        assert printed(capsys, "push", "ptb-xl", "--repo", "org/x", "--private").endswith("https://hub/commit/2\n")
        assert sent[0]["repo_id"] == "org/x"

    def test_an_archive_of_the_users_own_stays_where_it_is(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("own.yaml", "--repo", "org/x", "--output", str(tmp_path / "repo"))
        assert "'own.yaml' describes an archive of your own" in refused(capsys, "push", *words)
        assert "archive of your own" in refused(capsys, "prepare", "own.yaml", "--data-dir", ".", "--download")
        assert list(tmp_path.iterdir()) == []

    def test_a_name_without_organisation(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "ORG/NAME" in refused(capsys, "push", "ptb-xl", "--repo", "ptb-xl", "--dry-run")
