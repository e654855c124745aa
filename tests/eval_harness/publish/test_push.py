"""Pushing: what arrives, what stays behind, twice is once, and nobody overwrites anybody."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.errors import HfHubHTTPError

from ecg_hub.errors import InputError, ResultError
from ecg_hub.hub.client import HubRepository, StaleParentError, check_id
from eval_harness.publish.layout import digest, read_meta
from eval_harness.publish.push import PublishError, Submission, prepare, push
from eval_harness.publish.repository import (
    FolderRepository,
    HubModels,
    ModelFacts,
    UnreachableError,
    refuse_withheld,
    withheld,
)
from eval_harness.results.folders import find_runs, read_found
from eval_harness.tasks.registry import tasks
from tests.support.board import made_up, write_scored
from tests.support.hub_api import HubApi, failure
from tests.support.results import failed, predictions

REPO = "org/ecg-leaderboard"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def submission(folder: Path, **options: Any) -> Submission:
    return prepare([read_found(folder)], tasks(), **options)


def send(what: Submission, publisher: Any, **options: Any) -> Any:
    return push(what, publisher, tasks().values(), pause=lambda _: None, **options)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_scored(tmp_path / "run")


def test_what_arrives(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    sent = send(submission(run, predictions=True), FolderRepository(board))
    (entry,) = board.glob("results/*/*/linear/ptbxl_super.json")
    place = entry.parent.parent
    assert place.name == "weights-" + read_found(run).run.settings.model.weights_sha256[:16] + "+resamples-50"
    meta = read_meta((place / "model_meta.json").read_bytes(), "meta")
    assert meta.kind == "random"
    assert meta.entries == {"linear/ptbxl_super": digest(entry.read_bytes())}
    copied = entry.parent / "predictions" / "ptbxl_super.parquet"
    assert copied.read_bytes() == (run / "predictions" / "ptbxl_super.parquet").read_bytes()
    assert len(sent.written) == 5
    assert yaml.safe_load((board / "eval.yaml").read_text())["tasks"][0] == {
        "id": "chapman_linear", "config": "default", "split": "test",
    }  # fmt: skip


def test_a_second_push_changes_nothing(run: Path, tmp_path: Path) -> None:
    publisher = FolderRepository(tmp_path / "board")
    send(submission(run, predictions=True), publisher)
    head = publisher.head()
    again = send(submission(run, predictions=True), publisher)
    assert (again.written, again.address, publisher.head()) == ([], None, head)


def test_a_second_push_to_the_hub_makes_no_commit(run: Path) -> None:
    api = HubApi()
    send(submission(run, predictions=True), HubRepository(REPO, "dataset", api))
    again = send(submission(run, predictions=True), HubRepository(REPO, "dataset", api))
    assert again.written == []
    assert len(api.repos[REPO, "dataset"].titles) == 1


def test_the_same_score_made_again_is_unchanged(run: Path, tmp_path: Path) -> None:
    publisher = FolderRepository(tmp_path / "board")
    send(submission(run), publisher)
    path = run / "ptbxl_super.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "created": "2027-01-01T00:00:00Z", "timings_s": {"train": 1}}))
    assert send(submission(run), publisher).written == []


def test_another_score_needs_replace(tmp_path: Path) -> None:
    publisher = FolderRepository(tmp_path / "board")
    send(submission(write_scored(tmp_path / "one")), publisher)
    other = submission(write_scored(tmp_path / "two", given=predictions(seed=9)))
    with pytest.raises(PublishError, match="holds other scores"):
        send(other, publisher)
    assert len(send(other, publisher, replace=True).written) == 2


def test_a_dry_run_sends_nothing(run: Path, tmp_path: Path) -> None:
    publisher = FolderRepository(tmp_path / "board")
    assert len(send(submission(run), publisher, dry_run=True).written) == 4
    assert not (tmp_path / "board").exists()


def test_two_at_once_both_arrive(tmp_path: Path) -> None:
    """The same row, other tasks: the description of the model must keep both."""
    runs = [write_scored(tmp_path / name, mode=name) for name in ("linear", "frozen", "finetune")]
    publisher = FolderRepository(tmp_path / "board")
    gate = threading.Barrier(len(runs))
    lost: list[Exception] = []

    def work(folder: Path) -> None:
        mine = submission(folder)
        gate.wait()
        try:
            push(mine, publisher, tasks().values())
        except Exception as error:
            lost.append(error)

    threads = [threading.Thread(target=work, args=(folder,)) for folder in runs]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert lost == []
    (meta,) = (tmp_path / "board").glob("results/*/*/model_meta.json")
    found = read_meta(meta.read_bytes(), "meta")
    assert sorted(found.entries) == ["finetune/ptbxl_super", "frozen/ptbxl_super", "linear/ptbxl_super"]
    assert len(list((tmp_path / "board").glob("results/*/*/*/ptbxl_super.json"))) == 3


def test_a_stale_parent_on_the_hub_is_tried_again(tmp_path: Path) -> None:
    api = HubApi()
    first, second = (submission(write_scored(tmp_path / mode, mode=mode)) for mode in ("linear", "frozen"))
    send(submission(write_scored(tmp_path / "zero", mode="finetune")), HubRepository(REPO, "dataset", api))

    def other_writer(_: str) -> None:
        api.before_commit = None
        send(second, HubRepository(REPO, "dataset", api))

    api.before_commit = other_writer
    sent = send(first, HubRepository(REPO, "dataset", api))
    assert sent.tries == 2
    files = api.repos[REPO, "dataset"].commits[-1]
    assert sum(path.endswith("ptbxl_super.json") for path in files) == 3
    (meta,) = (read_meta(data, "meta") for path, data in files.items() if path.endswith("model_meta.json"))
    assert len(meta.entries) == 3


@pytest.mark.heavy
def test_endless_conflicts_end(run: Path) -> None:
    class Restless(FolderRepository):
        def commit(self, *_: Any, **__: Any) -> str:
            raise StaleParentError("again")

    with pytest.raises(PublishError, match="kept changing"):
        send(submission(run), Restless(run.parent / "board"))


def test_a_pull_request_is_proposed_once(run: Path) -> None:
    api = HubApi()
    api.create_repo(REPO, repo_type="dataset", exist_ok=True)
    first = send(submission(run), HubRepository(REPO, "dataset", api), request=True)
    again = send(submission(run), HubRepository(REPO, "dataset", api), request=True)
    assert first.address == again.address
    assert again.written == []
    assert len(api.repos[REPO, "dataset"].requests) == 1
    assert api.repos[REPO, "dataset"].titles == []


def test_folders_take_no_pull_request(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="--create-pr"):
        send(submission(run), FolderRepository(tmp_path / "board"), request=True)


def test_failed_rows_are_said_and_not_pushed(run: Path, tmp_path: Path) -> None:
    stored = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps({**stored, "tasks": {**stored["tasks"], "ptbxl_sub": 1}}))
    (run / "ptbxl_sub.json").write_text(failed("the disk was full\nsecond line", task="ptbxl_sub").model_dump_json())
    found = submission(run)
    assert [note for note in found.notes if "ptbxl_sub: failed: the disk was full" in note]
    assert len(found.results) == 1


@pytest.mark.parametrize("dataset", ["mimic-iv-ecg", "echonext", "zzu-pecg", "nobody-knows"])
def test_predictions_of_closed_data_stay(dataset: str) -> None:
    assert withheld(dataset)


def test_predictions_of_open_data_may_go() -> None:
    assert withheld("ptb-xl") is None


@pytest.mark.parametrize("task", ["zzu_pecg", "echonext", "mimic_sex"])
def test_closed_predictions_do_not_go_however_asked(task: str, tmp_path: Path) -> None:
    known = tasks()[task]
    labels = known.labels[:4] or ("A1", "A2", "B1")
    groups = {known.targets.group: labels} if known.targets else {}
    own = replace(predictions(labels=labels, run=known.run), groups=groups)
    folder = write_scored(tmp_path / "run", task=task, labels=labels, given=own)
    found = submission(folder, predictions=True)
    assert [path for path in found.files if path.endswith(".parquet")] == []
    assert [note for note in found.notes if "stay here" in note]
    smuggled = next(path for path in found.files if path.endswith(f"{task}.json"))
    parquet = smuggled.replace(f"{task}.json", f"predictions/{known.run}.parquet")
    found.files[parquet] = (folder / "predictions" / f"{known.run}.parquet").read_bytes()
    with pytest.raises(InputError, match="must not be published"):
        send(found, FolderRepository(tmp_path / "board"))
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("path", ["results/a/b/linear/predictions/x.parquet", "a.parquet", "results/a/b/raw.csv"])
def test_nothing_else_is_sent(path: str) -> None:
    with pytest.raises(InputError):
        refuse_withheld([path], tasks().values())


class Known:
    """A hub that knows one commit of one model."""

    def look_up(self, model: str, revision: str) -> ModelFacts | None:
        return ModelFacts("apache-2.0") if (model, revision) == ("lab/model", COMMIT) else None


class Away:
    def look_up(self, model: str, revision: str) -> ModelFacts | None:
        raise UnreachableError("the hub could not be asked (ConnectionError)")


def test_a_made_up_revision_is_refused(tmp_path: Path) -> None:
    real = write_scored(tmp_path / "real", "lab/model", revision=COMMIT)
    found = submission(real, models=Known())
    (meta,) = found.metas.values()
    assert meta.licence is not None
    assert (meta.licence.name, meta.kind, meta.revision) == ("apache-2.0", "other", COMMIT)
    with pytest.raises(PublishError, match="there is no commit 'ffff"):
        submission(write_scored(tmp_path / "forged", "lab/model", revision="f" * 40), models=Known())
    assert any("not confirmed" in note for note in submission(real, models=Away()).notes)


def test_revisions_are_asked_of_the_hub() -> None:
    api = HubApi()
    api.create_repo("lab/model", repo_type="model", exist_ok=True)
    repo = api.repos["lab/model", "model"]
    repo.licence = "mit"
    models = HubModels(api)
    assert models.look_up("lab/model", repo.sha) == ModelFacts("mit")
    assert models.look_up("lab/model", "f" * 40) is None
    assert models.look_up("lab/nothing", repo.sha) is None


def test_a_refusal_of_the_hub_names_the_remedy(run: Path) -> None:
    api = HubApi()
    api.refuse = failure(HfHubHTTPError, 403, "read-only token")
    with pytest.raises(InputError, match=r"read-only token.*hf auth login"):
        send(submission(run), HubRepository(REPO, "dataset", api))


@pytest.mark.parametrize("name", ["leaderboard", "a/b/c", "/x"])
def test_a_repository_has_two_parts(name: str) -> None:
    with pytest.raises(InputError, match="ORG/NAME"):
        check_id(name)


def test_local_paths_do_not_travel(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "run", "/home/someone/private/my-model")
    found = submission(folder)
    assert "someone" not in " ".join([*found.files, *(data.decode() for data in found.files.values())])
    assert next(iter(found.metas.values())).id == "my-model"


def test_rows_of_one_entry_must_agree(tmp_path: Path) -> None:
    write_scored(tmp_path / "runs" / "a")
    write_scored(tmp_path / "runs" / "b", given=predictions(seed=5))
    with pytest.raises(PublishError, match="another run among these"):
        prepare(find_runs([tmp_path / "runs"]), tasks())


def test_made_up_results_are_what_they_say() -> None:
    assert made_up("ecg-fm", "ptbxl_super").data.contamination == "seen"  # type: ignore[union-attr]
