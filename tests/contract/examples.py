"""Checks the examples in a contract against its schemas: examples.py CONTRACT

Prints every wrong example and the number of all.
"""

import sys

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


def examples(node, path):
    """Yields each example below a node with the path of its schema."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from examples(item, f"{path}/{number}")
    if not isinstance(node, dict):
        return
    if "schema" in node and "example" in node:
        yield f"{path}/schema", node["example"]
    if "schema" in node and "examples" in node:
        for example in node["examples"].values():
            yield f"{path}/schema", example["value"]
    elif isinstance(node.get("examples"), list):
        for example in node["examples"]:
            yield path, example
    for name, item in node.items():
        if name not in ("example", "examples"):
            yield from examples(item, path + "/" + name.replace("~", "~0").replace("/", "~1"))


with open(sys.argv[1], encoding="utf-8") as file:
    contract = yaml.safe_load(file)
registry = Registry().with_resource("urn:contract", Resource(contract, DRAFT202012))
found, wrong = 0, 0
for path, example in examples(contract, ""):
    found += 1
    schema = {"$ref": "urn:contract#" + path.replace("{", "%7B").replace("}", "%7D")}
    for error in Draft202012Validator(schema, registry=registry).iter_errors(example):
        wrong += 1
        print(f"{path}: {error.message}")
print(f"{found} examples, {wrong} wrong")
sys.exit(wrong > 0 or found == 0)
