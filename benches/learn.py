#!/usr/bin/env python3
"""A service with a model of six classes learns four more from its own gallery under searches.
Prints MAP of old and new classes before and after, the minutes of each step, and the times of
searches during them.

usage: learn.py --data FOLDER --backbone WEIGHTS [--program target/release/scihcgrl] [--each 200] [--queries 50] [--device cpu]

FOLDER has CIFAR-10's images as train/CLASS/*.jpg and test/CLASS/*.jpg. Every answer is checked: all
its codes are those of the model that it names. Exits with 1 if a search failed or mixed models, or
if a job did not succeed."""
import argparse, http.client, json, pathlib, shutil, statistics, subprocess, sys, tempfile, threading, time

OLD = ["airplane", "automobile", "bird", "cat", "deer", "dog"]
NEW = ["frog", "horse", "ship", "truck"]


class Searcher(threading.Thread):
    """Searches at intervals and keeps the answers."""

    def __init__(self, address, photos, pause):
        super().__init__(daemon=True)
        self.address, self.photos, self.pause = address, photos, pause
        self.phase, self.taken, self.answers, self.wrong = "idle", {}, [], []
        self.stop = False

    def run(self):
        client, number = http.client.HTTPConnection(self.address, timeout=60), 0
        while not self.stop:
            time.sleep(self.pause)
            number += 1
            began, phase = time.perf_counter(), self.phase
            try:
                client.request("POST", "/search?radius=4&limit=20", self.photos[number % len(self.photos)])
                answer = client.getresponse()
                text = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {text[:200]!r}")
            except Exception as error:  # noqa: BLE001: any error is a failed search
                self.wrong.append(repr(error))
                client = http.client.HTTPConnection(self.address, timeout=60)
                continue
            self.taken.setdefault(phase, []).append(1000 * (time.perf_counter() - began))
            self.answers.append(json.loads(text))


def ask(address, method, path, body=None, headers={}):
    client = http.client.HTTPConnection(address, timeout=600)
    client.request(method, path, body, headers)
    answer = client.getresponse()
    text = answer.read()
    if answer.status >= 300:
        sys.exit(f"{method} {path}: {answer.status} {text[:500]!r}")
    return json.loads(text) if text else None


def over(address, job):
    while True:
        job = ask(address, "GET", f"/admin/jobs/{job['id']}")
        if job["state"] in ("succeeded", "failed", "cancelled"):
            if job["state"] != "succeeded":
                sys.exit(f"the job {job['state']}: {job['error']}")
            return job
        time.sleep(0.2)


def codes(address):
    """Returns the code of every image, by id."""
    found, after = {}, ""
    while True:
        page = ask(address, "GET", f"/images?limit=1000{after}")
        found.update((image["id"], image["codes"]["48"]) for image in page["images"])
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"


