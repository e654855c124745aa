"""Analyses beside the scores: what encoders have learnt, where a trained head breaks, how it does on other data."""
