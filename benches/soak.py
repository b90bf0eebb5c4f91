#!/usr/bin/env python3
"""Runs a mixed load for a long time: searches, inserts, replacements, deletes, originals and broken
pictures at once. Prints the service's resident memory and its slope, the answers, and whether all
acknowledged images are there at the end.

usage: soak.py --photos FOLDER [--program target/release/scihcgrl] [--model models/photos.safetensors] [--minutes 30] [--serve WORDS]

Each caller has its own images and knows their content. Their number is bounded, so growing memory
is a leak. Exits with 1 if anything was lost or answered wrongly."""
import argparse, collections, contextlib, http.client, json, pathlib, random, shlex, subprocess, sys, tempfile, threading, time

KINDS = {"search": 50, "put": 20, "delete": 8, "content": 10, "broken": 12}


class Caller(threading.Thread):
    """Sends requests one by one and keeps the acknowledged images."""

    def __init__(self, number, address, photos, ids, end):
        super().__init__()
        self.number, self.address, self.photos, self.ids, self.end = number, address, photos, ids, end
        self.rng = random.Random(number)
        self.kept = {}  # id to the photo's number
        self.counts, self.wrong = collections.Counter(), []
        self.client = http.client.HTTPConnection(address, timeout=60)

    def run(self):
        kinds, weights = list(KINDS), list(KINDS.values())
        try:
            while time.monotonic() < self.end:
                getattr(self, self.rng.choices(kinds, weights)[0])()
        except Exception as error:  # noqa: BLE001: any error must be reported at the end of the run
            self.wrong.append(f"caller {self.number}: {error!r}")

    def ask(self, kind, method, path, body=None, allowed=(200,)):
        """Returns status and body. Any request may get 429, which changes nothing."""
        headers = {"content-type": "application/json"} if isinstance(body, str) else {}
        self.client.request(method, path, body, headers)
        answer = self.client.getresponse()
        text = answer.read()
        self.counts[kind, answer.status] += 1
        if answer.status not in (*allowed, 429):
            self.wrong.append(f"{kind}: {method} {path} answered {answer.status}: {text[:200]!r}")
        return answer.status, text

    def photo(self):
        number = self.rng.randrange(len(self.photos))
        return number, self.photos[number]

    def search(self):
        _, photo = self.photo()
        self.ask("search", "POST", "/search?bits=48&radius=2&limit=10", photo)

    def put(self):
        number, photo = self.photo()
        id = f"{self.number}-{self.rng.randrange(self.ids)}"
        status, _ = self.ask("put", "PUT", f"/images/{id}?label={id}", photo, (200 if id in self.kept else 201,))
        if status in (200, 201):
            self.kept[id] = number

    def delete(self):
        if self.kept:
            id = self.rng.choice(list(self.kept))
            if self.ask("delete", "DELETE", f"/images/{id}", None, (204,))[0] == 204:
                del self.kept[id]

    def content(self):
        if self.kept:
            self.whole(self.rng.choice(list(self.kept)))

    def broken(self):
        _, photo = self.photo()
        photo = bytearray(photo)
        for _ in range(self.rng.randrange(1, 20)):
            photo[self.rng.randrange(len(photo))] ^= 1 << self.rng.randrange(8)
        body = bytes(photo[: self.rng.randrange(1, len(photo))] if self.rng.random() < 0.5 else photo)
        self.ask("broken", "POST", "/encode", body, (200, 415, 422))

    def whole(self, id):
        """Checks an image's original."""
        status, body = self.ask("content", "GET", f"/images/{id}/content")
        if status == 200 and body != self.photos[self.kept[id]]:
            self.wrong.append(f"the original of {id} differs")

    def check(self):
        """Checks all acknowledged images: records, originals and codes."""
        for id in self.kept:
            self.whole(id)
            record = json.loads(self.ask("record", "GET", f"/images/{id}")[1])
            for bits, code in record["codes"].items():
                path = f"/search?bits={bits}&radius=0&label={id}"
                found = json.loads(self.ask("by code", "POST", path, json.dumps({"code": code}))[1])
                if [match["id"] for match in found["matches"]] != [id]:
                    self.wrong.append(f"{id} is not found by its {bits} bits")
        for number in range(self.ids):
            id = f"{self.number}-{number}"
            if id not in self.kept:
                self.ask("gone", "GET", f"/images/{id}", None, (404,))
                self.ask("gone", "GET", f"/images/{id}/content", None, (404,))


