"""The page and its JSON: everything is in them, and nothing of a name becomes markup."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
import yaml

from eval_harness.cli.eval.main import main
from eval_harness.leaderboard import phrases
from eval_harness.leaderboard.site import Site, build
from eval_harness.results.contamination import State
from tests.support.board import MODELS, counted, made_up, write_board, write_full, write_scored


class Reader(HTMLParser):
    """Elements, and addresses of everything that is loaded or linked."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [str(found["href"])] if tag == "a" else []
        self.sources += [str(found[name]) for name in ("src", "href") if name in found and tag != "a"]
        assert not any(name.startswith("on") for name in found)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("leaderboard")
    write_full(root / "board")
    return build(root / "board", root / "page")


@pytest.mark.heavy
def test_everything_is_in_one_file(site: Site) -> None:
    found = read(site.folder / "index.html")
    assert found.sources == []
    assert found.tags.count("table") == 4
    assert found.tags.count("script") == 3


def test_every_score_leads_to_its_file(site: Site) -> None:
    links = [link for link in read(site.folder / "index.html").links if link.startswith("results/")]
    assert len(set(links)) == site.entries
    assert all((site.folder / link.replace("%2B", "+")).is_file() for link in links)


def test_gaps_are_gaps(site: Site) -> None:
    content = json.loads((site.folder / "leaderboard.json").read_text(encoding="utf-8"))
    row = next(row for row in content["rows"] if row["model"] == MODELS[3] and row["mode"] == "frozen")
    assert set(row["scores"]) < set(counted())
    assert "all" not in row["standings"]
    complete = next(row for row in content["rows"] if row["model"] == MODELS[0] and row["mode"] == "frozen")
    assert complete["standings"]["all"]["place"] >= 1


def test_the_json_says_what_the_page_says(site: Site) -> None:
    content = json.loads((site.folder / "leaderboard.json").read_text(encoding="utf-8"))
    own = [row for row in content["rows"] if not row["published"]]
    assert sum(len(row["scores"]) for row in own) == site.entries
    score = next(row for row in own if row["model"] == "ecg-fm" and row["mode"] == "linear")["scores"]["ptbxl_super"]
    assert (score["state"], score["contamination"], score["ties"]) == ("self-reported", "seen", None)
    published = [row for row in content["rows"] if row["published"]]
    assert sum(len(row["scores"]) for row in published) == 728
    st_mem = next(row for row in published if row["model"] == "st-mem" and row["mode"] == "finetune")
    assert st_mem["scores"]["ptb"]["flags"][0]["severity"] == "wrong"


def test_a_static_space(site: Site) -> None:
    front = yaml.safe_load((site.folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (front["sdk"], front["app_file"]) == ("static", "index.html")


def test_building_again_gives_the_same(site: Site, tmp_path: Path) -> None:
    again = build(site.folder.parent / "board", tmp_path / "page")
    for name in site.files:
        assert (again.folder / name).read_bytes() == (site.folder / name).read_bytes()


def test_words_that_must_be_there(site: Site) -> None:
    text = re.sub(r"<[^>]+>", " ", (site.folder / "index.html").read_text(encoding="utf-8"))
    for needed in ("not a medical device", "self-reported", "overlapping intervals are no proof", "published",
                   "of equal models any two are distinguished on at most 5 % of tasks"):  # fmt: skip
        assert needed.lower() in text.lower()


def test_training_folds_alone_have_a_mark_of_their_own(tmp_path: Path) -> None:
    about = {"pretraining_corpora": ["ptb-xl"], "pretraining_train_only": {"ptb-xl": "f" * 16}}
    whole = made_up("ward/ours", "ptbxl_super")
    data = whole.data.model_copy(update={"contamination": "seen-train"})  # type: ignore[union-attr]
    result = whole.model_copy(update={"model": whole.model.model_copy(update=about), "data": data})
    write_board(tmp_path / "board", [result])
    site = build(tmp_path / "board", tmp_path / "page")
    assert site.entries == 1
    content = json.loads((site.folder / "leaderboard.json").read_text(encoding="utf-8"))
    (row,) = [row for row in content["rows"] if not row["published"]]
    assert row["scores"]["ptbxl_super"]["contamination"] == "seen-train"
    text = (site.folder / "index.html").read_text(encoding="utf-8")
    assert "not in the declared pre-training data, which holds the training records of its dataset" in text
    assert 'aria-hidden="true">○~</i>' in text
    assert "Seen, training folds only: " in text


def test_every_state_has_words_and_all_but_clean_a_mark() -> None:
    states = set(get_args(State))
    assert set(phrases.CONTAMINATION) == states
    assert {state for state in states if state in phrases.MARKS} == states - {"clean"}
    assert len({phrases.MARKS[state][0] for state in states - {"clean"}}) == 3


EVIL = '"><img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>'


def write_evil(folder: Path) -> None:
    """Markup everywhere that a stranger can write: title, licence, settings, deviations, names of folders."""
    deviations = {"epochs": EVIL, "note": EVIL}
    results = [made_up("ecg-cpc", "ptb", protocol={"name": "paper", "deviations": deviations}), made_up("a/b", "ptb")]
    write_board(folder, results)
    for path in folder.glob("results/*/*/model_meta.json"):
        meta = json.loads(path.read_text(encoding="utf-8"))
        meta |= {"title": EVIL, "licence": {"name": EVIL}, "settings": {EVIL: EVIL}}
        path.write_text(json.dumps(meta), encoding="utf-8")
    (folder / "results" / "<script>window.hacked=1<!--" / "<img src=x onerror=window.hacked=1>").mkdir(parents=True)


def test_nothing_of_a_name_becomes_markup(tmp_path: Path) -> None:
    write_evil(tmp_path / "board")
    made = build(tmp_path / "board", tmp_path / "page", title=EVIL)
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert made.entries == 2
    assert "<img" not in text
    assert "<script>window" not in text
    assert text.count("<script") == 3
    assert read(tmp_path / "page" / "index.html").tags.count("script") == 3


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", 'http://x" onclick="y', "//x"])
def test_links_of_strangers_are_web_addresses(tmp_path: Path, link: str) -> None:
    write_board(tmp_path / "board", [made_up("ecg-cpc", "ptb")])
    (path,) = (tmp_path / "board").glob("results/*/*/model_meta.json")
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "paper": link}), encoding="utf-8")
    assert build(tmp_path / "board", tmp_path / "page").entries == 0


