"""How alike the stages of encoders are."""
