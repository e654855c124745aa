"""MERL: a one-dimensional ResNet-18, pre-trained to match ECGs with their reports."""
