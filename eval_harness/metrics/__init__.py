"""Metrics as plain numpy functions."""
