"""Command lines: `ecg-eval` and `ecg-hub`. Help and listings start without torch."""
