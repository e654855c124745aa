"""Scoring: tasks, modes, the runner, statistics and results.

    from eval_harness import evaluate
    results = evaluate("random:ecg-cpc-tiny", "ptbxl_super", modes="linear", data_root="mock", epochs=2, limit=96)

The public names load what they need on first use, so that listing tasks stays fast.
"""

from __future__ import annotations

# Nothing else is imported: the command lines begin here, and watch for Ctrl-C only after it (`eval_harness.cli`).
# Underscored, so that completion after `eval_harness.` offers public names alone.
from importlib import import_module as _import_module

TYPE_CHECKING = False
# Nothing of this runs: it tells type checkers what `__getattr__` gives, and `as` that it may be imported from here.
if TYPE_CHECKING:
    from ecg_hub.utils import __version__ as __version__
    from eval_harness.api.comparisons import Comparisons as Comparisons
    from eval_harness.api.evaluation import evaluate as evaluate
    from eval_harness.api.listing import list_tasks as list_tasks
    from eval_harness.api.results import Results as Results
    from eval_harness.api.results import compare_models as compare_models
    from eval_harness.api.results import read_results as read_results
    from eval_harness.models.checks.check import ModelCheck as ModelCheck
    from eval_harness.models.checks.check import ModelCheckError as ModelCheckError
    from eval_harness.models.checks.contract import validate_model as validate_model
    from eval_harness.tasks.registry import get_task as get_task
    from eval_harness.tasks.task import Task as Task
del TYPE_CHECKING

__all__ = [
    "Comparisons",
    "ModelCheck",
    "ModelCheckError",
    "Results",
    "Task",
    "__version__",
    "compare_models",
    "evaluate",
    "get_task",
    "list_tasks",
    "read_results",
    "validate_model",
]

_HOMES = {
    "Comparisons": "eval_harness.api.comparisons",
    "ModelCheck": "eval_harness.models.checks.check",
    "ModelCheckError": "eval_harness.models.checks.check",
    "Results": "eval_harness.api.results",
    "Task": "eval_harness.tasks.task",
    "__version__": "ecg_hub.utils",
    "compare_models": "eval_harness.api.results",
    "evaluate": "eval_harness.api.evaluation",
    "get_task": "eval_harness.tasks.registry",
    "list_tasks": "eval_harness.api.listing",
    "read_results": "eval_harness.api.results",
    "validate_model": "eval_harness.models.checks.contract",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(_HOMES[name]), name)
    # From now on the name is found without asking here.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
