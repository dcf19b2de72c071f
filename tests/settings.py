"""The settings models of all functions."""

from __future__ import annotations

from shared.settings import AuthSettings, JanitorSettings, Settings, SubmitSettings, WebhookSettings, WorkerSettings

MODELS: dict[str, type[Settings]] = {  # by the name of the function
    "auth": AuthSettings,
    "janitor": JanitorSettings,
    "submit": SubmitSettings,
    "webhook": WebhookSettings,
    "worker": WorkerSettings,
}


def list_variables(model: type[Settings]) -> list[str]:
    """Return the names of the environment variables that a settings model reads."""
    return sorted(field.upper() for field in model.model_fields)