@contextlib.contextmanager
def running(command):
    """Runs a service until the block ends; yields its process and address."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process, next(line for line in process.stdout if line.startswith("listening on ")).split("//")[1].strip()
        finally:
            process.terminate()


def resident(pid):
    """Returns the resident MiB."""
    line = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def slope(samples):
    """Returns MiB an hour, by least squares."""
    hours, sizes = [second / 3600 for second, _ in samples], [size for _, size in samples]
    mean = sum(hours) / len(hours)
    spread = sum((hour - mean) ** 2 for hour in hours)
    return sum((hour - mean) * size for hour, size in zip(hours, sizes)) / spread if spread else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--program", default="target/release/scihcgrl")
    parser.add_argument("--model", default="models/photos.safetensors")
    parser.add_argument("--serve", default="", help="more arguments of the service")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=10, help="seconds between two readings of memory")
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--ids", type=int, default=200, help="images that a caller has at most")
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(pathlib.Path(options.photos).rglob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        serve = [options.program, "serve", "--addr", "127.0.0.1:0", "--data-dir", f"{folder}/data", "--model", options.model]
        serve += shlex.split(options.serve)
        with running(serve) as (process, address):
            started = time.monotonic()
            callers = [Caller(number, address, photos, options.ids, started + options.minutes * 60) for number in range(options.callers)]
            for caller in callers:
                caller.start()
            samples = []
            while any(caller.is_alive() for caller in callers):
                samples.append((time.monotonic() - started, resident(process.pid)))
                requests = sum(sum(caller.counts.values()) for caller in callers)
                print(json.dumps({"second": round(samples[-1][0]), "resident_mib": round(samples[-1][1], 1), "requests": requests}), flush=True)
                time.sleep(options.every)
            during = sum((caller.counts for caller in callers), collections.Counter())
            for caller in callers:
                caller.counts.clear()
                caller.check()
        stopped = process.returncode
        # All acknowledged images are there after a restart as well.
        with running(serve) as (process, address):
            for caller in callers:
                caller.client = http.client.HTTPConnection(address, timeout=60)
                caller.check()
    wrong = [what for caller in callers for what in caller.wrong]
    if stopped != 0:
        wrong.append(f"SIGTERM ended it with {stopped}")
    print_summary(options, samples, during, sum(len(caller.kept) for caller in callers), wrong)
    sys.exit(1 if wrong else 0)


def print_summary(options, samples, counts, kept, wrong):
    half = [sample for sample in samples if sample[0] >= samples[-1][0] / 2]
    sizes = [size for _, size in samples]
    summary = {"minutes": options.minutes, "requests": sum(counts.values()), "kept": kept, "wrong": len(wrong),
               "first_mib": round(sizes[0], 1), "last_mib": round(sizes[-1], 1), "most_mib": round(max(sizes), 1),
               "slope_mib_per_hour": round(slope(samples), 2), "slope_of_the_second_half": round(slope(half), 2)}
    print(json.dumps(summary))
    statuses = sorted({status for _, status in counts})
    print("\n| | " + " | ".join(map(str, statuses)) + " |\n|" + "---|" * (len(statuses) + 1))
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(str(counts[kind, status] or "") for status in statuses) + " |")
    print(f"\n{kept} images acknowledged and checked, before a stop and after it; {len(wrong)} answers were wrong.")
    for what in wrong[:20]:
        print(what)


if __name__ == "__main__":
    main()
