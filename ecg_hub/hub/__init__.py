"""Converting, pulling, pushing and serving of models."""
