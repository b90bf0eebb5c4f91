"""What schemathesis cannot make or know by itself: real image files, and what the contract says of /search in words only.

Adds to what is asked and to how strictly answers are read; takes no check away.
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
    """Of two class folders with a picture each: right as a request, and too little to learn from."""
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

# What is there to be named under /admin: by operation, for what one removes another could not be asked of.
NAMED = loads(environ["CONTRACT_NAMED"])

base64 = every.map(lambda image: b64encode(image).decode())
schemathesis.openapi.format("image", base64 | base64.map("data:image/png;base64,".__add__))


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Callers have to bear answers that grow, and services without keys; here neither is so, and what is not written is a fault."""
    raw_schema["security"].remove({})
    # Where the document is, which is read from a file here.
    raw_schema["servers"] = [{"url": "/"}]
    schemas = raw_schema["components"]["schemas"]
    for name in ("Found", "Match", "Encoded", "Codes", "Image", "Batch", "Page", "Info", "Problem", "Model", "Activated", "Snapshot", "Duplicates", "Group"):
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
    """A document has no place for a file, so its examples of forms come without, and knows no sketch of this model."""
    for case in examples:
        with_sketch(case)
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
        return negative or isinstance(job, dict) and learns(job)
    if negative and isinstance(case.body, dict) and case.media_type == "multipart/form-data":
        return not reads_well(case.body, context.operation.path)
    if not negative and is_boxed(case) and not has_picture(case):
        return False
    return negative or context.operation.path != "/search" or searchable(case)


def is_boxed(case):
    return "box" in (case.query or {})


def has_picture(case):
    """No schema can say that a box is for a picture alone."""
    return not isinstance(case.body, dict) or "image" in case.body


def learns(job):
    """No schema can say that there has to be an epoch of some kind."""
    epochs = job.get("epochs", 4) if job.get("train_backbone", True) else 0
    return job["kind"] != "fine_tune" or 1 <= job.get("warm_up_epochs", 4) + epochs


def of_archive(job):
    """No schema can say that labels are an archive's folders, and that images of the gallery have no place beside one."""
    return {"archive": ARCHIVE, "job": {**job, "model": NAMED["POST /admin/jobs"], "labels": ["sea"], "images": []}}


def reads_well(form, path):
    """On its way a field given once is a list of one, and whatever stands in a text field is text: no mistakes."""
    texts = [form.get("labels", [])]
    if path == "/images/batch":
        if not isinstance(form.get("image", []), list) or not isinstance(form.get("payload", []), list):
            return True
        texts.append(form.get("id", []))
    return any(not isinstance(text, list) or not all(isinstance(item, str) for item in text) for text in texts)


@schemathesis.hook
def map_case(context, case):
    """Schemathesis sends a text as it is even where the contract has JSON, and cannot know which models and jobs there are."""
    negative = case.meta is not None and case.meta.generation.mode.is_negative
    if not negative and case.operation.path.startswith("/admin/"):
        named = NAMED.get(f"{case.method.upper()} {case.operation.path}")
        # What was made a moment ago has a name already.
        if named is not None and "{id}" in case.operation.path and case.meta.phase.name != "stateful":
            case.path_parameters["id"] = named
        if named is not None and isinstance(case.body, dict):
            if "archive" in case.body:
                case.body = of_archive(case.body["job"])
            elif case.body.get("kind") != "find_duplicates":
                case.body["model"] = named
                if case.body.get("kind") == "fine_tune":
                    # They are many, and one that learned would have all others wait.
                    case.body["labels"] = ["of-no-image"]
        if isinstance(case.body, bytes):
            case.body = Path(environ["CONTRACT_MODEL"]).read_bytes()
    if not negative:
        with_sketch(case)
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
    """No schema can say that a box may not leave the picture. One of half a side has a pixel even of the smallest."""
    x, y, *_ = box.split(",") if isinstance(box, str) else box
    return f"{float(x) / 2},{float(y) / 2},0.5,0.5"


# What is asked of sketches.
BY_SIMILARITY = ("order", "candidates", "min_similarity")


def with_sketch(case):
    """Has a case that comes with a sketch come with one that the service can compare."""
    if isinstance(case.body, dict) and {"code", "sketch"} <= case.body.keys():
        case.body.update(loads(environ["CONTRACT_SKETCH"]))


def searchable(case):
    """No schema can say that `radius` is at most `bits`, that `bits` are those of a code given, and what needs a sketch to compare with."""
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
