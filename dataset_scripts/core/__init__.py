"""From a raw folder to splits: what a dataset declares, the record store, labels, folds."""
