"""Scoring: tasks, modes, the runner, statistics and results."""
