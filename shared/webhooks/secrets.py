"""Encryption of the secrets that sign webhooks. KMS binds each ciphertext to one client."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Any

from shared.aws.client import make_client, translate_errors


class SecretCipher:
    """Encrypts and decrypts signing secrets with a KMS key. The client's id is the encryption context."""

    def __init__(self, key_id: str | None = None, *, kms: Any = None) -> None:
        """Use the key `key_id`, which only `encrypt` needs.

        Args:
            key_id: The id or ARN of the KMS key.
            kms: A low-level client to use. Without it, one is built at first use.
        """
        self._key_id = key_id
        self._given = kms

    def encrypt(self, client_id: str, secret: str) -> str:
        """Return the ciphertext of `secret` in base64.

        Raises:
            Transient: If KMS is throttled or unreachable, or denies the call.
        """
        with translate_errors("Encrypting a signing secret"):
            answer = self._kms.encrypt(KeyId=self._key_id, Plaintext=secret.encode(), **_context(client_id))
        return base64.b64encode(answer["CiphertextBlob"]).decode()

    def decrypt(self, client_id: str, ciphertext: str) -> str:
        """Return the secret that was encrypted for this client.

        Raises:
            Transient: If KMS is throttled or unreachable, or denies the call, as for another client's ciphertext.
        """
        with translate_errors("Decrypting a signing secret"):
            answer = self._kms.decrypt(CiphertextBlob=base64.b64decode(ciphertext), **_context(client_id))
        plain: bytes = answer["Plaintext"]
        return plain.decode()

    @cached_property
    def _kms(self) -> Any:
        return self._given or make_client("kms", read_timeout=3)


def _context(client_id: str) -> dict[str, dict[str, str]]:
    return {"EncryptionContext": {"client_id": client_id}}
