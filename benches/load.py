#!/usr/bin/env python3
"""Benchmarks searches by photo: this service, one written in Python, and the limit set by decoding
and the model, alternately; then more load than the service can handle. Prints lines of JSON and, at
the end, tables.

usage: load.py --photos FOLDER [--program target/release/scihcgrl] [--model models/photos.safetensors] [--precision bf16|fp32] [--serve "…"]
               [--peer python_service.py --peer-forms "" "--batching --bf16"] [--rounds 5]

`--photos` is a folder of JPEG files at any depth, `--serve` has more arguments of the service. The
peer is a program that takes a port, `--size` for the pixels per side, `--gallery` for the number of
codes and the words of one of its forms, and answers POST /search with a raw image. It runs in this
environment: `make bench-load` fetches what one of Starlette, PyTorch and faiss imports. The load
comes from `cargo bench --bench load`, the limit from `cargo bench --bench limit`: what all cores
decode, resize and encode, in batches of the best size, with nothing else to do."""
import argparse, contextlib, hashlib, http.client, json, shlex, socket, statistics, subprocess, sys, tempfile, time

# The precision that each side would choose: bf16 is slow if the processor has no instructions for
# it.
FAST_BF16 = bool({"avx512_bf16", "amx_bf16"} & set(open("/proc/cpuinfo").read().split()))


def executables(*names):
    """Builds benchmarks; returns their paths."""
    build = ["cargo", "bench", "--locked", "--no-run", "--message-format", "json"] + [word for name in names for word in ("--bench", name)]
    lines = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    made = [line for line in map(json.loads, lines) if line.get("executable")]
    return [next(line["executable"] for line in made if line["target"]["name"] == name) for name in names]


