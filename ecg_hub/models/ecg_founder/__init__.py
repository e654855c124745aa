"""ECGFounder: a Net1D pre-trained on 150 diagnostic labels of the Harvard-Emory ECG database."""
