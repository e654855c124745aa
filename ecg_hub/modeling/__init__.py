"""What models are built of: configuration and base classes, layers, heads, losses."""