def test_refused_files_are_listed(tmp_path: Path) -> None:
    write_board(tmp_path / "board", [made_up("ecg-cpc", "ptb"), made_up("ecg-cpc", "sph")])
    next((tmp_path / "board").glob("results/*/*/linear/ptb.json")).write_text("{}")
    build(tmp_path / "board", tmp_path / "page")
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "1 file is refused" in text
    assert "ptb.json" in text


def test_an_empty_board_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "board" / "results").mkdir(parents=True)
    assert build(tmp_path / "board", tmp_path / "page").entries == 0
    assert build(tmp_path / "board", tmp_path / "bare", published=False).entries == 0


def test_a_page_in_the_folder_links_without_copies(tmp_path: Path) -> None:
    write_board(tmp_path, [made_up("ecg-cpc", "ptb")])
    before = sorted(tmp_path.rglob("*.json"))
    build(tmp_path, tmp_path, published=False)
    assert sorted(tmp_path.rglob("*.json")) == sorted([*before, tmp_path / "leaderboard.json"])
    (link,) = [found for found in read(tmp_path / "index.html").links if "results/" in found]
    assert (tmp_path / link).is_file()


@pytest.mark.heavy
def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_scored(tmp_path / "run", mock=True)
    push = ["push", "--results", str(run), "--folder", str(tmp_path / "board")]
    assert main(push) == 1
    assert "--allow-synthetic" in capsys.readouterr().err
    assert main([*push, "--allow-synthetic", "--with-predictions"]) == 0
    assert "computed again: all equal" in capsys.readouterr().out
    make = ["leaderboard", "--folder", str(tmp_path / "board"), "--output", str(tmp_path / "page"), "--json"]
    assert main(make) == 0
    assert json.loads(capsys.readouterr().out)["recomputed"] == 1
    assert "of simulated data" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    next((tmp_path / "board").glob("results/*/*/linear/*.json")).write_text("{}")
    assert main(["leaderboard", "--folder", str(tmp_path / "board"), "--check"]) == 1
    assert "refused results/" in capsys.readouterr().out


def test_a_page_needs_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--folder", str(tmp_path)]) == 1
    assert "--output" in capsys.readouterr().err


def test_the_script_is_sound() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    from importlib.resources import files

    script = files("eval_harness.leaderboard") / "assets" / "page.js"
    done = subprocess.run([node, "--check", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.heavy
def test_ten_thousand_entries_are_built(tmp_path: Path) -> None:
    models = [f"lab-{number}/model-{number}" for number in range(129)]
    modes = ("linear", "frozen", "finetune")
    write_board(tmp_path / "board", [made_up(m, t, mode) for m in models for mode in modes for t in counted()])
    made = build(tmp_path / "board", tmp_path / "page")
    assert made.entries == 10_062
