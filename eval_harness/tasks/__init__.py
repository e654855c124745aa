"""The tasks: one YAML file each, their registry and suites."""
