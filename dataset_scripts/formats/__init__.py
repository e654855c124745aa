"""ECG file formats behind one interface."""
