"""Every error memos raises, in one tree. The tree:

MemosError
├── InvalidInput (ValueError)      what you passed cannot be stored or understood
│   ├── InvalidText                NUL characters, lone surrogates, nothing to read
│   ├── InvalidName                an actor, cube, id or key that could be mistaken for something else
│   ├── InvalidMetadata            metadata or payload that is not JSON
│   ├── InvalidFilter              a `where` that has no meaning
│   ├── InvalidCursor              a page cursor of another search
│   ├── InvalidConfig              a setting that does not exist or does not fit
│   └── WrongDimension             a vector of another length than the store's
├── NotFound (LookupError)         absent, or not yours to see: the two look the same
│   ├── CubeNotFound
│   ├── ItemNotFound
│   ├── VersionNotFound
│   └── JobNotFound
├── AccessDenied (PermissionError) you may see it, but not do that with it
├── Conflict                       somebody was faster, or the name is taken
│   ├── VersionConflict            `expect_version` is no longer the current version
│   ├── AlreadyExists              an id, key or cube name that is in use
│   ├── QueueFull                  more jobs wait than `max_pending` allows; try later, or wait with `timeout=`
│   ├── JobStopped                 the job was cancelled, took too long, or belongs to another worker by now
│   ├── StateConflict              the item's state does not let that be done (it is frozen, say)
│   └── OnHold                     a legal hold keeps it: nothing of it may be deleted or erased
├── StoreError                     the database or its folder
│   ├── StoreNotFound              there is no store at that place
│   ├── StoreBusy                  others kept writing until the deadline passed
│   ├── StoreFull                  no space left
│   ├── StoreReadOnly              the folder or file cannot be written
│   ├── StoreDamaged               bytes that are not what was written
│   ├── ForeignStore               a database, but not one of ours
│   ├── NewerSchema                written by a newer memos
│   ├── StoreUnreachable           the database server does not answer, or the connection was lost
│   │   └── CommitUnknown          it was lost while a change was committed: look before you try again
│   ├── StoreRefused               the server answers, but not for this user, password or database
│   ├── StoreClosed                used after close()
│   ├── FollowerUnavailable        whoever keeps a copy of the vectors cannot be reached, or is not to be trusted
│   ├── AnchorUnavailable          the place outside of the store that signed checkpoints go to cannot be written or read
│   ├── UnsupportedStore           a location or backend nobody here can open
│   ├── NotABackup                 a folder without backups, or with those of another store
│   └── BackupDamaged              files of a backup that are not what was written
├── ModelError                     a model
│   ├── EmbedderMismatch           the store's vectors come from another embedder
│   ├── EmbedderUnavailable        the store needs an embedder that was not given and cannot be loaded
│   ├── ModelNotFound              no weights under that name or folder
│   ├── EmbeddingFailed            the model raised, or answered with something that is no vector
│   └── AnswerRefused              a text model raised, or answered something else than it was asked for
├── JobFailed                      background work was given up, or cancelled
├── MissingPackage (ImportError)   an optional package; the message names the pip command
└── ReadingFailed                  a file that cannot be read as text, Markdown, HTML or a chat export

A message says what was asked, what was found, and what to do. A driver's error is kept as ``__cause__``.
"""

from __future__ import annotations


class MemosError(Exception):
    """Base of every error memos raises on purpose."""


class InvalidInput(MemosError, ValueError):
    """What was passed cannot be stored or understood."""


class InvalidText(InvalidInput):
    """Text that cannot be kept exactly as it is: NUL characters, lone surrogates, or nothing to read."""


class InvalidName(InvalidInput):
    """A name of an actor, cube, item or key that is empty, a wildcard, or could be mistaken for another."""


class InvalidMetadata(InvalidInput):
    """Metadata or payload that is not JSON."""


class InvalidFilter(InvalidInput):
    """A `where` that has no meaning."""


class InvalidCursor(InvalidInput):
    """A page cursor that was not made by this search."""


class InvalidConfig(InvalidInput):
    """A setting that does not exist or does not fit."""


class WrongDimension(InvalidInput):
    """A vector of another length than the store's."""


class NotFound(MemosError, LookupError):
    """Absent, or not yours to see."""


class CubeNotFound(NotFound):
    """No cube of that name that the actor may read."""


class ItemNotFound(NotFound):
    """No item of that id in the cubes that the actor may read."""


class VersionNotFound(NotFound):
    """The item has no version of that number, or the cube no such change."""


class JobNotFound(NotFound):
    """No job of that number (it may have been done long ago, and forgotten)."""


class AccessDenied(MemosError, PermissionError):
    """The actor may see it, but has no right to do that with it."""


class Conflict(MemosError):
    """Somebody was faster, or the name is taken."""


class VersionConflict(Conflict):
    """`expect_version` is no longer the current version."""


class AlreadyExists(Conflict):
    """An id, key or cube name that is in use."""


class StateConflict(Conflict):
    """The item's state does not let that be done with it."""


class OnHold(Conflict):
    """A legal hold keeps it: nothing of it may be deleted or erased until the hold is released."""


class QueueFull(Conflict):
    """More jobs wait than the store takes on."""


class JobStopped(Conflict):
    """The job was cancelled, has taken too long, or belongs to another worker by now."""


class JobFailed(MemosError):
    """Background work was given up after its last attempt, or cancelled."""


class StoreError(MemosError):
    """The database or its folder."""


class StoreNotFound(StoreError):
    """There is no store at that place, and none was to be made."""


class StoreBusy(StoreError):
    """Others kept the database locked until the deadline passed."""


class StoreFull(StoreError):
    """No space left where the store lives."""


class StoreReadOnly(StoreError):
    """The folder or the database file cannot be written."""


class StoreDamaged(StoreError):
    """The bytes are not those that were written."""


class ForeignStore(StoreError):
    """A database, but not one of ours."""


class NewerSchema(StoreError):
    """The store was written by a newer memos."""


class StoreUnreachable(StoreError):
    """The database server does not answer, or the connection was lost; nothing of the change was kept."""


class CommitUnknown(StoreUnreachable):
    """The connection was lost while a change was committed, and whether it was kept could not be found out."""


class StoreRefused(StoreError):
    """The database server answers, but not for this user, password or database."""


class StoreClosed(StoreError):
    """Used after close()."""


class FollowerUnavailable(StoreError):
    """Whoever keeps a copy of the vectors (Chroma, a host's store) cannot be reached, or is not to be trusted now."""


class AnchorUnavailable(StoreError):
    """The place outside of the store that signed checkpoints of the audit go to cannot be written or read."""


class UnsupportedStore(StoreError):
    """A location or backend that nobody here can open."""


class NotABackup(StoreError):
    """A folder without backups, with something else in it, or with backups of another store."""


class BackupDamaged(StoreError):
    """Files of a backup are missing, or are not what was written."""


class ModelError(MemosError):
    """An embedding model."""


class EmbedderMismatch(ModelError):
    """The store's vectors come from another embedder."""


class EmbedderUnavailable(ModelError):
    """The store needs an embedder that was not given and cannot be loaded by name."""


class ModelNotFound(ModelError):
    """No weights under that name or folder."""


class EmbeddingFailed(ModelError):
    """The model raised, or answered with something that is no vector."""


class AnswerRefused(ModelError):
    """A text model raised, or answered something else than it was asked for. Nothing of it is kept."""


class MissingPackage(MemosError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'memoskit[{extra}]'")
        self.package = package
        self.extra = extra


class ReadingFailed(MemosError):
    """A file that cannot be read as text, Markdown, HTML or a chat export."""