def evaluated(arguments, model, data, queries):
    """Returns MAP of old, new and all classes for each length."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [arguments.program, "evaluate", "--model", model, "--data", data, "--queries", str(queries)]
        subprocess.run([*command, "--device", arguments.device, "--json", report.name], check=True, stdout=subprocess.DEVNULL)
        report = json.load(open(report.name))
    means = {}
    for length, quality in sorted(report["quality"].items()):
        of = {report["classes"][one["class"]]: one["map"] for one in quality["classes"]}
        mean = lambda classes: statistics.mean(of[name] for name in classes)
        means[length] = (mean(OLD), mean(NEW), mean(OLD + NEW))
    return means


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--program", default="target/release/scihcgrl")
    parser.add_argument("--each", type=int, default=200, help="images of each class that the first model learns, and in the gallery")
    parser.add_argument("--queries", type=int, default=50, help="of each class")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between a searcher's searches")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--options", default="{}", help="JSON: options of the job")
    arguments = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp())
    for name in OLD + NEW:
        files = sorted((arguments.data / "train" / name).iterdir())[: arguments.each]
        tests = sorted((arguments.data / "test" / name).iterdir())[: 3 * arguments.queries]
        for kind, of in (("gallery", files), ("test", tests), *([("six", files)] if name in OLD else [])):
            (folder / kind / name).mkdir(parents=True)
            for file in of:
                shutil.copy(file, folder / kind / name)
    model = folder / "six.safetensors"
    train = ["train", "--data", folder / "six", "--backbone", arguments.backbone, "--out", model, "--device", arguments.device]
    began = time.time()
    subprocess.run([arguments.program, *train, "--epochs", "4", "--warm-up-epochs", "8"], check=True, stderr=subprocess.DEVNULL)
    print(f"a model of six classes was trained on {6 * arguments.each} images in {(time.time() - began) / 60:.1f} min")

    serve = [arguments.program, "serve", "--addr", "127.0.0.1:0", "--device", arguments.device, "--data-dir", folder / "data", "--model", model]
    service = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = service.stdout.readline().strip().removeprefix("listening on http://")
        for file in sorted((folder / "gallery").glob("*/*")):
            ask(address, "PUT", f"/images/{file.parent.name}-{file.stem}?label={file.parent.name}", file.read_bytes())
        old = ask(address, "GET", "/info")["model_id"]
        of = {old: codes(address)}
        photos = [file.read_bytes() for name in OLD + NEW for file in sorted((folder / "test" / name).iterdir())[:20]]
        searchers = [Searcher(address, photos, arguments.pause) for _ in range(2)]
        phase = lambda name: [setattr(searcher, "phase", name) for searcher in searchers]
        [searcher.start() for searcher in searchers]
        time.sleep(20)

        phase("learning")
        began = time.time()
        job = {"kind": "fine_tune", "labels": NEW, **json.loads(arguments.options)}
        job = over(address, ask(address, "POST", "/admin/jobs", json.dumps(job), {"content-type": "application/json"}))
        learned = (time.time() - began) / 60
        phase("re-encoding")
        began = time.time()
        new = job["result"]["model"]
        over(address, ask(address, "POST", f"/admin/models/{new}/activate")["job"])
        encoded = (time.time() - began) / 60
        phase("idle again")
        time.sleep(20)
        of[new] = codes(address)
        began = time.time()
        ask(address, "POST", f"/admin/models/{old}/activate")
        back = time.time() - began
        for searcher in searchers:
            searcher.stop = True
            searcher.join()
        checkpoint = folder / "new.safetensors"
        client = http.client.HTTPConnection(address, timeout=60)
        client.request("GET", f"/admin/models/{new}/content")
        checkpoint.write_bytes(client.getresponse().read())
    finally:
        service.terminate()
        service.wait()

    print(f"the job took {learned:.1f} min, encoding {len(of[new])} images {encoded:.2f} min, going back {1000 * back:.0f} ms")
    print("the job's own figures: " + json.dumps(job["result"]["metrics"]))
    print("bits  model   old six  new four  all ten")
    both = {name: evaluated(arguments, file, folder / "test", 10 * arguments.queries) for name, file in (("before", model), ("after", checkpoint))}
    for length in both["before"]:
        for name, means in both.items():
            print(f"{length:>4}  {name:<6}" + "".join(f"{value:>9.4f}" for value in means[length]))
    wrong = [error for searcher in searchers for error in searcher.wrong]
    answers = [answer for searcher in searchers for answer in searcher.answers]
    for answer in answers:
        query = answer["query"]
        for found in answer["matches"]:
            distance = (int(found["code"], 16) ^ int(query["code"], 16)).bit_count()
            if found["code"] != of[query["model"]][found["id"]] or distance != found["distance"]:
                wrong.append(f"{found} for {query}")
    print(f"{len(answers)} searches, {len(wrong)} failed or mixed models: {wrong[:3]}")
    for name in ("idle", "learning", "re-encoding", "idle again"):
        taken = sorted(value for searcher in searchers for value in searcher.taken.get(name, []))
        if taken:
            at = lambda share: taken[min(len(taken) - 1, int(share * len(taken)))]
            print(f"{name}: {len(taken)} searches, p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms")
    shutil.rmtree(folder)
    sys.exit(bool(wrong))


main()
