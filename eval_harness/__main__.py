"""`python -m eval_harness` is `ecg-eval`; so is `accelerate launch -m eval_harness`."""

import sys

from eval_harness.cli.eval.main import main

sys.exit(main())
