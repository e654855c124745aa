"""MERL-ViT: the vision transformer of MERL, pre-trained to match ECGs with their reports."""
