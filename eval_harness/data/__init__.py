"""Prepared records as windows and targets of one run."""
