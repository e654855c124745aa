"""Models over record files: embeddings, predictions, what they cost to run."""
