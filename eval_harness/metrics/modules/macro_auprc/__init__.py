"""The `evaluate` module of this name."""
