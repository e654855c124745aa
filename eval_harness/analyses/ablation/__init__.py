"""What the parts of mode `post_train` bring."""
