"""Where a trained head breaks: test records corrupted at graded strengths."""
