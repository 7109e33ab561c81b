"""LlamaIndex's chat messages and nodes, and what they are in memos."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
from llama_index.core.base.llms.types import BaseRecursiveContentBlock, ChatMessage, MessageRole, TextBlock
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from memos_core.types.items import Hit, Hits, MemoryItem

Turn = dict[str, Any]  # a message as `Session.add` reads it

SESSION = "session_id"  # LlamaIndex's stamp on messages that leave the short-term memory
_ROLES = {MessageRole.FUNCTION: "tool", MessageRole.CHATBOT: "assistant", MessageRole.MODEL: "assistant"}
# What applications put beside a message that memos has a place for; the other plain values become metadata.
_KNOWN = ("name", "id", "message_id", "timestamp", "created_at")
_PLUMBING = frozenset({SESSION, "tool_calls", "function_call", "images"})

# What a language model is shown of a node beside its text and the item's own metadata.
_SHOWN = ("speaker", "role", "occurred_at", "uri")


# -- messages ---------------------------------------------------------------------------------------------------------


def words(message: ChatMessage) -> str:
    """The words of a message: its text blocks and the text within citable ones, in order, on lines of their own.

    Calls of tools, thoughts, pictures and other media have none.
    """
    return "\n".join(text for block in message.blocks for text in _texts(block))


def _texts(block: object) -> Iterator[str]:
    if isinstance(block, TextBlock):
        yield block.text
    elif isinstance(block, BaseRecursiveContentBlock):
        for nested in block.nested_blocks:
            yield from _texts(nested)


def to_turns(messages: Iterable[ChatMessage], *, roles: Collection[str], user: str) -> list[Turn]:
    """Messages as memos takes them; those without words and those of other roles are left out.

    Args:
        messages: as they are; nothing in them is changed.
        roles: whose messages count: "user", "assistant", "tool", "system", "developer".
        user: the speaker of a user's message that names none.
    """
    turns = []
    for message in messages:
        role = _ROLES.get(message.role, message.role.value)
        text = words(message)
        if role in roles and text.strip():
            turns.append(_turn(message, role, text, user))
    return turns


def _turn(message: ChatMessage, role: str, text: str, user: str) -> Turn:
    beside = {key: value for key, value in message.additional_kwargs.items() if key not in _PLUMBING and _plain(value)}
    turn: Turn = {key: beside.pop(key) for key in _KNOWN if key in beside}
    turn |= {"role": role, "content": text, "metadata": beside}
    if role == "user":
        turn.setdefault("name", user)
    return turn


def _plain(value: object) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def to_chat_message(item: MemoryItem) -> ChatMessage:
    """An item as the message it was read from; one that was none as a user's."""
    source = item.provenance.source
    role = source.role if source and source.role else "user"
    known = {member.value for member in MessageRole}
    beside: dict[str, Any] = {**item.metadata, "memory_id": item.id, "cube": item.cube_id}
    if item.speaker:
        beside["name"] = item.speaker
    if item.occurred_at:
        beside["timestamp"] = item.occurred_at.isoformat()
    return ChatMessage(content=item.text, role=MessageRole(role if role in known else "user"), additional_kwargs=beside)


# -- nodes ------------------------------------------------------------------------------------------------------------


def to_nodes(hits: Hits) -> list[NodeWithScore]:
    """Hits as nodes, in the same order, each with the item's id.

    An item that differs between two cubes has one id and two texts; LlamaIndex keeps one node an id, so the less likely
    one gets its cube into its id ("ID@CUBE").
    """
    seen: set[str] = set()
    nodes = []
    for hit in hits:
        node_id = hit.id if hit.id not in seen else f"{hit.id}@{hit.cube_id}"
        seen.add(node_id)
        nodes.append(NodeWithScore(node=_node(hit, node_id, hits.degraded), score=hit.score))
    return nodes


def _node(hit: Hit, node_id: str, degraded: str | None) -> TextNode:
    item = hit.item
    source = item.provenance.source
    own = {
        "memory_id": item.id,
        "cube": hit.cube_id,
        "type": item.type,
        "speaker": item.speaker,
        "role": source.role if source else None,
        "conversation": item.conversation,
        "uri": source.uri if source else None,
        "occurred_at": item.occurred_at,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
        "version": item.version,
        "confidence": item.confidence,
        "tags": list(item.tags) or None,
        "provenance": item.provenance,
        "parts": hit.parts,
        "degraded": degraded,
        "origins": [list(origin) for origin in hit.origins],
    }
    fields = msgspec.to_builtins({name: value for name, value in own.items() if value is not None})
    hidden = [name for name in fields if name not in _SHOWN]
    # A name that the item's own metadata has, too, means the field, as in filters; the metadata is kept whole then.
    whole = {"metadata": item.metadata} if item.metadata.keys() & fields.keys() else {}
    start, end = source.span if source and source.span else (None, None)
    documents = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source.uri)} if source and source.uri else {}
    return TextNode(
        id_=node_id,
        text=item.text,
        metadata={**item.metadata, **fields, **whole},
        excluded_llm_metadata_keys=[*hidden, *whole],
        excluded_embed_metadata_keys=[*hidden, *whole],
        relationships=documents,
        start_char_idx=start,
        end_char_idx=end,
    )
