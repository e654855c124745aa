"""A model, a dataset and a task that `pip install their-ecg` adds to the hub."""
