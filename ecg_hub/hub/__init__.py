"""Models and datasets on a hub: pulled, pushed, mirrored, with their cards."""
