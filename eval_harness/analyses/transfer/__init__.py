"""A trained head scored on another dataset."""
