"""The words in the content of a message, where that is a string, or parts of which some are words.

Words are kept; of a picture its caption or description, as "[image: …]"; of a tool's result its text. Calls of tools,
thoughts and the bytes of media are not words. What nobody knows is handed back, to be kept beside the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from memos_core.errors import InvalidInput, InvalidText
from memos_core.types.inputs import IMAGE_MARK

_DESCRIPTIONS: Final = ("caption", "alt", "alt_text", "description")
_NO_WORDS: Final = frozenset(
    """
    tool_use tool_call tool_call_chunk function_call server_tool_use server_tool_call tool_calls invalid_tool_call
    thinking redacted_thinking reasoning reasoning_content cachepoint cache document_url file image image_url
    image_file input_image image-url image_asset_pointer audio_asset_pointer
    real_time_user_audio_video_asset_pointer video_container_asset_pointer audio input_audio audio_url video
    video_url input_file media
    """.split()
)
_DEEPEST: Final = 8  # results of tools inside of results of tools


class Content(NamedTuple):
    """What is in the content of a message.

    Attributes:
        text: its words; parts on lines of their own.
        unknown: parts of a kind nobody knows.
    """

    text: str
    unknown: list[Any]


def read_content(content: object, caption: object, index: int) -> Content:
    """The words of a message.

    Args:
        content: a string, parts, or None.
        caption: description of a picture that came with it, or None.
        index: of the message, for errors.

    Raises:
        InvalidText: it is neither a string nor parts.
    """
    if isinstance(content, str) and not caption:
        return Content(content, [])
    words: list[str] = []
    unknown: list[Any] = []
    _read(content, words, unknown, index, 0)
    if caption:
        words.append(_image(caption, index))
    return Content("\n".join(words), unknown)


def _read(content: object, words: list[str], unknown: list[Any], index: int, depth: int) -> None:
    if content is None:
        return
    if isinstance(content, str):
        words.append(content)
    elif isinstance(content, Mapping):
        _read_part(content, words, unknown, index, depth)
    elif isinstance(content, Iterable) and not isinstance(content, (bytes, bytearray)):
        for part in content:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, Mapping):
                _read_part(part, words, unknown, index, depth)
            else:
                _read_object(part, words, index)
    else:
        raise InvalidText(
            f"content of message {index} is of type {type(content).__name__}; it must be a string or parts"
        )


def _read_part(part: Mapping[Any, Any], words: list[str], unknown: list[Any], index: int, depth: int) -> None:
    """One part, as OpenAI, Anthropic, LangChain and others write them."""
    if depth > _DEEPEST:
        raise InvalidInput(f"content of message {index} is nested more than {_DEEPEST} deep")
    kind = str(part.get("type") or part.get("content_type") or part.get("block_type"))
    description = next((part[key] for key in _DESCRIPTIONS if part.get(key)), None)
    if kind == "tool_result":
        _read(part.get("content"), words, unknown, index, depth + 1)
    elif kind in _NO_WORDS:
        if description is not None:
            words.append(_image(description, index))
        elif isinstance(part.get("transcript"), str):
            words.append(part["transcript"])
    else:
        text = part.get("text", part.get("refusal"))
        if isinstance(text, Mapping):
            text = text.get("value")  # OpenAI's assistants
        if isinstance(text, str):
            words.append(text)
        elif description is not None:
            words.append(_image(description, index))
        else:
            unknown.append(dict(part))


def _read_object(part: object, words: list[str], index: int) -> None:
    """One part that is an object: LlamaIndex's blocks, OpenAI's output."""
    text = getattr(part, "text", None)
    if isinstance(text, str):
        words.append(text)
    elif not (hasattr(part, "block_type") or hasattr(part, "type")):
        raise InvalidText(f"a part of message {index} is of type {type(part).__name__}; parts are strings or mappings")


def _image(description: object, index: int) -> str:
    if not isinstance(description, str):
        raise InvalidText(
            f"the caption in message {index} is of type {type(description).__name__}; it must be a string"
        )
    return f"{IMAGE_MARK}{description.strip()}]"
