"""What notebooks and programs call: evaluate, read, compare, list."""
