"""ECG-FM: a wav2vec 2.0 encoder over twelve leads, pre-trained by contrastive and masked objectives."""
