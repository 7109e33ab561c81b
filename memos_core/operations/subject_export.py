"""Everything that is held on an actor, as one bundle: JSON for programs, Markdown to read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from memos_core.errors import AlreadyExists, ItemNotFound, StoreReadOnly
from memos_core.events import event
from memos_core.protocols.storage import RecordStore
from memos_core.types.erasure import SUBJECT_HELD, Erasing
from memos_core.types.items import Version
from memos_core.types.uses import Use
from memos_core.types.work import AuditEntry, CubeRow, from_micros

JSON_NAME: Final = "subject.json"
MARKDOWN_NAME: Final = "subject.md"
FORMAT: Final = 1


class ExportedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported.

    Attributes:
        folder: where it lies: `subject.json` and `subject.md`.
        items, versions, entries, grants, cubes: how many it holds; cubes are those that the actor owns.
        in_mind: how many items are in the actor's working memories, all conversations together.
    """

    folder: str
    items: int
    versions: int
    entries: int
    grants: int
    cubes: int
    in_mind: int


def export_subject(
    store: RecordStore, rows: Sequence[CubeRow], subject: str, folder: Path, *, now: Callable[[], datetime]
) -> ExportedSubject:
    """Write everything that is held on an actor into a new folder, readable by nobody else.

    Args:
        store: the truth.
        rows: of the cubes to look at.
        subject: the actor.
        folder: new.
        now: the clock.

    Raises:
        AlreadyExists: there is something there.
        ItemNotFound: nothing is held on the actor in these cubes.
        StoreReadOnly: the folder cannot be written.
    """
    folder = folder.expanduser().absolute()
    with event("memos.export_subject", cubes=len(rows)):
        plan = store.plan_erasure(Erasing(cubes=tuple(row.number for row in rows), subject=subject))
        cubes = [_cube(store, row, subject, [id for cube, id in plan.items if cube == row.name]) for row in rows]
        working = _working(store, rows, subject)
        found = [cube for cube in cubes if any(cube[part] for part in ("items", "audit", "grants", "holds", "owned"))]
        if not found and not working:
            raise ItemNotFound(f"nothing is held on {subject!r} in the {len(rows):,} cubes that were looked at")
        told = {
            "format": FORMAT,
            "subject": subject,
            "store": store.id,
            "made_at": now(),
            "looked_at": [row.name for row in rows],
            "cubes": found,
            "working": working,
        }
        try:
            folder.mkdir(mode=0o700, parents=True)
            _write(folder / JSON_NAME, msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
            _write(folder / MARKDOWN_NAME, ("\n".join(_markdown(told)) + "\n").encode())
        except FileExistsError as error:
            raise AlreadyExists(f"{folder} is there already; nothing is overwritten, name a new folder") from error
        except OSError as error:
            raise StoreReadOnly(f"{folder}: cannot be written: {error.strerror or error}") from error

    def count(part: str) -> int:
        return sum(len(cube[part]) for cube in found)

    return ExportedSubject(
        folder=str(folder),
        items=count("items"),
        versions=sum(len(item["versions"]) for cube in found for item in cube["items"]),
        entries=count("audit"),
        grants=count("grants"),
        cubes=sum(cube["owned"] for cube in found),
        in_mind=sum(len(memory["items"]) for memory in working),
    )


def _working(store: RecordStore, rows: Sequence[CubeRow], subject: str) -> list[dict[str, Any]]:
    """What the actor has in mind of these cubes, by conversation: ids and numbers, which is all that is kept."""
    names = {row.number: row.name for row in rows}
    told = []
    for holder in store.uses.holders(subject):
        kept = [each for each in store.uses.working(holder) if each.cube in names]
        places = store.uses.ids([each.item for each in kept])
        items = [
            {
                "cube": names[each.cube],
                "id": places[each.item][1] if each.item in places else None,  # deleted
                "turn": each.half,
                "relevance": each.relevance,
                "predicted": each.predicted,
                "used": _use(each.use),
            }
            for each in kept
        ]
        if items:
            told.append({"conversation": holder.conversation, "cubes": list(holder.cubes), "items": items})
    return told


def _use(use: Use) -> dict[str, Any]:
    return {
        "total": use.total,
        "newest": use.newest,
        "first_at": from_micros(use.first_at),
        "last_at": from_micros(use.last_at),
    }


def _cube(store: RecordStore, row: CubeRow, subject: str, ids: Sequence[str]) -> dict[str, Any]:
    items, seqs = [], set[int]()
    heads = store.heads(row, ids)
    # In a cube of one's own the counts say what one has looked at; elsewhere they are everybody's, and say nothing of anyone.
    uses = store.uses.used_items([head.item for head in heads.values()]) if row.owner == subject else {}
    for head in heads.values():
        versions = [record.to_version() for record in store.history(row, head)]
        seqs.update(version.seq for version in versions)
        items.append(
            {
                "id": head.id,
                "deleted": head.deleted,
                "used": _use(uses[head.item]) if head.item in uses else None,
                "versions": [_version(version) for version in versions],
            }
        )
    grants = [grant for grant in store.grants(row) if subject in (grant.grantee, grant.granted_by)]
    return {
        "cube": row.name,
        "owned": row.owner == subject,
        "created_at": row.created_at,
        "items": sorted(items, key=lambda item: item["versions"][0]["seq"]),
        "audit": [_entry(entry) for entry in store.audit(row) if _concerns(entry, subject, set(ids), seqs)],
        "grants": [msgspec.to_builtins(grant) for grant in grants],
        "holds": [
            msgspec.to_builtins(hold)
            for hold in store.holds(row)
            if hold.target == f"{SUBJECT_HELD}{subject}" or hold.by == subject
        ],
    }


def _version(version: Version) -> dict[str, Any]:
    told: dict[str, Any] = {
        "seq": version.seq,
        "version": version.version,
        "op": version.op,
        "actor": version.actor,
        "at": version.at,
        "item": None if version.item is None else msgspec.to_builtins(version.item),
    }
    return told


def _concerns(entry: AuditEntry, subject: str, ids: set[str], seqs: set[int]) -> bool:
    """Whether an audit entry is by an actor, names it or one of its items, or covers a change of one."""
    if entry.actor == subject or any(entry.first_seq <= seq <= entry.last_seq for seq in seqs):
        return True
    return any(text in (subject, f"{SUBJECT_HELD}{subject}") or text in ids for text in _texts(entry.detail))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _entry(entry: AuditEntry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "actor": entry.actor,
        "action": entry.action,
        "at": from_micros(entry.at),
        "first_seq": entry.first_seq,
        "last_seq": entry.last_seq,
        "detail": entry.detail,
        "hash": entry.hash.hex(),
    }


# -- to read --------------------------------------------------------------------------------------------------------------


def _markdown(told: dict[str, Any]) -> Iterator[str]:
    yield f"# What is held on {told['subject']}"
    yield ""
    yield f"Made on {told['made_at']:%Y-%m-%d %H:%M} UTC from {len(told['looked_at']):,} cubes."
    yield f"The same, with every detail, is in `{JSON_NAME}`."
    for cube in told["cubes"]:
        yield ""
        yield f"## Cube {cube['cube']}" + (" (owned)" if cube["owned"] else "")
        for item in cube["items"]:
            yield from _item(item)
        if cube["grants"]:
            yield ""
            yield "### Rights"
            yield ""
            for grant in cube["grants"]:
                until = f", until {grant['expires_at']}" if grant["expires_at"] else ""
                yield f"- {grant['grantee']}: {', '.join(sorted(grant['rights']))} (given by {grant['granted_by']}{until})"
        if cube["holds"]:
            yield ""
            yield "### Legal holds"
            yield ""
            yield from (f"- {hold['target']}: {hold['reason']} (by {hold['by']})" for hold in cube["holds"])
        if cube["audit"]:
            yield ""
            yield "### Who did what"
            yield ""
            yield from (
                f"- {entry['at']:%Y-%m-%d %H:%M} {entry['actor']}: {entry['action']}" for entry in cube["audit"]
            )
    for memory in told["working"]:
        yield ""
        yield f"## In mind in the conversation {memory['conversation']}"
        yield ""
        for each in memory["items"]:
            used = f"{each['used']['total']:.2f} times, {each['used']['last_at']:%Y-%m-%d %H:%M} last"
            yield f"- {each['cube']}: {each['id'] or 'a deleted item'} (used {used})"


def _item(item: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield f"### Item {item['id']}" + (" (deleted)" if item["deleted"] else "")
    if item["used"]:
        yield ""
        yield f"Used {item['used']['total']:.2f} times, {item['used']['last_at']:%Y-%m-%d %H:%M} last."
    for version in item["versions"]:
        yield ""
        yield f"Version {version['version']}, {version['op']} by {version['actor']}, {version['at']:%Y-%m-%d %H:%M}"
        held = version["item"]
        if held is None:
            continue
        yield ""
        yield from (f"> {line}" for line in held["text"].splitlines() or [""])
        said = {name: held[name] for name in ("key", "tags", "metadata", "payload", "occurred_at") if held.get(name)}
        if said:
            yield ""
            yield from (f"- {name}: `{msgspec.json.encode(value).decode()}`" for name, value in said.items())


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
