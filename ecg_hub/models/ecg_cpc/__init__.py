"""ECG-CPC: a convolutional encoder and a causal S4 stack, pre-trained by contrastive predictive coding."""
