"""Results: files, scores, comparisons, summaries, the published numbers."""
