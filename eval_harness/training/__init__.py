"""Training a head or a whole model on the windows of one run, and the features of fixed encoders."""
