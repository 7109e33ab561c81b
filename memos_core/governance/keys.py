"""The key that signs checkpoints of audit chains: Ed25519, in a file of the user's, never in the store.

The only file that touches `cryptography`. The private key is made on first use, readable by its owner alone; beside it lies
the public key (`audit.key.pub`), with which somebody else can verify and not sign.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memos_core.errors import InvalidConfig, MissingPackage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NAME: Final = "audit.key"
HOME: Final = "MEMOS_HOME"
_PRIVATE: Final = 0o600


def default_key() -> Path:
    """Where the key is unless said otherwise: in $MEMOS_HOME, else in the folder of the user's settings."""
    home = os.environ.get(HOME)
    if home:
        return Path(home).expanduser() / NAME
    import platformdirs

    return platformdirs.user_config_path("memos") / NAME


class SigningKey:
    """A private key, loaded.

    Attributes:
        fingerprint: of its public key.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.fingerprint = _fingerprint(key.public_key())

    def sign(self, content: bytes) -> bytes:
        """A signature, 64 bytes."""
        return self._key.sign(content)


class TrustedKeys:
    """Public keys that are believed.

    Args:
        paths: of private or public keys.

    Raises:
        InvalidConfig: one of them cannot be read.
        MissingPackage: `cryptography` is not installed.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._keys: dict[str, Ed25519PublicKey] = {}
        for path in paths:
            key = _load_public(path)
            self._keys[_fingerprint(key)] = key

    @property
    def fingerprints(self) -> Sequence[str]:
        """Of all of them."""
        return list(self._keys)

    def signed(self, key: str, content: bytes, signature: bytes) -> bool:
        """Whether the key of this fingerprint, which must be one of these, has signed the content."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._keys[key].verify(signature, content)
        except InvalidSignature:
            return False
        return True


def load_or_make(path: Path) -> SigningKey:
    """The private key in a file, made if there is none.

    Raises:
        InvalidConfig: the file cannot be read or made, is no Ed25519 key, or others may read it.
        MissingPackage: `cryptography` is not installed.
    """
    need_package()
    try:
        if not path.exists():
            _make(path)
        return SigningKey(_load_private(path))
    except OSError as error:
        raise InvalidConfig(f"the key {path} cannot be used: {error.strerror or error}") from error


def need_package() -> None:
    """Make sure that keys can be used here.

    Raises:
        MissingPackage: `cryptography` is not installed.
    """
    _ed25519()


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingPackage("cryptography", "audit", "signing checkpoints of the audit") from error
    return ed25519


def _make(path: Path) -> None:
    """A new key; of several that make one at the same time, one wins."""
    from cryptography.hazmat.primitives import serialization as s

    key = _ed25519().Ed25519PrivateKey.generate()
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(beside, private)
        try:
            os.link(beside, path)  # fails where somebody else was faster
        except FileExistsError:
            return
        finally:
            beside.unlink()
        path.with_name(f"{path.name}.pub").unlink(missing_ok=True)
        _write(path.with_name(f"{path.name}.pub"), public, 0o644)
    except OSError as error:
        raise InvalidConfig(
            f"the key for signing the audit cannot be made at {path}: {error.strerror or error}; give another place with "
            "MOS.open(audit_key=...)"
        ) from error


def _write(path: Path, content: bytes, mode: int = _PRIVATE) -> None:
    opened = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(opened, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"the key {path} cannot be read: {error.strerror or error}") from error


def _load_private(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise InvalidConfig(f"the key {path} can be read by others; close it with: chmod 600 {path}")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise InvalidConfig(f"{path} holds no private key that can be read: {error}") from error
    if not isinstance(key, _ed25519().Ed25519PrivateKey):
        raise InvalidConfig(f"{path} holds a key of another kind; the audit is signed with Ed25519")
    found: Ed25519PrivateKey = key
    return found


def _load_public(path: Path) -> Ed25519PublicKey:
    need_package()
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read(path)
    if b"PRIVATE KEY" in content:
        return _load_private(path).public_key()
    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError) as error:
        raise InvalidConfig(f"{path} holds no key that can be read: {error}") from error
    if not isinstance(key, _ed25519().Ed25519PublicKey):
        raise InvalidConfig(f"{path} holds a key of another kind; the audit is signed with Ed25519")
    found: Ed25519PublicKey = key
    return found


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]
