"""`python -m eval_harness.cli.hub` is `ecg-hub`; so is `accelerate launch -m eval_harness.cli.hub`."""

import sys

from eval_harness.cli.hub.main import main

if __name__ == "__main__":
    sys.exit(main())
