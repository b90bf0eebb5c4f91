"""Gives schemathesis what it cannot generate: real image files, and requests that keep rules which
the contract has only in words.

Adds requests and makes checks stricter; removes no check.
"""

import tarfile
from base64 import b64encode
from io import BytesIO
from json import dumps, loads
from os import environ
from pathlib import Path

import schemathesis
from hypothesis import strategies

FIXTURES = Path(__file__).parent.parent / "fixtures"
IMAGES = {
    "image/jpeg": ["upright.jpg", "rotated.jpg", "grey.jpg", "cmyk.jpg"],
    "image/png": ["one.png", "alpha.png", "deep.png"],
    "image/webp": ["small.webp"],
    "image/gif": ["animated.gif"],
    "image/bmp": ["small.bmp"],
    "image/tiff": ["small.tiff"],
}


def files(names):
    return strategies.sampled_from([(FIXTURES / name).read_bytes() for name in names])


def archive():
    """Returns two class folders with a picture each: a valid request, but too little to learn
    from."""
    with BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name in ("sea/upright.jpg", "sky/grey.jpg"):
                archive.add(FIXTURES / Path(name).name, name)
        return file.getvalue()


ARCHIVE = archive()

for media_type, names in IMAGES.items():
    schemathesis.openapi.media_type(media_type, files(names))
every = files([name for names in IMAGES.values() for name in names])
schemathesis.openapi.media_type("application/octet-stream", every)

# The ids under /admin, by operation, because one operation may delete what another needs.
NAMED = loads(environ["CONTRACT_NAMED"])

base64 = every.map(lambda image: b64encode(image).decode())
schemathesis.openapi.format("image", base64 | base64.map("data:image/png;base64,".__add__))


# The fields that the gallery has, and filters of them.
FIELDS = ["price", "in_stock"]
filters = [
    "price < 50 AND in_stock = true", "id EXISTS", 'labels IN ["beach", "sea"] OR NOT price EXISTS',
    'id STARTS WITH "b"', "created_at_ms > 2026-01-31T12:00:00Z",
]
schemathesis.openapi.format("filter", strategies.sampled_from(filters))
schemathesis.openapi.format("order", strategies.sampled_from(["price", "-price", "in_stock"]))
schemathesis.openapi.format("field", strategies.sampled_from(["colour", "size.width", 'specs."screen size"', "größe"]))
# Deletions and changes keep the images that other requests need.
OF_NO_IMAGE = 'labels = "of-no-image"'
BY_FILTER = ("delete_images", "change_images")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Requires keys, and forbids members that the contract does not have. Clients must tolerate new
    members; this test does not."""
    raw_schema["security"].remove({})
    # The server's URL is relative to the document, which is read from a file here.
    raw_schema["servers"] = [{"url": "/"}]
    schemas = raw_schema["components"]["schemas"]
    for name in (
        "SearchResult", "Match", "EncodeResult", "Codes", "Image", "BatchResult", "ImagePage", "Info", "Problem", "Model",
        "ActivationResult", "Snapshot", "Duplicates", "DuplicateGroup", "Field", "FieldStatus", "DeclaredField",
    ):
        close(schemas[name])


def close(schema):
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
        for member in schema["properties"].values():
            close(member)
    if "items" in schema:
        close(schema["items"])


@schemathesis.deserializer("application/octet-stream", "image/*")
def read(context, response):
    return response.content.decode("latin-1")


@schemathesis.hook
def before_add_examples(context, examples):
    """Adds files to examples of forms and this model's sketches, neither of which a document can
    contain."""
    for case in examples:
        with_sketch(case)
        with_filter(case)
        with_cursor(case)
        keep_fields(case)
        if is_boxed(case) and not has_picture(case):
            del case.query["box"]
        if context.operation.path == "/search" and not searchable(case):
            case.query = {name: value for name, value in case.query.items() if name not in BY_SIMILARITY}
        if isinstance(case.body, dict) and case.media_type == "multipart/form-data":
            if context.operation.path == "/admin/jobs":
                case.body = of_archive(case.body["job"])
                continue
            image = (FIXTURES / "upright.jpg").read_bytes()
            case.body["image"] = [image] if context.operation.path == "/images/batch" else image


@schemathesis.hook
def filter_case(context, case):
    negative = case.meta is not None and case.meta.generation.mode.is_negative
    if context.operation.path == "/admin/jobs" and isinstance(case.body, dict):
        job = case.body.get("job", case.body)
        if isinstance(job, dict) and job.get("kind") == "change_images":
            return negative or changes(job)
        return negative or isinstance(job, dict) and learns(job)
    if context.operation.path == "/images" and case.method.upper() == "PATCH" and isinstance(case.body, dict):
        return negative or changes(case.body)
    if negative and isinstance(case.body, dict) and case.media_type == "multipart/form-data":
        return not reads_well(case.body, context.operation.path)
    if not negative and is_boxed(case) and not has_picture(case):
        return False
    return negative or context.operation.path != "/search" or searchable(case)


def is_boxed(case):
    return "box" in (case.query or {})


def has_picture(case):
    """Returns whether a case has a picture; only then may it have a box, which no schema can
    say."""
    return not isinstance(case.body, dict) or "image" in case.body


def learns(job):
    """Returns whether a job has at least one epoch of either kind, which no schema can say."""
    epochs = job.get("epochs", 4) if job.get("train_backbone", True) else 0
    return job["kind"] != "fine_tune" or 1 <= job.get("warm_up_epochs", 4) + epochs


def changes(patch):
    """Returns whether a change of images changes anything, which no schema can say."""
    return bool({"labels", "payload"} & patch.keys() or patch.get("add_labels") or patch.get("remove_labels"))


def of_archive(job):
    """Returns a job with an archive: labels are its folders, and it has no `images` and no `filter`,
    which no schema can say."""
    job = {name: value for name, value in job.items() if name != "filter"}
    return {"archive": ARCHIVE, "job": {**job, "model": NAMED["POST /admin/jobs"], "labels": ["sea"], "images": []}}


def reads_well(form, path):
    """Returns whether an invalid form is valid as it is sent: a single field counts as a list, and
    any value becomes text."""
    texts = [form.get("labels", [])]
    if path == "/search":
        # No value is no filter.
        return form.get("filter", "") in (None, [], [None])
    if path == "/images/batch":
        if not isinstance(form.get("image", []), list) or not isinstance(form.get("payload", []), list):
            return True
        texts.append(form.get("id", []))
    return any(not isinstance(text, list) or not all(isinstance(item, str) for item in text) for text in texts)


@schemathesis.hook
def map_case(context, case):
    """Puts in existing models and jobs, and encodes payloads, because schemathesis sends text even
    if the contract says JSON."""
    negative = case.meta is not None and case.meta.generation.mode.is_negative
    if not negative and case.operation.path.startswith("/admin/"):
        named = NAMED.get(f"{case.method.upper()} {case.operation.path}")
        # Cases of the stateful phase have the id of a previous answer.
        for name in ("id", "path"):
            if named is not None and f"{{{name}}}" in case.operation.path and case.meta.phase.name != "stateful":
                case.path_parameters[name] = named
        if named is not None and isinstance(case.body, dict):
            if "archive" in case.body:
                case.body = of_archive(case.body["job"])
            elif case.body.get("kind") in BY_FILTER:
                case.body["filter"] = OF_NO_IMAGE
            elif case.body.get("kind") != "find_duplicates":
                case.body["model"] = named
                if case.body.get("kind") == "fine_tune":
                    # There are many such jobs, and one that trained would make all others wait.
                    case.body["labels"] = ["of-no-image"]
        if isinstance(case.body, bytes):
            case.body = Path(environ["CONTRACT_MODEL"]).read_bytes()
    keep_fields(case)
    if not negative:
        with_sketch(case)
        with_filter(case)
        with_cursor(case)
        if is_boxed(case):
            case.query["box"] = within_picture(case.query["box"])
    if isinstance(case.body, dict) and case.media_type == "multipart/form-data" and "payload" in case.body:
        payload = case.body["payload"]
        if isinstance(payload, str):
            case.body["payload"] = dumps(payload)
        elif isinstance(payload, list):
            case.body["payload"] = [dumps(item) if isinstance(item, str) else item for item in payload]
    return case


def within_picture(box):
    """Moves a box into the picture, which no schema can require. Half a side is at least a pixel of
    any picture."""
    x, y, *_ = box.split(",") if isinstance(box, str) else box
    return f"{float(x) / 2},{float(y) / 2},0.5,0.5"


# The parameters that need sketches.
BY_SIMILARITY = ("order", "candidates", "min_similarity")


def with_sketch(case):
    """Replaces a case's sketch by one that the service can compare."""
    if isinstance(case.body, dict) and {"code", "sketch"} <= case.body.keys():
        case.body.update(loads(environ["CONTRACT_SKETCH"]))


