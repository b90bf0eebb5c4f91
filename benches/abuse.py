#!/usr/bin/env python3
"""Attacks a service and measures its memory and the time of an honest search during the attack.
Prints a line of JSON each.

usage: abuse.py [--program target/release/scihcgrl] [--model models/photos.safetensors] [--serve "…"] [--seconds 10] [ATTACK…]

Starts a new service for each attack. `resident_mb` is its resident memory before the attack, at its
peak, and twenty seconds after. `search_ms` is the median time of an honest search by photo, before
and during the attack. `times` is the ratio of the two. Needs Linux and nothing but Python."""
import argparse, http.client, json, multiprocessing, pathlib, shlex, socket, statistics, struct, tempfile, threading, time, zlib

from load import running

MIB = 1 << 20
# Attackers run in their own process, so that they do not share an interpreter with the honest
# search.
FORK = multiprocessing.get_context("fork")
PHOTO = (pathlib.Path(__file__).parent.parent / "tests/fixtures/upright.jpg").read_bytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, before=b""):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def pictures():
    """Small files that are costly to decode: the largest PNG that is decoded, with a profile and a
    rotation; a small PNG with a profile; a WebP that is all header."""
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(250 * MIB), 9))
    turned = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    wide = b"\0" + bytes(8 * 6600)
    webp = b"VP8L" + struct.pack("<IBI", 13, 0x2F, 16383 | 2999 << 14) + bytes(9)
    return [
        png(6600, 6600, 16, 6, wide * 6600, profile + turned),
        png(8, 8, 8, 2, (b"\0" + bytes(24)) * 8, profile),
        b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp,
    ]


def resident(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024)


def search(address):
    """Returns the milliseconds of an honest search, or None if it was refused."""
    started = time.perf_counter()
    caller = http.client.HTTPConnection(address, timeout=60)
    caller.request("POST", "/search", PHOTO, {"content-type": "image/jpeg"})
    answer = caller.getresponse()
    answer.read()
    caller.close()
    return 1000 * (time.perf_counter() - started) if answer.status == 200 else None


def searches(address, until):
    took, refused = [], 0
    while not until():
        one = search(address)
        took, refused = (took + [one], refused) if one is not None else (took, refused + 1)
    return took, refused


def connect(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), 30)


def slow_bodies(address, stop):
    """150 callers send a body of 20 MB without its end."""
    def caller():
        try:
            with connect(address) as stream:
                stream.sendall(b"POST /images HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20971520\r\n\r\n")
                for _ in range(319):
                    stream.sendall(bytes(65536))
                stop.wait()
        except OSError:
            pass
    return [caller] * 150


def encode(address, body):
    try:
        one = http.client.HTTPConnection(address, timeout=60)
        one.request("POST", "/encode", body)
        one.getresponse().read()
        one.close()
    except (OSError, http.client.HTTPException):
        pass


def worst_pictures(address, stop):
    """64 callers send a costly picture each, all at once."""
    bodies = pictures()
    return [lambda body=bodies[number % len(bodies)]: encode(address, body) for number in range(64)]


def worst_pictures_again(address, stop):
    """64 callers send costly pictures again and again."""
    bodies = pictures()

    def caller(body):
        while not stop.is_set():
            encode(address, body)
    return [lambda body=bodies[number % len(bodies)]: caller(body) for number in range(64)]


def contract_pages(address, stop):
    """256 callers request the largest file of /docs, compressed."""
    def caller():
        one = http.client.HTTPConnection(address, timeout=60)
        while not stop.is_set():
            try:
                one.request("GET", "/docs/swagger-ui-bundle.js", headers={"accept-encoding": "gzip"})
                one.getresponse().read()
            except (OSError, http.client.HTTPException):
                one.close()
    return [caller] * 256


def wide_searches(address, stop):
    """64 callers search by code for all images."""
    def caller():
        one = http.client.HTTPConnection(address, timeout=60)
        body = json.dumps({"code": "0123456789ab"})
        while not stop.is_set():
            try:
                one.request("POST", "/search?radius=47&limit=1000&offset=1000000", body, {"content-type": "application/json"})
                one.getresponse().read()
            except (OSError, http.client.HTTPException):
                one.close()
    return [caller] * 64


def long_paths(address, stop):
    """8 callers request paths of 60 kB without a key."""
    def caller():
        one = http.client.HTTPConnection(address, timeout=60)
        while not stop.is_set():
            try:
                one.request("GET", "/images/" + "x" * 60000)
                one.getresponse().read()
            except (OSError, http.client.HTTPException):
                one.close()
    return [caller] * 8


ATTACKS = {attack.__name__: attack for attack in (slow_bodies, worst_pictures, worst_pictures_again, contract_pages, wide_searches, long_paths)}


def attack(callers, stop):
    """Runs all callers at once until they have finished or are stopped."""
    callers = [threading.Thread(target=one, daemon=True) for one in callers]
    for caller in callers:
        caller.start()
    while not stop.is_set() and any(caller.is_alive() for caller in callers):
        time.sleep(0.02)


def measure(name, options):
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w") as log:
        command = [options.program, "serve", "--addr", "127.0.0.1:0", "--data-dir", f"{folder}/data", "--model", options.model]
        with running(command + shlex.split(options.serve), log=log) as (pid, address):
            search(address)
            end = time.time() + 3
            idle, _ = searches(address, lambda: time.time() > end)
            before, highest, logged, stop = resident(pid), [0], log.tell(), FORK.Event()
            callers = FORK.Process(target=attack, args=(ATTACKS[name](address, stop), stop), daemon=True)

            def watch():
                while not stop.is_set():
                    highest[0] = max(highest[0], resident(pid))
                    time.sleep(0.02)
            threading.Thread(target=watch, daemon=True).start()
            callers.start()
            time.sleep(1)
            end = time.time() + options.seconds
            took, refused = searches(address, lambda: time.time() > end or not callers.is_alive())
            stop.set()
            callers.join(5)
            callers.kill()
            time.sleep(20)
            idle, busy = statistics.median(idle), statistics.median(took) if took else None
            print(json.dumps({
                "attack": name, "resident_mb": [before, highest[0], resident(pid)], "log_mb": round((pathlib.Path(f"{folder}/log").stat().st_size - logged) / 1e6, 1),
                "search_ms": [round(idle, 1), busy and round(busy, 1)], "times": busy and round(busy / idle, 1), "searches": len(took), "refused": refused,
            }), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/scihcgrl")
    parser.add_argument("--model", default="models/photos.safetensors")
    parser.add_argument("--serve", default="")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], metavar="ATTACK")
    options = parser.parse_args()
    for name in options.attacks or ATTACKS:
        measure(name, options)


if __name__ == "__main__":
    main()
