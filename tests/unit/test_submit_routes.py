"""The table of the API's routes, and everything that is derived from it."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from functions.submit import endpoints
from functions.submit.openapi import Specification
from functions.submit.routes import PUBLIC, ROUTES, Route, find_route
from local import routes as gateway
from shared.errors import MethodNotAllowed, NotFound

DOCUMENT = Specification("https://api.example").document()


def endpoint_modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(endpoints.__path__)]
    return [importlib.import_module(f"{endpoints.__name__}.{name}") for name in names]


def is_handler(function: object, module: ModuleType) -> bool:
    """Return whether the module defines `function` as a public function of the services and a request alone."""
    if not inspect.isfunction(function) or function.__module__ != module.__name__ or function.__name__.startswith("_"):
        return False
    return list(inspect.get_annotations(function)) == ["services", "request", "return"]


class TestTable:
    def test_route_without_a_scope_cannot_be_constructed(self) -> None:
        route = ROUTES[0]
        with pytest.raises(TypeError, match=r"POST /analyze .* Add `scope=` .*jobs:read, jobs:write, or PUBLIC"):
            Route(route.method, route.path, "x", "X.", route.handler, route.answers)

    @pytest.mark.parametrize("scope", [None, "", "jobs:admin", "public"])
    def test_route_with_an_unknown_scope_cannot_be_constructed(self, scope: str | None) -> None:
        with pytest.raises(TypeError, match="does not say who may call it"):
            replace(ROUTES[0], scope=scope)  # type: ignore[arg-type]  # the wrong type is tested

    def test_only_the_description_of_the_service_is_public(self) -> None:
        assert {route.key for route in ROUTES if route.scope is PUBLIC} == {"GET /health", "GET /openapi.json"}

    def test_every_handler_is_in_the_table(self) -> None:
        handlers = {
            f"{module.__name__}.{name}": function
            for module in endpoint_modules()
            for name, function in vars(module).items()
            if is_handler(function, module)
        }
        assert len(handlers) >= len(ROUTES)
        unlisted = [name for name, function in handlers.items() if function not in {one.handler for one in ROUTES}]
        assert not unlisted, f"Add a Route for {', '.join(unlisted)} to ROUTES in functions/submit/routes.py"

    def test_routes_and_names_of_calls_are_unique(self) -> None:
        assert len({route.key for route in ROUTES}) == len(ROUTES)
        assert len({route.operation_id for route in ROUTES}) == len(ROUTES)


class TestFindRoute:
    @pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.key)
    def test_every_route_is_found(self, route: Route) -> None:
        path = route.path.replace("{id}", "j-1")
        assert find_route(route.method, path) == (route, "j-1" if route.names_job else "")

    @pytest.mark.parametrize(
        "path",
        ["", "/", "/nothing", "/jobs/", "/jobs/a/b", "/jobs/a/cancel/", "//jobs", "/JOBS", "/jobs\n", "/oauth/token"],
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
    def test_unlisted_path_is_not_found(self, method: str, path: str) -> None:
        with pytest.raises(NotFound):
            find_route(method, path)

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "OPTIONS", "get", ""])
    def test_unlisted_method_is_refused_with_the_listed_ones(self, method: str) -> None:
        with pytest.raises(MethodNotAllowed) as refused:
            find_route(method, "/jobs/j-1")
        assert refused.value.headers == {"allow": "DELETE, GET"}


class TestDocument:
    def test_document_contains_every_route(self) -> None:
        described = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}
        listed = {(route.method.lower(), route.path) for route in ROUTES if route.is_described}
        assert described == listed | {("post", "/oauth/token")}

    @pytest.mark.parametrize("route", [one for one in ROUTES if one.is_described], ids=lambda route: route.key)
    def test_security_is_the_scope_of_the_route(self, route: Route) -> None:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation["security"] == ([] if route.scope is PUBLIC else [{"oauth2": [route.scope]}])
        assert {"401", "403", "429"} <= set(operation["responses"]) or route.scope is PUBLIC

    def test_calls_that_can_follow_exist(self) -> None:
        names = {route.operation_id for route in ROUTES}
        assert {name for route in ROUTES for name in route.leads_to} <= names


class TestGateway:
    def test_file_for_terraform_is_up_to_date(self) -> None:
        assert gateway.main(["--check"]) == 0, f"Run: {gateway.COMMAND}"

    def test_stale_file_fails_the_check_and_is_written_again(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "routes.json"
        monkeypatch.setattr(gateway, "FILE", file)
        assert gateway.main(["--check"]) == 1
        file.write_text("{}", encoding="utf-8")
        assert gateway.main(["--check"]) == 1
        assert file.read_text(encoding="utf-8") == "{}"
        assert "Run: python -m local.routes" in capsys.readouterr().err
        assert gateway.main([]) == 0
        assert gateway.main(["--check"]) == 0

    def test_file_has_function_and_throttle_of_every_route(self) -> None:
        table = json.loads(gateway.render())
        assert table["POST /oauth/token"] == {"function": "auth", "throttle": "token"}
        assert table["GET /jobs/{id}"] == {"function": "submit", "throttle": "default"}
        assert table["$default"] == {"function": "submit", "throttle": "default"}
        assert {key for key, entry in table.items() if entry["throttle"] == "token"} == {"POST /oauth/token"}
        assert {route.key for route in ROUTES} < set(table)
