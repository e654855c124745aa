"""Model cards: `python -m model_cards` makes `ecg_hub/models/<name>/card.md` from data and from `card_part.md` beside.

The finished cards are data of ecg_hub: `ecg-hub convert` puts them into model folders. What makes them (`card.py`)
knows both ecg_hub and eval_harness, and nothing imports it.
"""
