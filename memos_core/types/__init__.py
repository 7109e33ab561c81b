"""Frozen values that every floor above shares; nothing here does anything but hold them."""
