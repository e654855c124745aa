"""`ecg-eval report`: one page from result folders, whole and safe to pass on."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.report.page import POLICY, ReportOptions, write_report
from eval_harness.results.folders import find_runs
from eval_harness.results.schema import write_result
from eval_harness.runner.run import evaluate
from eval_harness.tasks.registry import get_task
from eval_harness.tasks.task import read_task
from tests.support.report_runs import regression, shifted, with_people, write_folder
from tests.support.results import SUPER, failed, predictions

VOID = {"meta", "br", "img", "hr", "col"}
HOSTILE = "<script>document.title='run'</script>"


class Page(HTMLParser):
    """Reads a page: elements, attributes, text, and whether every element is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def report(folder: Path, **changes: object) -> Page:
    """Write the report of all runs below a folder and read it."""
    path = folder / "report.html"
    write_report(find_runs([folder]), path, ReportOptions(**changes))  # type: ignore[arg-type]
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The results of two models on one task; the second is better."""
    task = get_task("ptbxl_super")
    write_folder(tmp_path / "results", task)
    write_folder(tmp_path / "results", task, shifted(predictions(), 0.6), model="model-b", mode="frozen")
    return tmp_path / "results"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("ptbxl_super.json", '{"schema_version": "9"}', "model-a/linear/seed0/ptbxl_super.json' has schema_version"),
        ("notes.json", '{"mine": 1}', "model-a/linear/seed0/notes.json' has schema_version None"),
        ("notes.json", '{"schema_version": ["1.3"]}', "model-a/linear/seed0/notes.json' has schema_version"),
        ("notes.json", "[" * 100_000, "model-a/linear/seed0/notes.json' is not valid JSON"),
        ("notes.json", "{", "model-a/linear/seed0/notes.json' is not valid JSON"),
        ("run.json", "{}", "model-a/linear/seed0/run.json' is not a run file of this version"),
    ],
)  # fmt: skip
def test_a_foreign_or_newer_file_is_named_and_left_out(two: Path, file: str, content: str, said: str) -> None:
    (two / "model-a" / "linear" / "seed0" / file).write_text(content)
    page = two / "page.html"
    assert main(["report", str(two), "--output", str(page), "-q"]) == 0
    text = Page(page.read_text()).text
    assert f"Left out: '{said}" in text
    assert "model-b" in text
    assert str(two) not in text


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_places_that_never_end_are_left_out(two: Path) -> None:
    folder = two / "model-a" / "linear" / "seed0"
    (folder / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.json")
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "folder.json").mkdir()
    history = folder / "history" / "ptbxl_super.json"
    history.unlink()
    history.symlink_to("/dev/zero")
    result = json.loads((folder / "ptbxl_super.json").read_text())
    result["predictions"]["file"] = "../../../../../../../../../../dev/zero"
    (folder / "outside.json").write_text(json.dumps(result))
    predictions = folder / result["predictions"]["file"]
    page = two / "page.html"
    assert main(["report", str(two), "--output", str(page), "-q"]) == 0
    text = Page(page.read_text()).text
    for name in ("zero", "pipe", "loop", "folder", "outside"):
        assert f"Left out: 'model-a/linear/seed0/{name}.json'" in text
    assert predictions.exists()


def test_a_report_of_nothing_that_can_be_read_says_why(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in two.rglob("run.json"):
        file.write_text("{}")
    assert main(["report", str(two), "--output", str(two / "page.html"), "-q"]) == 1
    assert capsys.readouterr().err.count("is not a run file of this version") == 2


def test_a_label_that_the_predictions_do_not_hold_leaves_its_result_out(two: Path) -> None:
    file = two / "model-a" / "linear" / "seed0" / "ptbxl_super.json"
    content = json.loads(file.read_text())
    content["per_label"][0]["label"] = "FOREIGN"
    file.write_text(json.dumps(content))
    page = report(two)
    assert "left out: it has scores of 'FOREIGN', of which its predictions know nothing" in page.text
    assert "model-b" in page.text


def test_the_page_is_whole_and_loads_nothing(two: Path) -> None:
    page = report(two)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "form"} & set(page.elements)
    assert ("content", POLICY) in page.attributes
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value is not None
            assert value.startswith(("#", "data:"))
    style = (two / "report.html").read_text().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_links_lead_to_parts_of_the_page(two: Path) -> None:
    page = report(two)
    targets = [value for name, value in page.attributes if name == "id"]
    links = [str(value)[1:] for name, value in page.attributes if name == "href"]
    assert links
    assert set(links) <= set(targets)
    assert len(targets) == len(set(targets))


def test_pictures_are_named_and_have_their_numbers_in_a_table(two: Path) -> None:
    content = (two / "report.html", report(two))[0].read_text()
    pictures = re.findall(r"<svg [^>]*role=\"img\"[^>]*>.{0,7}", content)
    assert len(pictures) >= 6
    assert all("aria-label=" in picture and picture.endswith("<title>") for picture in pictures)
    for caption in ("scores with intervals", "by sex and age", "Reliability of", "Training of"):
        assert re.search(f"<caption>[^<]*{caption}", content), caption


def test_the_head_says_what_was_run(two: Path) -> None:
    text = report(two).text
    for words in (
        "Research software, not a medical device",
        "model-a linear",
        "model-b frozen",
        "epochs=3",
        "2.9 M",
        "PTB-XL (ptb-xl)",
        "clean",
        "CC-BY-4.0",
        "torch 2.13.0",
        "95 % by record, that of the published reading from 60 resamples",
    ):
        assert words in text, words
    assert "Synthetic data" not in text


def test_no_folder_of_the_machine_is_in_the_page(two: Path) -> None:
    report(two)
    content = (two / "report.html").read_text()
    assert str(two) not in content
    assert "/private/archive" not in content


def test_models_in_folders_are_called_by_their_last_parts(tmp_path: Path) -> None:
    task = get_task("ptbxl_super")
    for model in ("/home/someone/a/encoder", "/home/someone/b/encoder", "org/name", "python:/home/someone/mine.py:Net"):
        write_folder(tmp_path / "results", task, model=model)
    page = report(tmp_path / "results")
    assert "/home/someone" not in (tmp_path / "results" / "report.html").read_text()
    for name in ("a/encoder linear", "b/encoder linear", "org/name linear", "mine.py:Net linear"):
        assert name in page.text


def test_the_best_and_its_ties_are_marked(two: Path) -> None:
    text = report(two).text
    assert "★ best" in text
    assert "Best point: model-b frozen. It differs from all others." in text
    write_folder(two, get_task("ptbxl_super"), shifted(predictions(), 0.6, seed=2), model="model-c")
    tied = report(two).text
    assert "☆ tied" in tied
    assert "Not distinguished from it" in tied
    assert "Pairs are resampled by patient (" in tied
    assert "of equal runs any two are distinguished on at most 5 % of tasks" in tied


def test_every_score_stands_with_its_interval(two: Path) -> None:
    text = report(two).text
    for run in find_runs([two]):
        for result in run.results.values():
            for estimate in result.metrics.values():
                ends = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
                assert f"{estimate.point:.3f}{ends}" in text


@pytest.mark.heavy
def test_intervals_of_an_earlier_method_are_said(two: Path) -> None:
    assert "earlier method" not in report(two).text
    write_folder(two, get_task("ptbxl_super"), model="model-c", statistics_version=1)
    assert "Those of 1 of 3 results were made by an earlier method." in report(two).text


def test_a_lone_run_has_no_rank(tmp_path: Path) -> None:
    write_folder(tmp_path, get_task("ptbxl_super"))
    text = report(tmp_path).text
    assert "★ best " not in text.replace("★ best point", "")
    assert "Best point" not in text


def test_failed_and_missing_results_stand_with_their_reason(two: Path) -> None:
    first, second = sorted(two.rglob("seed0/ptbxl_super.json"))
    write_result(first, failed("folder <b>of ptb-xl</b> is absent"))
    second.unlink()
    text = report(two).text
    assert "failed: folder <b>of ptb-xl</b> is absent" in text
    assert "interrupted before this task" in text


def test_synthetic_seen_and_deviations_are_said(two: Path) -> None:
    data = {
        "name": "ptb-xl",
        "fingerprint": "f" * 16,
        "records": {"train": 1, "validation": 10, "test": 40},
        "labels": {"published": 5, "scored": 5},
        "contamination": "seen",
    }
    path = next(two.rglob("model-a/linear/seed0/ptbxl_super.json"))
    content = json.loads(path.read_text())
    content |= {"data": data, "protocol": {"name": "paper", "deviations": {"synthetic": True, "labels": "4/5"}}}
    path.write_text(json.dumps(content))
    text = report(two).text
    assert "seen in pre-training : model-a" in text
    assert "Synthetic data." in text
    assert "synthetic=True, labels=4/5" in text
    data["contamination"] = "seen-train"
    path.write_text(json.dumps(content | {"data": data}))
    text = report(two).text
    assert "seen in pre-training (training folds only) : model-a" in text
    assert "training folds only = it read the training records of this dataset and not the test records" in text


def test_names_cannot_run_as_code(tmp_path: Path) -> None:
    description = tmp_path / "hostile.yaml"
    lines = (
        "name: hostile\nversion: 1\ntitle: '<img src=x onerror=alert(1)>'\ndescription: 'a & b'\n"
        "category: adult_interpretation\ndataset: ptb-xl\nrun: hostile\nlabel_column: label_all\n"
        "kind: multi_label_classification\nmetric: macro_auroc\nhigher_is_better: true\nresample_unit: record\n"
        f'citation: ours\nlabels: ["{HOSTILE}", "\\" onload=\\"alert(1)", NORM]\n'
    )
    description.write_text(lines, encoding="utf-8")
    task = read_task(description)
    found = with_people(predictions(task.labels, run="hostile"))
    for model in ("</style><b>m", 'n" onload="x'):
        write_folder(tmp_path / "results", task, found, model=model, mode="linear")
    page = report(tmp_path / "results", include=(description,))
    assert not {"script", "b onload"} & set(page.elements)
    assert "img" not in page.elements
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) >= 3
    assert "</style><b>m" in page.text


def test_errors_of_values_are_lower_is_better(tmp_path: Path) -> None:
    description = tmp_path / "values.yaml"
    description.write_text(
        "name: my_values\nversion: 1\ntitle: Values\ndescription: Age and height.\ncategory: patient_characteristics\n"
        "dataset: ward.yaml\nrun: my_values\nlabel_column: targets\nkind: regression\nmetric: mae\n"
        "higher_is_better: false\nresample_unit: record\ncitation: ours\nlabels: [age, height]\n",
        encoding="utf-8",
    )
    task = read_task(description).model_copy(update={"dataset": "ward"})
    good = regression()
    bad = regression()
    bad.y_prob[:] = bad.y_true + np.float32(2.0)
    write_folder(tmp_path / "results", task, good)
    write_folder(tmp_path / "results", task, bad, model="model-b")
    page = report(tmp_path / "results")  # the task file is not included: scores stand, comparison does not
    assert "MAE of z-scores (lower is better)" in page.text
    assert "pass its file by --include" in page.text
    assert "years" in page.text
    assert "this task predicts values" in page.text
    assert page.open == []


def test_changed_predictions_are_named_and_the_scores_stay(two: Path) -> None:
    path = next(two.rglob("model-a/**/*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    text = report(two).text
    assert "was changed after it was scored" in text
    assert "a comparison needs the predictions of all runs" in text
    assert "model-b frozen" in text


def test_ecgs_are_refused_in_one_sentence(two: Path) -> None:
    assert "No ECGs are shown: --data-root was not given." in report(two).text
    assert "No ECGs are shown: --examples 0." in report(two, examples=0).text


def test_the_same_results_give_the_same_bytes(two: Path) -> None:
    report(two)
    first = (two / "report.html").read_bytes()
    report(two)
    assert (two / "report.html").read_bytes() == first


@pytest.mark.heavy
def test_labels_are_limited_and_the_page_says_so(two: Path) -> None:
    page = report(two, labels=2)
    assert "The 3 labels with fewest positives are left out here" in page.text
    assert "left out here" not in report(two, labels=0).text
    assert all(label in report(two, labels=0).text for label in SUPER)


@pytest.mark.parametrize("changes", [{"examples": -1}, {"labels": -1}, {"resamples": 0}])
def test_numbers_that_mean_nothing_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"is -1: 0 or more|is 0: it must be at least 1"):
        ReportOptions(**changes)  # type: ignore[arg-type]


def test_the_verb_prints_file_and_size(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "page.html"
    assert main(["report", str(two), "--output", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "file": str(target),
        "bytes": target.stat().st_size,
        "runs": 2,
        "tasks": 1,
        "results": 2,
        "ecgs": 0,
        "analyses": 0,
    }
    size = f"This file: {target.stat().st_size / 1000:.0f} kB"
    assert size in target.read_text(encoding="utf-8")
    assert main(["report", str(two), "--output", str(target), "--tasks", "ptbxl_form"]) == 1
    assert "None of these 2 runs was asked for ptbxl_form" in capsys.readouterr().err
    assert main(["report", str(two / "nothing")]) == 1


@pytest.mark.heavy
def test_a_run_is_reported_with_the_ecgs_it_scored_most_wrongly(
    data_root: Path, data_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = RunOptions(
        models=("random:ecg-cpc-tiny",),
        tasks=("ptbxl_super",),
        modes=("linear",),
        data_root=str(data_root),
        cache_dir=data_cache,
        output=tmp_path / "results",
        device="cpu",
        protocol=protocol(epochs=1, batch_size=16, resamples=20),
    )
    evaluate(asked, quiet=True)
    target = tmp_path / "report.html"
    words = ["report", str(tmp_path / "results"), "--output", str(target), "--cache-dir", str(data_cache)]
    assert main([*words, "--data-root", str(data_root), "--examples", "2"]) == 0
    assert "1 run, 1 task, 1 result, 2 ECGs" in capsys.readouterr().out
    page = Page(target.read_text(encoding="utf-8"))
    pictures = [str(value) for name, value in page.attributes if name == "src"]
    assert len(pictures) == 2
    assert all(picture.startswith("data:image/png;base64,") and len(picture) < 150_000 for picture in pictures)
    assert any("25 mm/s, 10 mm/mV. PTB-XL, record" in str(value) for name, value in page.attributes if name == "alt")
    assert "SYNTHETIC" in str(page.attributes)

    from dataset_scripts.mock import write

    write("ptb-xl", tmp_path / "other" / "ptb-xl", records=120, seed=1)
    assert main([*words, "--data-root", str(tmp_path / "other")]) == 0
    assert "are not those that were scored" in Page(target.read_text(encoding="utf-8")).text


def test_data_that_may_not_be_passed_on_are_not_drawn(
    two: Path, monkeypatch: pytest.MonkeyPatch, data_root: Path
) -> None:
    from dataclasses import replace

    from eval_harness.report import page
    from eval_harness.tasks.registry import datasets

    known = datasets()
    closed = {name: replace(dataset, redistribution=False) for name, dataset in known.items()}
    monkeypatch.setattr(page, "known_datasets", lambda include: closed)
    found = report(two, data_root=str(data_root))
    assert "does not allow passing on its records" in found.text
    assert "img" not in found.elements
