"""The runner: plan, jobs, result folders."""
