"""Redaction: what is personal or secret in a text, found and replaced. Pure functions of text; no store, no actor."""
