"""The embedded index of one cube: arrays side by side, one row per searchable version, derived from the change log."""
