"""The life of an item: its states, and the moves between them."""
