"""What leaves the machine: as much as the licence lets through, looked at twice."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets as hf
import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from dataset_scripts import SignalReader
from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.spec import SPLITS, ECGDataset
from dataset_scripts.load import Prepared
from dataset_scripts.tools import publish
from dataset_scripts.tools.publish import Publication, check_publication, level, push, write_publication
from ecg_hub.errors import InputError
from tests.support.hub_cards import check_dataset_card, code


def closed(**changes: Any) -> ECGDataset:
    return replace(get("ptb-xl"), redistribution=False, **changes)


IDS = {"licence": "CC-BY-NC-ND-4.0"}
CARD = [{"access": "restricted"}, {"access": "credentialed"}, {"licence": "unclear; one page says this, another that"}]


def table(publication: Publication, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((publication.folder / name).read_text().splitlines()))


class FakeHub:
    """Remembers what an HfApi is asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo: str, **options: Any) -> None:
        self.calls.append(("create_repo", {"repo": repo, **options}))

    def upload_folder(self, **options: Any) -> str:
        self.calls.append(("upload_folder", options))
        return "https://hub/commit/1"


class TestLevels:
    def test_what_the_licence_lets_through(self) -> None:
        assert level(get("ptb-xl")) == "full"
        assert level(closed(**IDS)) == "ids"
        assert [level(closed(**changes)) for changes in CARD] == ["card"] * 3
        assert level(replace(get("ptb-xl"), access="restricted")) == "card", "access comes first"

    @pytest.mark.parametrize("name", sorted(datasets()))
    def test_nothing_of_registered_closed_data(self, name: str) -> None:
        dataset = get(name)
        assert (level(dataset) == "full") == (dataset.access == "open" and dataset.redistribution)
        if name in ("mimic-iv-ecg", "echonext", "zzu-pecg"):
            assert level(dataset) == "card"


