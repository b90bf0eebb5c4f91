"""Access to rendered Kubernetes documents: by kind and name, by path, and to pods and containers at
any depth.
"""


def get(node, path, default=None):
    """Returns the value at a path of names and numbers, separated by dots."""
    for part in path.split("."):
        if isinstance(node, list):
            node = node[int(part)] if int(part) < len(node) else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return default if node is None else node


def name(document):
    return f"{document['kind']}/{get(document, 'metadata.name')}"


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def containers(spec):
    for group in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(group) or []


def pods(document):
    """Yields the pod templates of a document of any kind."""
    if isinstance(document, dict):
        if get(document, "spec.containers"):
            yield document
            return
        document = list(document.values())
    if isinstance(document, list):
        for node in document:
            yield from pods(node)
