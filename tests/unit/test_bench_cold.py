"""The environment in which the benchmark `cold` starts the worker."""

from __future__ import annotations

import pytest

from bench.cold import build_variables, get_setting
from local.package.manifest import Manifest, ModelArtifact
from shared.settings import WorkerSettings

URL = "http://127.0.0.1:9"


def test_environment_has_every_setting_of_the_worker() -> None:
    model = ModelArtifact(file="model.tar", sha256="0" * 64, size=1, name="small", version="1")
    manifest = Manifest(runtime="python3.13", architecture="x86_64", functions={}, layers={}, model=model)
    settings = WorkerSettings.from_environment(build_variables(manifest, URL))
    assert settings.model_key == "model.tar"
    assert settings.webhooks_queue_url == f"{URL}/123456789012/webhooks"


def test_setting_without_a_value_is_named() -> None:
    with pytest.raises(RuntimeError, match="`new_setting`"):
        get_setting("new_setting", {}, URL)
