"""How the score of a model rises with the number of training records, and how many records it saves."""
