"""The shared base: files, downloads, text, YAML, worker processes; it knows nothing of ECGs."""

__version__ = "0.1.0"
