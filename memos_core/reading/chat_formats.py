"""The shapes of chat exports: what shows them, and how their messages become mappings for `read_messages`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

from memos_core.errors import InvalidInput, InvalidName, ReadingFailed
from memos_core.reading.message_content import read_content
from memos_core.types.names import check_name

_NAMES: Final = ("conversation_id", "id", "uuid", "thread_id", "session_id", "chat_id", "name", "title")
_THREADS: Final = ("conversation_id", "conversation", "thread_id", "session_id", "chat_id")
_LISTS: Final = (
    "messages",
    "chat_messages",
    "conversation",
    "conversations",
    "turns",
    "chats",
    "threads",
    "data",
    "items",
)
_MESSAGE: Final = frozenset({"role", "content", "text", "sender"})
_LONGEST_NAME: Final = 200
_DEEPEST: Final = 6  # lists of conversations inside of mappings inside of lists
_SPOKEN: Final = frozenset({"text", "multimodal_text", "execution_output", "tether_quote", "audio_transcription"})


class Chat:
    """A conversation of an export.

    Attributes:
        name: as the export calls it; None if it does not.
        messages: mappings for `read_messages`, in order.
    """

    def __init__(self, name: str | None, messages: list[dict[str, Any]]) -> None:
        self.name = name
        self.messages = messages
        self._count = 0  # of all messages, those without words too: the place of the next one

    def add(self, message: dict[str, Any]) -> None:
        """Take the next message; one without words only counts."""
        position = self._count
        self._count += 1
        content = message.get("content") or message.get("text")
        data = message.get("data")
        if content is None and isinstance(data, Mapping):
            content = data.get("content")
        if read_content(content, message.get("caption"), position).text.strip():
            message.setdefault("position", position)
            self.messages.append(message)


def chats_in(value: object, where: str, *, depth: int = 0) -> Iterator[Chat]:
    """The conversations in a value of an export.

    Args:
        value: decoded JSON.
        where: file and line, for errors.
        depth: how many values it is inside of.

    Raises:
        ReadingFailed: there are none in it, in any shape that is known.
    """
    try:
        if depth > _DEEPEST:
            raise ReadingFailed(f"{where}: conversations are nested more than {_DEEPEST} deep")
        if isinstance(value, list):
            if value and all(is_message(each) for each in value):
                yield _chat(None, value)
            elif all(isinstance(each, (dict, list)) for each in value):
                for number, each in enumerate(value, 1):
                    yield from chats_in(each, f"{where}, entry {number}", depth=depth + 1)
            else:
                raise _unknown(value, where)
        elif not isinstance(value, dict):
            raise _unknown(value, where)
        elif isinstance(value.get("mapping"), dict):
            yield _chat(_own_name(value), _chatgpt(value))
        else:
            yield from _in_mapping(value, where, depth)
    except InvalidInput as error:
        raise ReadingFailed(f"{where}: {error}") from error


def _in_mapping(value: dict[str, Any], where: str, depth: int) -> Iterator[Chat]:
    """Conversations under one of the names that lists of messages or of conversations have, or under their own ids."""
    if is_message(value):
        yield _chat(None, [value])
        return
    key = next((key for key in _LISTS if isinstance(value.get(key), list)), None)
    if key is not None:
        entries = value[key]
        if all(is_message(each) for each in entries):
            yield _chat(_own_name(value), entries)
        else:
            yield from chats_in(entries, f"{where}, {key!r}", depth=depth + 1)
    elif value and all(isinstance(each, list) and all(is_message(one) for one in each) for each in value.values()):
        for name, entries in value.items():
            yield _chat(name_of(name), entries)
    else:
        raise _unknown(value, where)


def kind_of(value: object) -> str:
    """What a value seems to be, in a word; "nothing known" if nothing."""
    if is_message(value):
        return "message"
    known = isinstance(value, dict) and any(isinstance(value.get(key), (list, dict)) for key in (*_LISTS, "mapping"))
    return "conversation" if known or isinstance(value, list) else "nothing known"


def is_message(value: object) -> bool:
    """Whether a value is one message, with words or without (a call of a tool), and no list of them."""
    if not isinstance(value, dict) or any(isinstance(value.get(key), list) for key in _LISTS):
        return False
    if isinstance(value.get("data"), dict):
        return "content" in value["data"]
    return not _MESSAGE.isdisjoint(value) or {"from", "value"} <= value.keys() or {"ts", "type"} <= value.keys()


def message_in(value: dict[str, Any]) -> dict[str, Any]:
    """A message of any export as a mapping for `read_messages`."""
    if "from" in value and "value" in value:  # ShareGPT
        rest = {key: each for key, each in value.items() if key not in ("from", "value")}
        return {"role": _role(value["from"]), "content": value["value"], **rest}
    if "sender" in value and "role" not in value:  # Claude
        kept = {key: each for key, each in value.items() if key not in ("uuid", "sender", "text", "content") and each}
        text = value.get("text") or value.get("content")
        return {"id": value.get("uuid"), "role": _role(value["sender"]), "content": text, **kept}
    if "ts" in value and "role" not in value and ("user" in value or "bot_id" in value or "subtype" in value):
        return _slack(value)
    return dict(value)


def names_thread(message: dict[str, Any]) -> str | None:
    """The conversation that a message on a line of its own says it belongs to."""
    return next((name for key in _THREADS if (name := name_of(message.get(key)))), None)


def name_of(given: object) -> str | None:
    """A conversation's name that every store takes: what cannot be in a name is replaced; None if nothing is left."""
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        return None
    plain = unicodedata.normalize("NFKC", str(given)[: 2 * _LONGEST_NAME])
    plain = "".join(
        " " if unicodedata.category(each)[0] in "CZ" else "_" if each in "*%?\\" else each for each in plain
    )
    name = " ".join(plain.split())[:_LONGEST_NAME].strip()
    try:
        return check_name(name, "conversation")
    except InvalidName:
        return None


