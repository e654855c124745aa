"""What is done with a dataset besides scoring: download, verify, draw, publish, export."""
