#!/usr/bin/env python3
"""Benchmarks writes and searches of one service, and of 1, 2 and 3 replicas on three NATS servers,
on this machine.

usage: benches/cluster.py PROGRAM NATS-SERVER [--seconds N]
Prints a table. Writes change labels, so that no image is encoded; searches are by code.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).parents[1]
IDS = 200


def free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Servers:
    """Three NATS servers that sync every write before they acknowledge it."""

    def __init__(self, program, folder):
        ports = [(free(), free()) for _ in range(3)]
        routes = ", ".join(f'"nats://127.0.0.1:{route}"' for _, route in ports)
        self.urls, self.processes = ",".join(f"nats://127.0.0.1:{port}" for port, _ in ports), []
        for number, (port, route) in enumerate(ports):
            config = folder / f"nats-{number}.conf"
            config.write_text(
                f'server_name: n{number}\nlisten: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/nats-{number}", sync_interval: always }}\n'
                f'cluster {{ name: bench, listen: "127.0.0.1:{route}", no_advertise: true, routes: [{routes}] }}\n',
                encoding="utf-8",
            )
            self.processes.append(subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


class Service:
    def __init__(self, program, folder, more=()):
        arguments = ["serve", "--addr", "127.0.0.1:0", "--device", "cpu", "--data-dir", folder, "--model", ROOT / "models/cifar10.safetensors", *more]
        log = open(f"{folder}.log", "w", encoding="utf-8")
        self.process = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"RUST_LOG": "warn"})
        self.address = re.search(r"http://(\S+)", self.process.stdout.readline())[1]

    def ask(self, method, path, body=None, headers=None, connection=None):
        connection = connection or http.client.HTTPConnection(self.address, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def load(services, seconds, threads, request):
    """Returns the requests a second, and the median and 99th percentile of their milliseconds."""
    times, end = [], time.monotonic() + seconds

    def work(number):
        service = services[number % len(services)]
        connection = http.client.HTTPConnection(service.address, timeout=30)
        count = number
        while time.monotonic() < end:
            began = time.monotonic()
            status, text, _ = service.ask(*request(count), connection=connection)
            assert status == 200, text
            times.append((time.monotonic() - began) * 1000)
            count += threads

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    times.sort()
    return len(times) / seconds, statistics.median(times), times[int(len(times) * 0.99)]


def patch(count):
    return "PATCH", f"/images/image-{count % IDS}", json.dumps({"labels": [f"label-{count}"]}), {"content-type": "application/json"}


def search(count):
    return "POST", "/search?radius=2&limit=10", json.dumps({"id": f"image-{count % IDS}"}), {"content-type": "application/json"}


def measure(name, services, seconds):
    one, many = load(services, seconds, 1, patch), load(services, seconds, 32, patch)
    found = load(services, seconds, 16, search)
    print(f"| {name} | {one[1]:.2f} | {many[0]:.0f} | {many[1]:.1f} | {many[2]:.1f} | {found[0]:.0f} | {found[1]:.1f} |", flush=True)


def fill(service):
    photos = sorted((ROOT / "samples/gallery").glob("*/*.jpg"))[:IDS]
    for number, photo in enumerate(photos):
        status, text, _ = service.ask("PUT", f"/images/image-{number}", photo.read_bytes())
        assert status in (200, 201), text


def failover(services):
    """Kills a replica; returns the seconds until a caller that retries has a write done."""
    services[0].process.kill()
    began = time.monotonic()
    while True:
        for service in services:
            try:
                if service.ask(*patch(0))[0] == 200:
                    return time.monotonic() - began
            except OSError:
                pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("nats")
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scihcgrl-cluster-"))
    started = []
    try:
        print("| | one write, ms | writes/s (32 callers) | p50 ms | p99 ms | searches/s (16 callers) | p50 ms |\n|---|---|---|---|---|---|---|")
        alone = Service(given.program, folder / "alone")
        started.append(alone.process)
        fill(alone)
        measure("one service alone", [alone], given.seconds)
        alone.process.terminate()
        alone.process.wait()
        servers = Servers(given.nats, folder)
        started.extend(servers.processes)
        more = ["--nats", servers.urls, "--originals", folder / "originals"]
        replicas = []
        for count in (1, 2, 3):
            position = int(replicas[0].ask("GET", "/info")[2]["scihcgrl-position"]) if replicas else 0
            began = time.monotonic()
            replicas.append(Service(given.program, folder / f"replica-{count}", more))
            started.append(replicas[-1].process)
            if count == 1:
                fill(replicas[0])
            while int(replicas[-1].ask("GET", "/info")[2]["scihcgrl-position"]) < position:
                time.sleep(0.01)
            if count > 1:
                took = time.monotonic() - began
                print(f"  (replica {count} had all {position} writes {took:.2f} s after its start, {position / took:.0f} a second)", flush=True)
            measure(f"{count} replica{'s' * (count > 1)}, R=3", replicas, given.seconds)
        size = sum(file.stat().st_size for file in (folder / "nats-0").rglob("*.blk"))
        head = int(replicas[0].ask("GET", "/info")[2]["scihcgrl-position"])
        print(f"log: {size / head:.0f} bytes per write on each server, of {head}")
        print(f"failover: {failover(replicas) * 1000:.0f} ms until a write is done at another replica")
        servers.processes[0].kill()
        began = time.monotonic()
        while replicas[1].ask(*patch(0))[0] != 200:
            pass
        print(f"a server killed: {(time.monotonic() - began) * 1000:.0f} ms until a write is done")
    finally:
        for process in started:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
