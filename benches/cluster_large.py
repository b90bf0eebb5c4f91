#!/usr/bin/env python3
"""Benchmarks replicas of a large gallery: a filled service becomes a replica, makes a snapshot, and
a second replica starts from it.

usage: benches/cluster_large.py PROGRAM NATS-SERVER [--images N] [--centres N]
Prints a line for each step, and a table of writes and searches. Codes are synthetic.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

from cluster import ROOT, Servers, Service, load


def resident(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def request(service, path="/info", method="GET"):
    status, text, headers = service.ask(method, path)
    assert status < 300, text
    return json.loads(text), headers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("nats")
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--centres", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scihcgrl-large-", dir=ROOT / "target"))
    model = hashlib.sha256((ROOT / "models/cifar10.safetensors").read_bytes()).hexdigest()[:12]
    started = []
    try:
        fill = ["bench", "store", "--data-dir", folder / "first", "--images", str(given.images), "--centres", str(given.centres)]
        fill += ["--keep-for", model, "--changes", "0", "--seconds", "1"]
        began = time.monotonic()
        subprocess.run([given.program, *fill], check=True, stdout=subprocess.DEVNULL)
        print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
        servers = Servers(given.nats, folder)
        started.extend(servers.processes)
        more = ["--nats", servers.urls, "--originals", folder / "originals", "--snapshots", folder / "snapshots"]
        began = time.monotonic()
        first = Service(given.program, folder / "first", more)
        started.append(first.process)
        images = request(first)[0]["index"]["images"]
        print(f"a replica of {images} images {time.monotonic() - began:.1f} s after its first start", flush=True)
        began = time.monotonic()
        request(first, "/admin/snapshots", "POST")
        print(f"a snapshot in {time.monotonic() - began:.1f} s, {size(folder / 'snapshots') / images:.0f} bytes per image", flush=True)
        ids = [image["id"] for image in request(first, "/images?limit=1000")[0]["images"]]

        def patch(count):
            return "PATCH", f"/images/{ids[count % 1000]}", json.dumps({"labels": [f"label-{count % 50}"]}), {"content-type": "application/json"}

        def search(count):
            return "POST", "/search?radius=2&limit=10", json.dumps({"id": ids[count % 1000]}), {"content-type": "application/json"}

        load([first], given.seconds, 32, patch)
        began = time.monotonic()
        second = Service(given.program, folder / "second", more)
        started.append(second.process)
        position = request(first)[1]["scihcgrl-position"]
        while request(second)[1]["scihcgrl-position"] != position or second.ask("GET", "/readyz")[0] != 200:
            time.sleep(0.05)
        print(f"another, from the snapshot and {position} writes after it, {time.monotonic() - began:.1f} s after its start", flush=True)
        services = [first, second]
        for service, name in zip(services, ("first", "second")):
            memory, disk = resident(service.process), size(folder / name)
            print(f"{name}: {memory / images:.0f} bytes of memory an image, of which {request(service)[0]['index']['memory_bytes'] / images:.0f} "
                  f"are codes, {disk / images:.0f} of disk", flush=True)
        print("| | writes/s (32 callers) | p50 ms | p99 ms | searches/s (16 callers) | p50 ms | p99 ms |\n|---|---|---|---|---|---|---|")
        for count in (1, 2):
            many, found = load(services[:count], given.seconds, 32, patch), load(services[:count], given.seconds, 16, search)
            print(f"| {count} | {many[0]:.0f} | {many[1]:.1f} | {many[2]:.1f} | {found[0]:.0f} | {found[1]:.1f} | {found[2]:.1f} |", flush=True)
        began = time.monotonic()
        digests = [request(service, "/admin/digest")[0] for service in services]
        assert digests[0] == digests[1], digests
        print(f"one digest at {digests[0]['position']}, {(time.monotonic() - began) / 2:.1f} s each")
    finally:
        for process in started:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
