"""ECG files of hospitals: what a file is by its content, and one reader per format."""
