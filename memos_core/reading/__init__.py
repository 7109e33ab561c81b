"""Reading: from messages, documents and chat exports to drafts of items, with the dates and names said in them.

This is the fast part: no language model, no network, microseconds a message. Start at `messages.py` (turns of a
conversation), `documents.py` (texts and files), `chats.py` (exports of other systems), `dates.py` and `entities.py`.
"""
