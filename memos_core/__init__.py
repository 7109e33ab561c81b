"""memos: memory for LLM applications, governed like storage."""
