"""The model: model.yaml says what listings show, the two modules are its code."""
