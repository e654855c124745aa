"""`ecg-eval`, a file per verb."""
