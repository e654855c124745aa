"""Every command of README.md and docs/ runs as printed, without a network; what cannot run here stands in NOT_RUN."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from huggingface_hub import HfApi

from ecg_hub import catalog
from ecg_hub.home import home
from ecg_hub.leads import LEADS
from ecg_hub.names import model_folder
from eval_harness.cli.eval.main import main as ecg_eval
from eval_harness.cli.hub.main import build_parser
from eval_harness.cli.hub.main import main as ecg_hub
from tests.support.analyses import write_all
from tests.support.board import made_up, write_board, write_scored
from tests.support.checkpoints import GOLDEN, save_tiny
from tests.support.fill import published_state, read_case
from tests.support.hospital import strip
from tests.support.hospital_binary import write_leads_ishne, write_leads_scp
from tests.support.hospital_xml import write_leads_aecg
from tests.support.hub import TestHub, hub  # noqa: F401 - a fixture
from tests.support.pages import CARDS, PAGES, ROOT, Command, World, commands, fences, shrunk
from tests.support.records import write_record

# What a command that is not ours begins with, and why it is checked instead of run (DRY says how).
NOT_RUN = {
    "make": "calls the tests themselves; `make -n` says what it would do",
    "pip": "needs a package index; its arguments are checked",
    "python": "times the machine for minutes; script and options are looked up, tests/test_benchmarks*.py run parts",
    "pytest": "calls the tests themselves; the files are looked up",
    "ruff": "`make check` runs it",
    "mutmut": "needs hours of `make mutation` before it; the function that it names is looked up",
    "sudo": "changes the machine; the files that it copies are looked up, our own commands behind it are parsed",
    "docker": "needs a container runtime; what the file copies and starts is checked",
    "curl": "asks a hub that runs as a service; tests/ecg_hub/server asks for the same",
    "wget": "asks PhysioNet for a password; the address is the dataset's page",
}
# What an administrator's system has.
SYSTEM = ("cp", "du", "install", "mv", "python3", "systemctl", "useradd")
# Of a shell, not of a program.
SHELL = ("export", ".")
# A package of somebody else's, which is not here; tests/contracts/test_packages.py scores one end to end.
THEIRS = "docs/contributing/package.md"
# Blocks that belong to another machine: a scheduler of jobs, a service manager, a proxy.
ELSEWHERE = {
    "docs/running.md": "SBATCH",
    "docs/scale.md": "SBATCH",
    "docs/pretraining.md": "SBATCH",
    "docs/operating.md": "nginx",
}


# --- what there is, fast --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    for command in commands(page):
        first = first_of(command)
        assert command.ours or first in NOT_RUN or first in SHELL, f"{command.text}: no test runs it"


def test_no_reason_is_left_over() -> None:
    printed = {first_of(command) for page in PAGES for command in commands(page)}
    assert set(NOT_RUN) <= printed
    assert set(NOT_RUN) == set(DRY)
    for page, word in ELSEWHERE.items():
        assert word in (ROOT / page).read_text()


def test_unit_files_start_what_there_is() -> None:
    started = []
    for file in (ROOT / "docs" / "operating").glob("*.service"):
        (line,) = re.findall(r"^ExecStart=/opt/ecg-hub/bin/ecg-hub (.+)$", file.read_text(), flags=re.MULTILINE)
        started.append(build_parser().parse_args(line.replace(" $HUB_OPTIONS", "").split()))
    assert {(bool(args.backup), str(args.root)) for args in started} == {
        (True, "/var/lib/ecg-hub"),
        (False, "/var/lib/ecg-hub"),
    }


def test_scripts_of_other_machines_are_whole() -> None:
    for page in PAGES:
        for script in fences(page, "bash"):
            assert str(page.relative_to(ROOT)) in ELSEWHERE, f"{page.name}: a script that no test knows"
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)
            for line in re.findall(r"^ecg-(?:eval|hub)(?:.*\\\n)*.*", script, flags=re.MULTILINE):
                assert Command(page.name, line.replace("\\\n", " ")).ours


# --- what is not ours -----------------------------------------------------------------------------------------------


def make(words: list[str]) -> None:
    subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)


def pip(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[1:4] == ["install", "-c", "constraints.txt"], words
    found = re.fullmatch(r"\.(?:\[(\w+)\])?", words[4])
    assert found, words
    assert found[1] is None or found[1] in extras


def python(words: list[str]) -> None:
    words = words[words.index("python") :]
    file = ROOT / words[1]
    if words[1] == "-m":
        stem = words[2].replace(".", "/")
        file = next(path for path in (ROOT / f"{stem}/__main__.py", ROOT / f"{stem}.py") if path.is_file())
    source = file.read_text()
    for word in words[2:]:
        assert not word.startswith("--") or f'"{word}"' in source, f"{word} is no option of {file.name}"


def pytest_(words: list[str]) -> None:
    known = {"<alias>": "ecg-cpc", "<name>": "ecg_cpc"}
    for word in words:
        for key, value in known.items():
            word = word.replace(key, value)
        assert "/" not in word or (ROOT / word).exists(), word


def wget(words: list[str]) -> None:
    assert re.fullmatch(r"https://physionet\.org/files/[\w.-]+/[\d.]+/", words[-1])


def ruff(words: list[str]) -> None:
    extras = " ".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"])
    for part in " ".join(words).split(" && "):
        assert part.split()[0] in extras


def sudo(words: list[str]) -> None:
    words = words[3:] if words[1] == "-u" else words[1:]
    for word in words:
        assert "docs/operating/" not in word or (ROOT / word).is_file(), word
    program = words[0].removeprefix("/opt/ecg-hub/bin/")
    assert program in ("ecg-hub", "pip", *SYSTEM), program
    if program == "ecg-hub":
        build_parser().parse_args(words[1:])
    if program == "pip":
        pip(["pip", *(word for word in words[1:] if word != "--upgrade")])


def docker(words: list[str]) -> None:
    folder = ROOT / "docs" / "operating" / "Containerfile"
    lines = folder.read_text().replace("\\\n", " ").splitlines()
    assert words[1] in ("build", "run")
    assert f"docs/operating/{folder.name}" in words or "ecg-hub" in words
    for line in (line.split() for line in lines if line.startswith("COPY ")):
        assert all((ROOT / source).exists() for source in line[1:-1]), line
    (entry,) = [json.loads(line.removeprefix("ENTRYPOINT ")) for line in lines if line.startswith("ENTRYPOINT ")]
    build_parser().parse_args(entry[1:])
    if "--entrypoint" in words:  # then the image, then the words of its program
        build_parser().parse_args(words[words.index("--entrypoint") + 3 :])


def curl(words: list[str]) -> None:
    assert words[-1].endswith(":8000/healthz")


def mutmut(words: list[str]) -> None:
    module, _, change = words[-1].rpartition(".")
    function = re.fullmatch(r"x_(\w+)__mutmut_\d+", change)
    assert function
    assert f"def {function[1]}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()


DRY: dict[str, Callable[[list[str]], None]] = {
    "make": make, "pip": pip, "python": python, "pytest": pytest_, "ruff": ruff, "mutmut": mutmut, "wget": wget,
    "sudo": sudo, "docker": docker, "curl": curl,
}  # fmt: skip


def first_of(command: Command) -> str:
    return next(word for word in command.words if not re.match(r"[A-Z_]+=", word))


def others() -> list[Command]:
    pages = [page for page in PAGES if page != ROOT / THEIRS]
    found = [command for page in pages for command in commands(page) if first_of(command) in NOT_RUN]
    return list({command.text: command for command in found}.values())


@pytest.mark.parametrize("command", others(), ids=lambda command: command.text[:60])
def test_what_is_not_run_is_checked_in_another_way(command: Command) -> None:
    DRY[first_of(command)](command.words)


# --- ours: page by page, in order, in one folder -------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture
def world(root: Path, tmp_path: Path, hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> World:  # noqa: F811
    """Data and models are shared by all pages, the rest is the page's own; $HF_ENDPOINT is a hub on this machine."""
    monkeypatch.setenv("ECG_HUB_HOME", str(root / "home"))
    monkeypatch.setenv("ECG_HUB_OFFLINE", "1")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return World(root, here)


