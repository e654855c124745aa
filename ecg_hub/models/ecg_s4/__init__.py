"""S4: a bidirectional S4 stack on the raw signal, trained from scratch."""
