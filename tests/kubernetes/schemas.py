"""Documents against the schemas of some versions of Kubernetes, strictly, and those of other owners against the shape that is used here.

Knows schemas, and refuses to know what a field is for.
"""

import json
from functools import cache

from jsonschema import Draft202012Validator
from kubernetes_validate import utils

VERSIONS = ["1.35", "1.36", "1.37"]


def shape(required, **properties):
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# What Kubernetes itself has no schema of, and the shape that is used here.
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
    # An unknown version would be taken for the one before it.
    return None if used == version else f"there is none; {used} is the nearest"
