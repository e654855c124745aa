"""No test depends on the machine: caches, tokens, hub, settings and folders are the tests' own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import matplotlib
import platformdirs
import pytest
from huggingface_hub import constants

from tests.conftest import HOME, ROOT
from tests.support.models import tiny
from tests.support.surroundings import KEPT, surroundings

USERS = {
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HF_TOKEN": "hf_of-the-user",
    "HUGGING_FACE_HUB_TOKEN": "hf_of-the-user",
    "HF_HUB_OFFLINE": "0",
    "ECG_DATA_ROOT": "/nowhere/data",
    "ECG_HUB_TRACEBACK": "1",
    "ECG_HUB_MAX_RECORD_MB": "0.001",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "FORCE_COLOR": "1",
    "COLUMNS": "40",
    "TRANSFORMERS_VERBOSITY": "debug",
    "MPLBACKEND": "no-such-backend",
}
SENSITIVE = (
    "tests/ecg_hub/modeling/test_auto.py",
    "tests/ecg_hub/test_names.py",
    "tests/eval_harness/cli/test_run_options.py",
    "tests/eval_harness/cli/test_hub_cli.py::test_errors_are_one_message",
    "tests/test_surroundings.py::test_every_home_is_the_tests_own",
)


def test_every_home_is_the_tests_own() -> None:
    home = Path(HOME.name).resolve()
    places = (
        Path.home(),
        constants.HF_HOME,
        constants.HF_HUB_CACHE,
        constants.HF_TOKEN_PATH,
        platformdirs.user_cache_dir("ecg_hub"),
        platformdirs.user_config_dir("ecg_hub"),
        matplotlib.get_configdir(),
        matplotlib.get_cachedir(),
    )
    assert [str(place) for place in places if not Path(place).resolve().is_relative_to(home)] == []
    assert huggingface_hub.get_token() is None
    assert constants.ENDPOINT == "https://huggingface.co"
    assert constants.is_offline_mode()


def test_what_concerns_the_user_does_not_come_in(tmp_path: Path) -> None:
    kept = {"PATH": "/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", **dict.fromkeys(KEPT, "/tmp/pictures")}
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "HF_HOME", "ECG_HUB_HOME", "MPLCONFIGDIR"), "/home/user/own")
    caches = dict.fromkeys(("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_ASSETS_CACHE", "TRANSFORMERS_CACHE"), "/home/user")
    own = surroundings({**kept, **USERS, **homes, **caches}, tmp_path)
    assert {name: own[name] for name in kept} == kept
    assert [name for name, value in own.items() if value.startswith(("/home/user", "hf_of"))] == []
    assert {name for name in USERS if name in own} == {"HF_HUB_OFFLINE"}
    assert own["HF_HUB_OFFLINE"] == "1"
    assert all(Path(own[name]).is_relative_to(tmp_path) for name in homes)


def test_they_come_too_late_once_a_library_has_read_its_settings() -> None:
    code = "import huggingface_hub\nfrom tests.support.surroundings import enter\nenter()"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "huggingface_hub imported before the tests have surroundings" in found.stderr


@pytest.fixture
def polluted(tmp_path: Path) -> Path:
    """The home of a user with a model `ecg-cpc` in the cache, a token, and settings that matplotlib cannot read."""
    home = tmp_path / "user"
    repository = home / ".cache" / "huggingface" / "hub" / "models--ecg-cpc"
    commit = "0" * 40
    tiny("ecg-cpc").save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (home / ".cache" / "huggingface" / "token").write_text("hf_of-the-user")
    for folder in (home / ".config" / "matplotlib", home / ".matplotlib"):
        folder.mkdir(parents=True)
        (folder / "matplotlibrc").write_text("no.such.key: 1\nsavefig.dpi: nonsense\n")
    (home / ".netrc").write_text("machine huggingface.co login user password hf_of-the-user\n")
    return home


@pytest.mark.heavy
def test_under_a_polluted_home(polluted: Path) -> None:
    """The tests that fail where the user's home reaches them pass under one."""
    mine = ("HF_", "XDG_", "ECG_", "MPL", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    environment = {**kept, **USERS, "HOME": str(polluted), "USERPROFILE": str(polluted), "TMPDIR": str(polluted)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(polluted / "tests")]
    found = subprocess.run([*command, *SENSITIVE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-3000:]
    assert "skipped" not in found.stdout
    assert list(polluted.glob("ecg-hub-tests-*")) == [], "the tests' own folder stays behind"