@pytest.fixture(scope="module")
def written(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Publication:
    return write_publication(prepared.dataset, tmp_path_factory.mktemp("full") / "repo", prepared)


class TestFull:
    def test_the_parquet_reads_back_as_it_was(self, written: Publication, prepared: Prepared, tmp_path: Path) -> None:
        loaded = hf.load_dataset(str(written.folder), cache_dir=str(tmp_path))
        assert list(loaded) == list(SPLITS)
        for name in SPLITS:
            assert loaded[name].features == prepared.splits[name].features
            assert loaded[name]["record_id"] == prepared.splits[name]["record_id"]
            assert loaded[name]["label_all"] == prepared.splits[name]["label_all"]
            ours, theirs = SignalReader(prepared.splits[name]), SignalReader(loaded[name])
            assert all(np.array_equal(ours.raw(k), theirs.raw(k)) for k in range(len(ours)))

    def test_files_and_tables(self, written: Publication, prepared: Prepared) -> None:
        assert written.level == "full"
        assert {name for name in written.files if not name.startswith("data/")} == {
            "README.md",
            "splits.csv",
            "label_counts.csv",
        }
        rows = table(written, "splits.csv")
        assert len(rows) == sum(len(prepared.splits[name]) for name in SPLITS)
        counts = {(row["column"], row["label"]): int(row["test"]) for row in table(written, "label_counts.csv")}
        names = prepared.labels["label_all"]
        test = [label for labels in prepared.splits["test"]["label_all"] for label in labels]
        assert all(counts["label_all", name] == test.count(k) for k, name in enumerate(names))

    def test_the_card_says_that_the_data_are_synthetic(self, written: Publication, prepared: Prepared) -> None:
        card = DatasetCard.load(written.folder / "README.md")
        assert "Synthetic" in card.text
        assert prepared.fingerprint in card.text
        paths = {item["split"]: item["path"] for item in card.data.to_dict()["configs"][0]["data_files"]}
        assert paths == {name: f"data/{name}-*.parquet" for name in SPLITS}

    @pytest.mark.heavy
    def test_the_code_of_the_card_runs_and_loads_from_the_repository(
        self, written: Publication, prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        card = (written.folder / "README.md").read_text(encoding="utf-8")
        assert check_dataset_card(card)["size_categories"] == ["n<1K"]
        here = f"{str(written.folder)!r}, cache_dir={str(tmp_path / 'cache')!r}"
        exec(compile(code(card).replace('"FOLDER"', here), "README.md", "exec"), {"__name__": "card"})
        assert "5000 samples at 500 Hz" in capsys.readouterr().out
        sent = write_publication(prepared.dataset, tmp_path / "repo", prepared, "org/mine")
        assert 'load_dataset("org/mine")' in code((sent.folder / "README.md").read_text(encoding="utf-8"))

    @pytest.mark.heavy
    def test_large_splits_are_cut(self, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(publish, "SHARD_BYTES", 5 * 10**6)
        written = write_publication(prepared.dataset, tmp_path / "repo", prepared)
        train = [name for name in written.files if name.startswith("data/train-")]
        assert len(train) > 2
        assert sum(pq.read_metadata(written.folder / name).num_rows for name in train) == len(prepared.splits["train"])


class TestKeptBack:
    def test_record_names_but_no_signals_and_no_labels(self, prepared: Prepared, tmp_path: Path) -> None:
        dataset = closed(**IDS)
        written = write_publication(dataset, tmp_path / "repo", replace(prepared, dataset=dataset))
        assert set(written.files) == {"README.md", "splits.csv", "label_counts.csv"}
        header = (written.folder / "splits.csv").read_text().splitlines()[0]
        assert header == "record_id,split,fold"
        loaded = hf.load_dataset(str(written.folder), cache_dir=str(tmp_path / "cache"))
        assert loaded["train"].column_names == ["record_id", "split", "fold"]

    @pytest.mark.parametrize("changes", CARD)
    def test_the_card_alone(self, changes: dict[str, Any], prepared: Prepared, tmp_path: Path) -> None:
        dataset = closed(**changes)
        written = write_publication(dataset, tmp_path / "repo", replace(prepared, dataset=dataset))
        assert set(written.files) == {"README.md"}
        assert prepared.fingerprint not in (written.folder / "README.md").read_text()

    def test_the_card_alone_needs_no_data(self, tmp_path: Path) -> None:
        assert set(write_publication(closed(access="credentialed"), tmp_path / "repo").files) == {"README.md"}

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"access": "restricted"}, "splits.csv"),
            ({"access": "restricted"}, "data/train-00000-of-00001.parquet"),
            (IDS, "data/train-00000-of-00001.parquet"),
            (IDS, "records/00001.dat"),
            (IDS, "more/README.md"),
            ({"access": "open", "redistribution": True}, "raw/00001.dat"),
        ],
    )
    def test_a_file_that_slipped_in_stops_everything(self, changes: dict[str, Any], name: str, tmp_path: Path) -> None:
        dataset = replace(get("ptb-xl"), **{"redistribution": False, **changes})
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "README.md").write_text("card")
        (tmp_path / name).write_text("record_id,split,fold\n")
        hub = FakeHub()
        with pytest.raises(InputError, match="may not be published"):
            push(dataset, Publication("full", tmp_path, {}), "org/name", api=hub)
        assert hub.calls == []

    def test_a_column_that_slipped_in_stops_everything(self, tmp_path: Path) -> None:
        (tmp_path / "README.md").write_text("card")
        (tmp_path / "splits.csv").write_text("record_id,split,fold,label_all\n1,train,0,NORM\n")
        with pytest.raises(InputError, match=r"splits\.csv has the columns record_id,split,fold,label_all"):
            check_publication(closed(**IDS), tmp_path)

    def test_a_folder_that_holds_something_is_not_used(self, tmp_path: Path) -> None:
        (tmp_path / "signals.dat").write_text("x")
        with pytest.raises(InputError, match="not an empty folder"):
            write_publication(closed(access="restricted"), tmp_path)

    def test_records_are_needed_where_they_are_published(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="prepare it first"):
            write_publication(get("ptb-xl"), tmp_path / "repo")
        assert not (tmp_path / "repo").exists()


class TestPush:
    def test_repository_and_folder(self, tmp_path: Path) -> None:
        dataset, hub = closed(access="restricted"), FakeHub()
        written = write_publication(dataset, tmp_path / "repo")
        assert push(dataset, written, "org/name", private=True, api=hub) == "https://hub/commit/1"
        (create, made), (upload, sent) = hub.calls
        assert (create, upload) == ("create_repo", "upload_folder")
        assert made == {"repo": "org/name", "repo_type": "dataset", "private": True, "exist_ok": True}
        assert sent["folder_path"] == str(tmp_path / "repo")
        assert (sent["repo_id"], sent["repo_type"]) == ("org/name", "dataset")

    @pytest.mark.parametrize("repo", ["name", "a/b/c", "/name", "org/"])
    def test_names_that_are_none(self, repo: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="ORG/NAME"):
            push(get("ptb-xl"), Publication("card", tmp_path, {}), repo, api=FakeHub())

    def test_a_hub_that_refuses(self, tmp_path: Path) -> None:
        from huggingface_hub.errors import LocalTokenNotFoundError

        class Refusing(FakeHub):
            def create_repo(self, repo: str, **options: Any) -> None:
                raise LocalTokenNotFoundError("no token")

        dataset = closed(access="restricted")
        written = write_publication(dataset, tmp_path / "repo")
        with pytest.raises(InputError, match=r"org/name at .* needs a token.*hf auth login"):
            push(dataset, written, "org/name", api=Refusing())
