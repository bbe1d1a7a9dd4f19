"""The external form fits the code that it starts."""

from __future__ import annotations

import importlib
import importlib.util
import re
from typing import Any

from ruamel.yaml import YAML

from runtime.settings import Settings
from tests.docs.pages import ROOT

COMPOSE: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = {
    name: service for name, service in COMPOSE["services"].items() if str(service.get("image")).startswith("versions:")
}


def test_what_our_services_run_exists() -> None:
    assert set(OURS) == {"migrate", "worker", "api"}
    for name, service in OURS.items():
        command = service["command"]
        if command[0] == "versions":
            from docs.generate import commands

            assert tuple(command) in {each.words for each in commands()}, name
            continue
        assert command[:2] == ["python", "-m"], name
        assert importlib.util.find_spec(command[2]) is not None, name
        for word in command:
            if re.fullmatch(r"[a-z_.]+:[a-z_]+", word):
                module, _, attribute = word.partition(":")
                assert callable(getattr(importlib.import_module(module), attribute)), word


def test_variables_are_settings() -> None:
    known = {
        name for field in Settings.model_fields.values() for name in getattr(field.validation_alias, "choices", ())
    }
    for name, service in OURS.items():
        assert set(service["environment"]) <= known, name
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "VERSIONS_DATA_DIR=" in image


def test_secrets_that_compose_asks_for_are_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{([A-Z0-9_]+):\?", text))
    example = (ROOT / "deploy" / "example.env").read_text(encoding="utf-8")
    assert asked == set(re.findall(r"^([A-Z0-9_]+)=", example, re.MULTILINE))


def test_the_health_check_asks_a_path_that_the_api_has() -> None:
    from catalog_api.system.endpoints import router

    check = " ".join(OURS["api"]["healthcheck"]["test"])
    found = re.search(r"127\.0\.0\.1:(\d+)(/[a-z]+)", check)
    assert found is not None
    assert found[1] == OURS["api"]["command"][OURS["api"]["command"].index("--port") + 1]
    assert found[2] in {getattr(route, "path", "") for route in router.routes}


def test_every_image_is_pinned_and_waits_for_what_it_needs() -> None:
    for name, service in COMPOSE["services"].items():
        assert re.search(r":v?\d", service["image"]), f"{name}: {service['image']}"
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"]), name
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), f"{name}: {mount}"
        for port in service.get("ports", ()):
            assert str(port).startswith("127.0.0.1:"), f"{name} is open to everybody: {port}"


def test_search_attributes_of_the_namespace_are_those_of_the_workflows() -> None:
    from temporalio.common import SearchAttributeKey

    from workflows import search_attributes

    script = (ROOT / "deploy" / "temporal" / "namespace.sh").read_text(encoding="utf-8")
    ours = {key.name for key in vars(search_attributes).values() if isinstance(key, SearchAttributeKey)}
    (listed,) = re.findall(r"for name in ([\w ]+);", script)
    assert ours == set(listed.split())
