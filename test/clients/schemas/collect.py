#!/usr/bin/python3
"""Which answers Tempest expects: one JSON document on standard output.

Each method of Tempest's compute and volume clients is called with made-up arguments at each microversion at which its
schemas change, over a connection that is none: what it would have sent and the schema that it would have held the answer
against are written down, and that is all that happens.

{"version": "...", "schemas": {"compute.v2_1.servers.get_server": {"status": [200], "body": {...} or null}, ...},
 "names": {every name of a schema: the name that it has in "schemas"},
 "calls": [{"service": "compute", "method": "GET", "path": ["servers", null], "action": null,
            "from": 1, "to": 2 or null, "schema": "compute.v2_1.servers.get_server"}, ...]}
A null in a path stands for an id; `action` is the one key of the body of an action on something.
"""
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import sys

import tempest.lib.api_schema.response as responses
import tempest.lib.services.compute as compute
import tempest.lib.services.compute.base_compute_client as compute_base
import tempest.lib.services.volume.base_client as volume_base
import tempest.lib.services.volume.v3 as volume
from tempest.lib.common import rest_client

MADE_UP = "made-up-argument"
SERVICES = {
    "compute": (compute, compute_base, "COMPUTE_MICROVERSION", "2"),
    "volume": (volume, volume_base, "VOLUME_MICROVERSION", "3"),
}


class Held(Exception):
    """An answer was about to be held against a schema."""

    def __init__(self, schema):
        super().__init__()
        self.schema = schema


class Answer(dict):
    status = 200


def known_schemas():
    """Content of every schema by its first name, all names with the first of each, and the first name by identity."""
    content, aliases, names = {}, {}, {}
    for found in pkgutil.walk_packages(responses.__path__, responses.__name__ + "."):
        if found.ispkg:
            continue
        for name, value in vars(importlib.import_module(found.name)).items():
            if not isinstance(value, dict) or "status_code" not in value:
                continue
            full = ".".join(found.name.split(".")[4:] + [name])
            aliases[full] = names.setdefault(id(value), full)
            content[aliases[full]] = {"status": value["status_code"], "body": value.get("response_body")}
    return content, aliases, names


def clients_of(package):
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(package.__name__ + "." + found.name)
        for _, each in inspect.getmembers(module, inspect.isclass):
            if each.__module__ == module.__name__ and issubclass(each, rest_client.RestClient):
                yield each


def versions_of(client, major):
    """(setting, from, to) of each range in which the client's schemas are the same; `to` None: from there on."""
    ranges = getattr(client, "schema_versions_info", None) or [{"min": None, "max": None}]
    for each in ranges:
        first = each["min"] or major + (".1" if major == "2" else ".0")
        last = each["max"]
        yield each["min"], int(first.split(".")[1]), int(last.split(".")[1]) if last else None


def arguments_of(function):
    """Sets of arguments to call it with: every parameter that is asked for; `detail` both ways, and a quota's usage."""
    given = {}
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.default is parameter.empty:
            given[name] = MADE_UP
    if "detail" in inspect.signature(function).parameters:
        return [dict(given, detail=False), dict(given, detail=True)]
    if function.__name__ == "show_quota_set":
        return [given, dict(given, params={"usage": True})]
    return [given]


def call(client, name, arguments):
    """What it sent last and the schema: (method, url, body, schema); None when it holds nothing against any."""
    sent = []

    def request(self, method, url, extra_headers=False, headers=None, body=None, chunked=False):
        sent.append((method, url, body))
        return Answer(), "{}"

    def validate(schema, _answer, _body):
        raise Held(schema)

    client.request = request.__get__(client)
    client.validate_response = validate
    client.expected_success = lambda *_: None
    try:
        getattr(client, name)(**arguments)
    except Held as held:
        return (*sent[-1], held.schema) if sent else None
    except Exception:  # It wanted more of its arguments or of the answer than there is.
        return None
    return None


def path_of(url):
    return [None if MADE_UP in part else part for part in url.split("?")[0].strip("/").split("/")]


def action_of(url, body):
    if not url.split("?")[0].endswith("/action") or body is None:
        return None
    return next(iter(json.loads(body)), None)


def main():
    schemas, aliases, names = known_schemas()
    calls = []
    for service, (package, base, setting, major) in SERVICES.items():
        for kind in clients_of(package):
            for version, first, last in versions_of(kind, major):
                setattr(base, setting, version)
                client = kind(None, service, "RegionOne")
                for name, function in inspect.getmembers(kind, inspect.isfunction):
                    if name.startswith("_") or name == "get_schema" or name in vars(rest_client.RestClient):
                        continue
                    for arguments in arguments_of(function):
                        found = call(client, name, arguments)
                        if found is None or id(found[3]) not in names:
                            continue
                        method, url, body, schema = found
                        calls.append(
                            {
                                "service": service,
                                "method": method,
                                "path": path_of(url),
                                "action": action_of(url, body),
                                "from": first,
                                "to": last,
                                "schema": names[id(schema)],
                            }
                        )
    version = importlib.metadata.version("tempest")
    json.dump({"version": version, "schemas": schemas, "names": aliases, "calls": calls}, sys.stdout)


main()
