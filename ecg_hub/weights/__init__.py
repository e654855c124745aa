"""Published checkpoints: fetched, read without running anything, converted."""
