"""Checks documents strictly against the schemas of several Kubernetes versions, and custom
resources against the shapes that k8s/ uses."""

import json
from functools import cache

from jsonschema import Draft202012Validator
from kubernetes_validate import utils

VERSIONS = ["1.35", "1.36", "1.37"]


def shape(required, **properties):
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# Custom resources, which Kubernetes has no schema for, in the shapes that k8s/ uses.
TEXT = {"type": "string", "minLength": 1}
BEARER = shape(["credentials"], type={"const": "Bearer"}, credentials=shape(["name", "key"], name=TEXT, key=TEXT))
ENDPOINT = shape(["port", "path"], port=TEXT, path={"pattern": "^/"}, interval={"pattern": "^[0-9]+s$"}, authorization=BEARER)
SELECTOR = shape(["matchLabels"], matchLabels={"type": "object", "minProperties": 1})
CUSTOM = {
    "monitoring.coreos.com/v1 ServiceMonitor": shape(
        ["selector", "endpoints"], selector=SELECTOR, endpoints={"type": "array", "minItems": 1, "items": ENDPOINT}
    ),
    "monitoring.coreos.com/v1 PodMonitor": shape(
        ["selector", "podMetricsEndpoints"],
        jobLabel=TEXT,
        selector=SELECTOR,
        podMetricsEndpoints={"type": "array", "minItems": 1, "items": ENDPOINT},
    ),
}


def against_schemas(document):
    custom = CUSTOM.get(f"{document['apiVersion']} {document['kind']}")
    if custom:
        errors = Draft202012Validator(custom).iter_errors(document.get("spec", {}))
        yield from (f"shape: {'.'.join(map(str, error.path))}: {error.message}" for error in errors)
        return
    for version in VERSIONS:
        fault = against_schema(json.dumps(document), version)
        if fault:
            yield f"schema {version}: {fault}"


@cache
def against_schema(document, version):
    try:
        used = utils.validate(json.loads(document), version, strict=True)
    except utils.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except (utils.SchemaNotFoundError, utils.VersionNotSupportedError) as error:
        return error.message
    # For an unknown version, the library falls back to the previous one.
    return None if used == version else f"there is none; {used} is the nearest"