def measure(command, *arguments):
    """Runs a benchmark; returns its line."""
    return json.loads(subprocess.run([command, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextlib.contextmanager
def running(command, address=None, log=subprocess.DEVNULL, **how):
    """Runs a service until the block ends; yields its process id and its address, which it prints
    unless it is given."""
    pipe = subprocess.PIPE if address is None else None
    with subprocess.Popen(command, stdout=pipe, stderr=log, text=True, **how) as process:
        try:
            if address is None:
                lines = (line for line in process.stdout if line.startswith("listening on "))
                address = next(lines, "//").split("//")[1].strip()
            while not (address and reachable(address)):
                if not address or process.poll() is not None:
                    sys.exit(f"did not start: {shlex.join(command)}")
                time.sleep(0.2)
            yield process.pid, address
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def reachable(address):
    host, port = address.split(":")
    with socket.socket() as attempt:
        return attempt.connect_ex((host, int(port))) == 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(address, path):
    client = http.client.HTTPConnection(address)
    client.request("GET", path)
    return json.loads(client.getresponse().read())


def memory(pid):
    """Returns the resident MiB, now and at the peak."""
    lines = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status") if line.startswith(("VmRSS", "VmHWM")))
    return [round(int(lines[name].split()[0]) / 1024) for name in ("VmRSS", "VmHWM")]


def say(**line):
    print(json.dumps(line), flush=True)
    return line


def read_options():
    precision = "bf16" if FAST_BF16 else "fp32"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--program", default="target/release/scihcgrl")
    parser.add_argument("--model", default="models/photos.safetensors")
    parser.add_argument("--precision", default=precision, help="of the service and of the limit")
    parser.add_argument("--serve", default="", help="more arguments of the service")
    parser.add_argument("--limit", default="", help="more arguments of the limit")
    parser.add_argument("--peer")
    parser.add_argument("--peer-forms", nargs="+", default=["", f"--batching{' --bf16' if precision == 'bf16' else ''}"])
    parser.add_argument("--images", type=int, default=100_000, help="codes in the gallery")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--offered", type=float, nargs="*", default=[1, 2, 5], help="times the capacity")
    parser.add_argument("--offered-seconds", type=float, default=30)
    return parser.parse_args()


def main():
    options = read_options()
    load, limit = executables("load", "limit")
    more = shlex.split(options.serve)
    model = hashlib.sha256(open(options.model, "rb").read()).hexdigest()[:12]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as services:
        data = f"{folder}/data"
        store = [options.program, "bench", "store", "--data-dir", data, "--keep-for", model, "--precision", options.precision, "--changes", "0"]
        subprocess.run(store + ["--images", str(options.images), "--seconds", "1"], check=True, stdout=subprocess.DEVNULL)
        serve = [options.program, "serve", "--addr", "127.0.0.1:0", "--data-dir", data, "--model", options.model, "--precision", options.precision]
        pid, ours = services.enter_context(running(serve + more))
        side = ask(ours, "/info")["input_size"]
        targets = {"this service": ours}
        for form in options.peer_forms if options.peer else []:
            address = f"127.0.0.1:{free_port()}"
            peer = [sys.executable, options.peer, address.split(":")[1], "--size", str(side), "--gallery", str(options.images)]
            targets[f"peer {form}".strip()] = services.enter_context(running(peer + shlex.split(form), address))[1]

        def offer(address, seconds, *arguments):
            return measure(load, "--address", address, "--photos", options.photos, "--seconds", seconds, *arguments)

        # The same requests to a missing route: the most that the load generator itself can send.
        idle = say(name="the load alone", **offer(ours, 5, "--clients", options.clients, "--target", "/nowhere"))
        lines = {name: [] for name in ["limit", *targets]}
        for _ in range(options.rounds):
            how = ["--precision", options.precision, *shlex.split(options.limit)]
            lines["limit"].append(say(name="limit", **measure(limit, "--model", options.model, "--photos", options.photos, *how)))
            for name, address in targets.items():
                line = offer(address, options.seconds, "--clients", options.clients)
                lines[name].append(say(name=name, **line))
        capacity = statistics.median(line["served_per_s"] for line in lines["this service"])
        offered = []
        for times in options.offered:
            before = memory(pid)
            line = offer(ours, options.offered_seconds, "--rate", times * capacity)
            offered.append(say(name="offered", times=times, before=before, after=memory(pid), **line))
    print(table(options, side, idle, lines))
    print(offered_table(offered, capacity))


def table(options, side, idle, lines):
    """Returns the table of each service against the limit, by medians over rounds."""
    median = lambda name, of: statistics.median(of(line) for line in lines[name])
    limit = median("limit", lambda line: line["limit_per_s"])
    decoded = median("limit", lambda line: line["decoded_per_s"])
    best = lines["limit"][0]["best_batch"]
    busy = max(line["own_share_of_a_core"] for name in lines if name != "limit" for line in lines[name])
    rows = [f"\n{options.clients} clients, {side}x{side} pixels, {options.images:,} codes, medians of {options.rounds} rounds of {options.seconds:g} s.",
            f"The load takes at most {busy:.1%} of a core; alone it makes {idle['requests'] / idle['seconds']:,.0f} requests/s.",
            f"Decoding alone {decoded:,.0f} images/s; the limit is of batches of {best}, in {options.precision}.\n",
            "| | requests/s | of the limit | p50 ms | p95 ms | p99 ms | not answered 200 |", "|---|---|---|---|---|---|---|",
            f"| limit | {limit:.1f} | | | | | |"]
    for name in lines:
        if name != "limit":
            rate = median(name, lambda line: line["served_per_s"])
            times = " | ".join(f"{median(name, lambda line: line['served_ms'][at]):.1f}" for at in ("p50", "p95", "p99"))
            others = sum(line["requests"] - line["statuses"].get("200", 0) for line in lines[name])
            rows.append(f"| {name} | {rate:.1f} | {rate / limit:.2f} | {times} | {others} |")
    return "\n".join(rows)


def offered_table(lines, capacity):
    """Returns the table of overload."""
    rows = [f"\nOffered at random moments; capacity is {capacity:.1f} requests/s.\n",
            "| offered | requests/s | served/s | of capacity | p50 ms | p99 ms served | 429 | p99 ms refused | other | resident MiB | at most |",
            "|---|---|---|---|---|---|---|---|---|---|---|"]
    for line in lines:
        count, statuses = max(line["requests"], 1), dict(line["statuses"])
        served, full = statuses.pop("200", 0), statuses.pop("429", 0)
        number = lambda value: "" if value is None else f"{value:.0f}"
        rows.append(f"| {line['times']:g}x | {line['rate']:.0f} | {line['served_per_s']:.1f} | {served / line['seconds'] / capacity:.2f} "
                    f"| {number(line['served_ms']['p50'])} | {number(line['served_ms']['p99'])} | {full / count:.1%} "
                    f"| {number(line['refused_ms']['p99'])} | {statuses or 0} | {line['before'][0]} → {line['after'][0]} | {line['after'][1]} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
