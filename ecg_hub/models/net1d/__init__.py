"""Net1D: a one-dimensional convolutional network of grouped bottleneck blocks, trained from scratch."""
