"""The rules: who may do what, decided in one place."""