def _chat(name: str | None, entries: list[dict[str, Any]]) -> Chat:
    chat = Chat(name, [])
    for entry in entries:
        chat.add(message_in(entry))
    return chat


def _own_name(value: dict[str, Any]) -> str | None:
    return next((name for key in _NAMES if (name := name_of(value.get(key)))), None)


def _role(given: object) -> object:
    return {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"}.get(str(given), given)


def _slack(value: dict[str, Any]) -> dict[str, Any]:
    """A message of Slack; its time stamp is its id in the channel."""
    profile = _object(value.get("user_profile"))
    speaker = profile.get("real_name") or profile.get("display_name") or value.get("username") or value.get("user")
    told = ("user_profile", "type", "text", "ts", "blocks", "team", "user", "username")
    rest = {key: each for key, each in value.items() if key not in told}
    if value.get("user"):
        rest["user"] = value["user"]
    role = "assistant" if value.get("bot_id") and not value.get("user") else "user"
    return {
        "id": f"{value['ts']}",
        "ts": value["ts"],
        "position": None,  # the channel goes on in the file of the next day, where places begin at 0 again
        "role": role,
        "speaker": speaker,
        "content": value.get("text"),
        "metadata": rest,
    }


def _chatgpt(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a conversation of ChatGPT on the branch that was shown last, from the first to the last."""
    nodes: dict[str, dict[str, Any]] = {key: node for key, node in value["mapping"].items() if isinstance(node, dict)}
    key = str(value.get("current_node"))
    if key not in nodes:
        # Without one, the newest leaf: the last child of the last child, and so on.
        key = next((each for each, node in nodes.items() if str(node.get("parent")) not in nodes), "")
        seen: set[str] = set()
        while key in nodes and key not in seen and _last(nodes[key].get("children")):
            seen.add(key)
            key = _last(nodes[key].get("children"))
    branch: list[dict[str, Any]] = []
    passed: set[str] = set()
    while key in nodes and key not in passed:  # a damaged export may go round in circles
        passed.add(key)
        branch.append(nodes[key])
        key = str(nodes[key].get("parent"))
    return [_chatgpt_message(node) for node in reversed(branch) if isinstance(node.get("message"), dict)]


def _last(children: object) -> str:
    return str(children[-1]) if isinstance(children, list) and children else ""


def _object(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one: exports leave out what they do not know."""
    return value if isinstance(value, dict) else {}


def _chatgpt_message(node: dict[str, Any]) -> dict[str, Any]:
    message = node["message"]
    author, content, meta = (_object(message.get(key)) for key in ("author", "content", "metadata"))
    spoken = str(content.get("content_type", "text")) in _SPOKEN and message.get("recipient", "all") == "all"
    if meta.get("is_visually_hidden_from_conversation") or not spoken:
        words: object = None  # the system's own messages, thoughts, calls of tools
    else:
        words = content.get("parts") or content.get("text")
    return {
        "id": message.get("id") or node.get("id"),
        "role": author.get("role") or "user",
        "name": author.get("name"),
        "content": words,
        "at": message.get("create_time"),
    }


def _unknown(value: object, where: str) -> ReadingFailed:
    """What to say of a shape that nobody knows."""
    if isinstance(value, dict):
        found = f"an object with the keys {', '.join(sorted(map(repr, value))[:8]) or '(none)'}"
    elif isinstance(value, list):
        kinds = sorted({type(each).__name__ for each in value})
        found = f"a list of {', '.join(kinds)}"
    else:
        found = f"a value of type {type(value).__name__}"
    return ReadingFailed(f"{where}: found {found}, no messages; expected objects with 'role' and 'content'")
