"""The type of items that are preferences: what somebody likes, dislikes, wants or avoids."""

from __future__ import annotations

from typing import Final

PREFERENCE: Final = "preference"
