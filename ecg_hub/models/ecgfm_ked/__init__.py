"""ECGFM-KED: a one-dimensional xresnet, pre-trained against text knowledge about diagnoses."""
