"""What one GPU does: forward passes, steps of fine-tuning, and one whole run of every kind, within ten minutes.

    python benchmarks/gpu.py [NAME ...] [--data-root FOLDER] [--compile NAME ...] [--output FILE.json]
    python benchmarks/gpu.py ecg-cpc-tiny --device cpu --batch 4 --records 64         # tries the script itself

Every model has seeded random weights at full size and takes noise of the length that the preset `benchmark` feeds.
For each: whether the device gives the features of the CPU (two windows, float32, TF32 off), windows per second of a
forward pass in evaluation in float32, in bfloat16 autocast and, for the models of `--compile`, in bfloat16 through
torch.compile; milliseconds of a step of fine-tuning (forward, loss of 71 labels, backward, AdamW) in both precisions;
and the most memory that was allocated. Times are wall time between synchronisations, the least of the repeats.
Then `ecg-eval` fine-tunes and scores the first model on PTB-XL (simulated without `--data-root`). A model that fails
or does not fit is a row with its reason. When `--minutes` are used up, what is left is named and not begun.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from models import encoder
from torch import Tensor

from ecg_hub import catalog
from eval_harness.config.protocol import protocol
from eval_harness.models.adapting import adapt, parameter_groups

LABELS = [str(number) for number in range(71)]
COMPILED = ["ecg-cpc", "ecg-founder", "st-mem"]
AGREES = 1e-3
"""Of the largest feature: float32 sums of another order, on networks up to 24 layers deep."""
COLUMNS = (
    "model",
    "batch",
    "differs from CPU",
    "float32",
    "bfloat16",
    "compiled",
    "step float32",
    "step bfloat16",
    "MB",
)


def least_seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Least wall time of a call, after one that does not count."""
    least = float("inf")
    for round_ in range(repeats + 1):
        synchronize(device)
        started = time.perf_counter()
        call()
        synchronize(device)
        if round_:
            least = min(least, time.perf_counter() - started)
    return least


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def windows(model: Any, batch: int) -> Tensor:
    """Noise in the form that a model reads."""
    config = model.config
    return 0.3 * torch.randn(batch, len(config.lead_names), config.samples, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def forward(name: str, device: torch.device, batch: int, repeats: int, compiled: bool) -> dict[str, Any]:
    """Windows per second in each precision, and how far the features are from those of the CPU."""
    model = encoder(name)
    few = windows(model, 2)
    expected = model(few).last_hidden_state
    model = model.to(device)
    found = model(few.to(device)).last_hidden_state.cpu()
    row: dict[str, Any] = {"difference": float((found - expected).abs().max() / expected.abs().max())}
    many = windows(model, batch).to(device)
    row["float32"] = batch / least_seconds(lambda: model(many), device, repeats)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        row["bfloat16"] = batch / least_seconds(lambda: model(many), device, repeats)
        if compiled:
            fast: Any = torch.compile(model)
            row["compiled"] = batch / least_seconds(lambda: fast(many), device, repeats)
    return row


def steps(name: str, device: torch.device, batch: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of a step of fine-tuning in each precision."""
    numbers = protocol("paper")
    model = adapt(encoder(name), "finetune", LABELS, "multi_label_classification", numbers, len(LABELS))
    model = model.to(device).train()
    groups = parameter_groups(model, "finetune", numbers)
    optimizer = torch.optim.AdamW(groups, weight_decay=numbers.weight_decay, fused=True)
    x = windows(model.encoder, batch).to(device)
    y = (torch.rand(batch, len(LABELS), generator=torch.Generator().manual_seed(1)) > 0.9).float().to(device)

    def step(half: bool) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x).float(), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return {
        f"step {kind}": 1e3 * least_seconds(lambda half=half: step(half), device, repeats)  # type: ignore[misc]
        for kind, half in (("float32", False), ("bfloat16", True))
    }


def measured(name: str, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one model; what fails is said in it, and ends nothing."""
    row: dict[str, Any] = {"model": name, "batch": options.batch}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    parts = (
        lambda: forward(name, device, options.batch, options.repeats, name in options.compile),
        lambda: steps(name, device, options.batch, options.repeats),
    )
    for part in parts:
        try:
            row |= part()
        except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
            row.setdefault("failed", []).append(str(error).splitlines()[0][:160])
    if device.type == "cuda":
        row["MB"] = torch.cuda.max_memory_allocated(device) / 1e6
        torch.cuda.empty_cache()
    return row


def whole_run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune and score one model by the command line; seconds and scores."""
    root = str(options.data_root or "mock")
    with tempfile.TemporaryDirectory() as folder:
        words = ["--model", f"random:{name}", "--tasks", "ptbxl_super", "--mode", "finetune", "--epochs", "3"]
        words += [
            "--data-root",
            root,
            "--device",
            options.device,
            "--dtype",
            "bfloat16",
            "--output",
            f"{folder}/results",
        ]
        words += ["--limit", str(options.records)] if options.records else []
        words += ["--cache-dir", f"{folder}/home"]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "eval_harness", *words], check=True)
        seconds = time.perf_counter() - started
        file = Path(folder, "results", f"random__{name}", "finetune", "ptbxl_super.json")
        result = json.loads(file.read_text(encoding="utf-8"))
        score = result["metrics"]["macro_auroc"]
        records = result["data"]["records"]
    return {"model": name, "seconds": round(seconds, 1), "records": records, "epochs": 3, "macro AUROC": score}


def cells(row: dict[str, Any]) -> Iterator[str]:
    """A row of the table."""
    for column in COLUMNS:
        value = row.get("difference" if column == "differs from CPU" else column)
        if value is None:
            yield "-"
        elif column == "differs from CPU":
            yield f"{value:.0e}"
        else:
            yield (
                f"{value:,.0f}"
                if isinstance(value, float) and value >= 10
                else f"{value:.3g}"
                if isinstance(value, float)
                else str(value)
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="default: every architecture")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=64, help="windows, default 64")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", nargs="*", default=COMPILED, metavar="NAME", help="models that are compiled too")
    parser.add_argument("--data-root", type=Path, help="holds ptb-xl; default: simulated records")
    parser.add_argument("--records", type=int, help="of each split in the whole run; default: all")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin nothing after so many; default 9")
    parser.add_argument("--output", type=Path, help="write the numbers there as JSON")
    options = parser.parse_args()
    ends, device = time.monotonic() + 60 * options.minutes, torch.device(options.device)
    # PyTorch's default for matrix products; convolutions would take TF32, which rounds to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    title = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{title}, torch {torch.__version__}; windows per second, milliseconds per step of {options.batch} windows")
    print(f"| {' | '.join(COLUMNS)} |\n|---|" + "---:|" * (len(COLUMNS) - 1))
    rows, left = [], []
    names = options.names or list(catalog.models())
    found: dict[str, Any] = {"device": title, "torch": torch.__version__, "models": rows}
    # First, so that a slow model further down does not cost it.
    found["run"] = whole_run(names[0], options)
    for name in names:
        if time.monotonic() > ends:
            left.append(name)
            continue
        rows.append(measured(name, device, options))
        print(f"| {' | '.join(cells(rows[-1]))} |", flush=True)
    print(f"fine-tuned and scored: {json.dumps(found['run'])}")
    for row in rows:
        for reason in row.get("failed", ()):
            print(f"{row['model']}: {reason}")
    if left:
        print(f"not begun within {options.minutes:g} minutes: {', '.join(left)}")
    if options.output:
        options.output.write_text(json.dumps({**found, "left": left}, indent=1), encoding="utf-8")
    apart = [
        f"{row['model']}: features differ by {row['difference']:.1e}"
        for row in rows
        if row.get("difference", 0) > AGREES
    ]
    if apart:
        sys.exit("\n".join(apart))


if __name__ == "__main__":
    main()
