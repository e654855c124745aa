"""MELP: the encoder of ECG-FM with eight blocks, read by fourteen learned queries, pre-trained with reports."""
