"""Signing secrets of webhooks, encrypted by KMS each for its own client: one client's opens no other client's."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Any

from shared import aws


class Vault:
    """Seals secrets with one KMS key, and opens them."""

    def __init__(self, key_id: str | None = None, *, kms: Any = None) -> None:
        """Of the key `key_id`, which only sealing needs; `kms` in place of a client that is built at first use."""
        self._key_id = key_id
        self._given = kms

    def seal(self, client_id: str, secret: str) -> str:
        """`secret` encrypted, as base64.

        Raises:
            Transient: when KMS does not do it.
        """
        with aws.translated("Sealing a signing secret"):
            answer = self._kms.encrypt(KeyId=self._key_id, Plaintext=secret.encode(), **_context(client_id))
        return base64.b64encode(answer["CiphertextBlob"]).decode()

    def open(self, client_id: str, sealed: str) -> str:
        """The secret that was sealed for this client.

        Raises:
            Transient: when KMS does not do it, as for another client's.
        """
        with aws.translated("Opening a signing secret"):
            answer = self._kms.decrypt(CiphertextBlob=base64.b64decode(sealed), **_context(client_id))
        plain: bytes = answer["Plaintext"]
        return plain.decode()

    @cached_property
    def _kms(self) -> Any:
        return self._given or aws.client("kms", read_timeout=3)


def _context(client_id: str) -> dict[str, dict[str, str]]:
    return {"EncryptionContext": {"client_id": client_id}}
