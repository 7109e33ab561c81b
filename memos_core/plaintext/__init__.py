"""Plaintext memory: facts, messages and documents that are read, kept and found again."""
