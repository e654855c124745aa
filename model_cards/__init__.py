"""Model cards, one per model: `<alias>.md`, made by `python -m model_cards` from data and from `parts/<alias>.md`.

The finished cards are data: `ecg-hub convert` puts them into model folders. What makes them (`card.py`) knows both
ecg_hub and eval_harness, and nothing imports it.
"""
