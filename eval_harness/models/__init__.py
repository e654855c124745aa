"""Encoders as the harness sees them: loaded, adapted with a head, a user's own, the baseline without one."""