def keep_fields(case):
    """Deletes another field than those of filters."""
    if case.method.upper() == "DELETE" and case.path_parameters.get("path") in FIELDS:
        case.path_parameters["path"] = NAMED["DELETE /admin/fields/{path}"]


def with_cursor(case):
    """Replaces the position in a list by one in a list by age, and leaves it out of other lists,
    which no schema can say."""
    if case.operation.path == "/images" and "after" in (case.query or {}):
        case.query["after"] = str(case.query["after"]).rsplit(".", 1)[-1]
        if "order_by" in case.query:
            del case.query["after"]


def with_filter(case):
    """Leaves one filter to a search, gives one of no image to deletions and changes, and one of all
    images to a group, which needs its copies."""
    if case.operation.path == "/duplicates/{id}" and {"filter", "label"} & (case.query or {}).keys():
        case.query = {name: value for name, value in case.query.items() if name != "label"} | {"filter": "id EXISTS"}
    if case.operation.path == "/images" and case.method.upper() in ("DELETE", "PATCH"):
        case.query = {**(case.query or {}), "filter": OF_NO_IMAGE}
        if "expect" in case.query:
            case.query["expect"] = "0"
    if isinstance(case.body, dict) and "filter" in case.body and "filter" in (case.query or {}):
        del case.query["filter"]


def searchable(case):
    """Returns whether a search is valid: `radius` is at most `bits`, `bits` is the length of the
    code, and a search by similarity has a sketch. No schema can say this."""
    query = case.query or {}
    by_similarity = query.get("order") == "similarity" or "candidates" in query or "min_similarity" in query
    without = isinstance(case.body, dict) and "code" in case.body and "sketch" not in case.body
    if by_similarity and (without or query.get("order") == "distance"):
        return False
    bits = int(query.get("bits", 48))
    if isinstance(case.body, dict) and "code" in case.body:
        length = 4 * len(case.body["code"])
        if int(query.get("bits", length)) != length:
            return False
        bits = length
    return int(query.get("radius", 0)) <= bits
