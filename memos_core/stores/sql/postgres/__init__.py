"""The truth on a PostgreSQL server. `psycopg` is touched only here."""
