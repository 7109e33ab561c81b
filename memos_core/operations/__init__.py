"""Looking after a store: backups and what is in them."""
