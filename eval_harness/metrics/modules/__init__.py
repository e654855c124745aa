"""Thin `evaluate` modules over the metrics, one folder each: `evaluate.load(str(folder))` works offline."""
