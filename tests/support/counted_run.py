"""`ecg-eval`, then a file with the number of windows its encoders took in: `-m tests.support.counted_run FILE ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from eval_harness.cli.eval.main import main
from eval_harness.runner import job
from eval_harness.training.features import FeatureCache

made: list[FeatureCache] = []


class Counted(FeatureCache):
    """A cache that is remembered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        made.append(self)


if __name__ == "__main__":
    job.FeatureCache = Counted  # type: ignore[misc]
    file, words = Path(sys.argv[1]), sys.argv[2:]
    sys.argv = ["ecg-eval", *words]
    code = main(words)
    file.write_text(str(sum(cache.encoded for cache in made)))
    sys.exit(code)
