"""Base classes of the pydantic models.

Stored times are integers in milliseconds since the epoch. `expires_at` is in seconds, because DynamoDB's TTL
needs that. So is `created_at` of clients and their secrets.
The API shows times in RFC 3339, in UTC.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A body that a client sends. Unknown fields are errors, and no value is coerced to a string."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(BaseModel):
    """An item or a message of our own. A field that a newer version added is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
