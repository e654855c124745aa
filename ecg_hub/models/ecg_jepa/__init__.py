"""ECG-JEPA: a transformer with cross-pattern attention, pre-trained by predicting masked patches in latent space."""
