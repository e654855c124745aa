"""Statistics of scores as plain functions of numbers."""
