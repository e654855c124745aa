"""Draws the pictures of docs/gallery.md: `python docs/site/pictures.py` (minutes; needs chromium and the extra test).

Everything is computed here, from random weights and simulated records, by the commands that the gallery names.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "pictures"
sys.path.insert(0, str(HERE.parents[1]))

from eval_harness.cli.eval.main import main as ecg_eval  # noqa: E402
from eval_harness.cli.hub.main import main as ecg_hub  # noqa: E402
from tests.support.chromium import Browser, browser  # noqa: E402

WIDTH, HEIGHT = 1100, 760
QUALITY = 80
MODELS = "random:ecg-cpc-tiny,random:merl-tiny,random:s4-tiny,trivial"
SCORE = ["--data-root", "mock", "--mode", "linear", "--protocol", "fast", "--device", "cpu"]


def save(picture: Image.Image, name: str, width: int = WIDTH) -> None:
    """Write one picture, no wider than the text of a page."""
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.convert("RGB").save(TARGET / f"{name}.webp", quality=QUALITY, method=6)


def compute() -> None:
    """Run the commands in the current folder."""
    for words in (
        ["--model", MODELS, "--tasks", "ptbxl_super,ptbxl_rhythm", "--epochs", "12", *SCORE],
        ["report", "results", "--data-root", "mock", "--output", "report.html"],
        ["push", "--results", "results", "--folder", "board", "--allow-synthetic"],
        ["leaderboard", "--folder", "board", "--output", "page"],
        ["label-efficiency", "--model", "random:ecg-cpc-tiny", "--baseline", "random:merl-tiny", *SCORE,
         "--tasks", "ptbxl_super", "--epochs", "6", "--fractions", "1,1/2,1/4,1/8", "--output", "efficiency"],
        ["cka", "--model", "random:ecg-cpc-tiny,random:merl-tiny,random:st-mem-tiny", "--dataset", "ptb-xl",
         "--data-root", "mock", "--records", "120", "--output", "cka"],
    ):  # fmt: skip
        if ecg_eval(words) != 0:
            raise SystemExit(f"ecg-eval {' '.join(words)} failed")
    for words in (
        ["pretrain", "--model", "ecg-cpc-tiny", "--data", "ptb-xl", "--data-root", "mock", "--steps", "120",
         "--batch-size", "16", "--log-every", "4", "--output", "trial"],
        ["data", "plot", "ptb-xl", "1", "--mock", "--output", "record.png"],
    ):  # fmt: skip
        if ecg_hub(words) != 0:
            raise SystemExit(f"ecg-hub {' '.join(words)} failed")


def shoot(on: Browser, page: Path, name: str, part: str = "") -> None:
    """Take a picture of what a reader sees of a page, from the element `part` on."""
    on.open(page)
    if part:
        on.run(f"document.querySelector({part!r}).scrollIntoView()")
    save(Image.open(io.BytesIO(on.page.screenshot())), name)


def draw(profile: Path) -> None:
    """Turn what `compute` left in the current folder into pictures."""
    with browser(profile) as one:
        one.size(WIDTH, HEIGHT)
        shoot(one, Path("report.html"), "report")
        shoot(one, Path("report.html"), "report_scores", "#ptbxl_super")
        shoot(one, Path("page/index.html"), "leaderboard")
    for folder, name in (("efficiency", "label_efficiency"), ("cka", "cka"), ("trial", "curves")):
        save(Image.open(sorted(Path(folder).rglob("*.png"))[0]), name)
    save(Image.open("record.png"), "record")


def main() -> None:
    """Draw all pictures."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        os.environ["ECG_HUB_HOME"] = str(Path(scratch) / "home")
        compute()
        draw(Path(scratch) / "profile")


if __name__ == "__main__":
    main()
