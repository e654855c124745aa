"""`ecg-hub`, a file per verb."""