def run(world: World, command: Command) -> None:
    """Run one command of ours; fails with what it printed."""
    words = shrunk(command.ours or [])
    words = [world.place(re.sub("<alias>", "ecg-cpc", word)) for word in words]
    if words[1] == "serve" and "--new-token" not in words:
        return serve(words)
    program = {"ecg-eval": ecg_eval, "ecg-hub": ecg_hub}[words[0]]
    # A mock tree is not the release that its folder is compared with, and the command says so.
    expected = 1 if words[1:3] == ["data", "verify"] else 0
    code = program(words[1:])
    # Without a network most weights are not here, which a dry run says in its plan and by its exit code.
    assert code == expected or (code == 1 and "--dry-run" in words), shlex.join(words)
    return None


def serve(words: list[str]) -> None:
    """Start a server as printed, but for its port, and stop it in good order."""
    code = "import sys; from eval_harness.cli.hub.main import main; sys.exit(main(sys.argv[1:]))"
    running = subprocess.Popen(
        [sys.executable, "-c", code, *words[1:], "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert running.stdout is not None
    try:
        greeting = running.stdout.readline()
        assert greeting.startswith("serving "), running.stderr and running.stderr.read()
        with httpx2.Client(transport=httpx2.HTTPTransport(retries=5)) as client:
            assert client.get(f"{greeting.split()[-1]}/healthz").text == "ok\n"
    finally:
        running.terminate()
        running.communicate()
    assert running.returncode == 0


def scored(*folders: str) -> None:
    """Results of all records, as runs leave them, so that they can be pushed."""
    for folder in folders:
        model, mode = folder.split("/")[-2:]
        write_scored(Path(folder), model.replace("__", ":"), mode=mode)


def trained(model: str, mode: str = "linear", task: str = "ptbxl_super", *more: str) -> None:
    words = ["run", "--model", model, "--tasks", task, "--mode", mode, "--save-model", "--data-root", "mock", *more]
    assert ecg_eval(shrunk(["ecg-eval", *words])[1:]) == 0


def authors_file(alias: str, file: Path) -> None:
    """Write a checkpoint in the authors' names, filled by rule."""
    torch.save(published_state(*read_case(GOLDEN / catalog.get(alias).model_type)), file)


def readme(world: World) -> None:
    for name in ("record1", "record2"):
        write_record(Path(name), np.random.default_rng(0).normal(0, 0.2, (12, 5000)), 500, LEADS)
    authors_file("st-mem", Path("st_mem_vit_base_full.pth"))
    shutil.rmtree(model_folder("st-mem"), ignore_errors=True)
    leaderboard_repository(world.here / "there")


def leaderboard_repository(folder: Path) -> None:
    """ORG/ecg-leaderboard on the hub, with one row."""
    write_board(folder, [made_up("ecg-cpc", "ptbxl_super")])
    api = HfApi()
    api.create_repo("ORG/ecg-leaderboard", repo_type="dataset", exist_ok=True)
    api.upload_folder(repo_id="ORG/ecg-leaderboard", repo_type="dataset", folder_path=folder)


def models(world: World) -> None:
    write_record(Path("record1"), np.random.default_rng(0).normal(0, 0.2, (12, 5000)), 500, LEADS)
    trained("ecg-cpc", "finetune")
    save_tiny("ecg-cpc", world.here / "my-model")
    api = HfApi()
    api.create_repo("ORG/my-model")
    api.upload_folder(repo_id="ORG/my-model", folder_path=save_tiny("ecg-cpc", world.here / "old", hidden_size=16))


def serving(world: World) -> None:
    (world.here / "build" / "site").mkdir(parents=True)
    (world.here / "build" / "site" / "index.html").write_text("<!doctype html>")
    leaderboard_repository(world.here / "board")
    api = HfApi()
    api.create_tag("ORG/ecg-leaderboard", repo_type="dataset", tag="v1.0")
    for name in ("ORG/ecg-model", "wanglab/ecg-fm"):
        api.create_repo(name)
        api.upload_folder(repo_id=name, folder_path=save_tiny("ecg-cpc", world.here / name))


def own_data(world: World) -> None:
    """The page's own Python block writes archive and task."""
    for text in fences(ROOT / "docs" / "your_own_data.md", "python"):
        exec(compile(text, "your_own_data.md", "exec"), {"__name__": "page"})


def small_networks(world: World) -> None:
    """The page's own Python block makes them."""
    for text in fences(ROOT / "docs" / "evidence.md", "python"):
        exec(compile(text, "evidence.md", "exec"), {"__name__": "page"})


def own_archive(world: World) -> None:
    """The same archive under the name of another page, with records of ten seconds, as pre-training cuts them."""
    own_data(world)
    Path("my_archive.yaml").write_text(Path("my_hospital.yaml").read_text())
    for file in Path("ecg").glob("*.csv"):
        head, *rows = file.read_text().splitlines()
        file.write_text("\n".join([head, *rows, *rows]) + "\n")


def own_model(world: World) -> None:
    Path("my_encoder.py").write_text(fences(ROOT / "docs" / "your_own_model.md", "python")[0])
    save_tiny("ecg-cpc", world.here / "my_model")


def own_task(world: World) -> None:
    world.dataset("ptb-xl")
    Path("my_infarction.yaml").write_text(fences(ROOT / "docs" / "contributing" / "task.md", "yaml")[0])


def studies(world: World) -> None:
    for name, dataset in (("others", "ningbo"), ("study", "ptb-xl")):
        world.dataset(dataset)
        (world.here / name).symlink_to(world.data)


def reports(world: World) -> None:
    scored("results/ecg-cpc/linear", "results/merl/linear")
    for name in ("ablation", "label_efficiency", "cka"):
        Path(name).mkdir()
        write_all(Path(name))


def hospital_files(world: World) -> None:
    """A file of each of three formats, under the names of the page."""
    for name, write in (
        ("exports/0016.xml", write_leads_aecg),
        ("holter/night.ecg", write_leads_ishne),
        ("cart/0017.scp", write_leads_scp),
    ):
        Path(name).parent.mkdir()
        Path(name).write_bytes(write(strip(5000), 500, LEADS))


def default_folder(world: World) -> None:
    """Where `data prepare NAME --download` puts files without --data-dir."""
    folder = home() / "data" / "ptb-xl"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        folder.symlink_to(world.dataset("ptb-xl"))


PREPARE: dict[str, Callable[[World], None]] = {
    "README.md": readme,
    "docs/contributing/checkpoint.md": lambda world: authors_file("ecg-cpc", Path("other.ckpt")),
    "docs/contributing/task.md": own_task,
    "docs/datasets.md": default_folder,
    "docs/evidence.md": small_networks,
    "docs/formats.md": hospital_files,
    "docs/leaderboard.md": lambda world: scored("results/ecg-cpc/linear"),
    "docs/models.md": models,
    "docs/post_training.md": studies,
    "docs/pretraining.md": own_archive,
    "docs/pretraining_data.md": own_data,
    "docs/report.md": reports,
    "docs/results.md": lambda world: scored("results/ecg-cpc/linear"),
    "docs/running.md": default_folder,
    "docs/serve.md": serving,
    "docs/statistics.md": lambda world: scored("results/ecg-cpc/linear", "results/merl/linear"),
    "docs/your_own_data.md": own_data,
    "docs/your_own_model.md": own_model,
}


# Cards come from one template: what all print parses (tests/test_docs_run.py), what one prints runs.
RUN = [
    page
    for page in [*PAGES, ROOT / "ecg_hub" / "models" / "ecg_cpc" / "card.md"]
    if page != ROOT / THEIRS and any(command.ours for command in commands(page))
]


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # a handful of records: undefined scores, which a reader sees as well
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run(page: Path, world: World) -> None:
    ours = [command for command in commands(page) if command.ours]
    world.furnish("\n".join(command.text for command in ours))
    if page.parent.name == "datasets":
        (world.here / "DIR").symlink_to(world.dataset(page.stem))
    PREPARE.get(str(page.relative_to(ROOT)), lambda world: None)(world)
    for command in ours:
        run(world, command)
