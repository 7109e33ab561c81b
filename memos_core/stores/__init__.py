"""The outside world's side of storage: the truth (`sql`), and what is derived from it (`index`)."""
