"""Model cards, one per model."""
