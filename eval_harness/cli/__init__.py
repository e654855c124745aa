"""Command lines: `ecg-eval` and `ecg-hub`.

Importing it tells ecg_hub to register its models with transformers on first use, not at once: help and listings must
start without torch.
"""

import os

os.environ.setdefault("ECG_HUB_LAZY", "1")
