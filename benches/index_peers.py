#!/usr/bin/env python3
"""Benchmarks the index and faiss alternately on one thread, on synthetic codes; writes the tables
of docs/benchmarks.md.

usage: index_peers.py --program target/release/scihcgrl --data FOLDER [--sizes 1000000 ...] [--alone 100000000 ...] [--rounds 3]
                      [--report docs/benchmarks.md] [--plot docs/figures/index.svg]

Needs numpy, faiss-cpu and matplotlib (`make bench-index` fetches them). Sizes after --alone are
measured in one round, without faiss. Codes: u uniform; c around 10 centres, each bit flipped with a
probability of .02, like a trained model's codes of ten classes; z around 1,000 centres, .05. A
round runs the program and every faiss index that is exact for the case. A figure is the median over
rounds of the median of single queries. For faiss it is the smaller of that and of one batched call
divided by its queries, which excludes Python's own time."""
import argparse, json, os, statistics, subprocess, sys, time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

# Enough queries to exceed the processor's nearest caches, for faiss as for the program.
QUERIES = 10_000
KINDS = {"c": "10 centres", "z": "1,000 centres", "u": "uniform"}
TABLES = {24: (2, 12), 32: (2, 16), 48: (3, 16)}


def codes(kind, bits, count, folder):
    """Returns files of codes and of queries of this kind; creates them if they are missing."""
    base = f"{folder}/{kind}{bits}_{count}"
    if not os.path.exists(base + ".q.u64"):
        rng = np.random.default_rng(7 + bits * 1000 + count % 997 + ord(kind))
        total = count + QUERIES
        if kind == "u":
            words = rng.integers(0, 1 << bits, size=total, dtype=np.uint64)
        else:
            centres, astray = {"c": (10, 0.02), "z": (1000, 0.05)}[kind]
            words = rng.integers(0, 1 << bits, size=centres, dtype=np.uint64)[rng.integers(0, centres, size=total)]
            for bit in range(bits):
                words ^= (rng.random(total, dtype=np.float32) < astray).astype(np.uint64) << np.uint64(bit)
        words[:count].astype("<u8").tofile(base + ".u64")
        words[count:].astype("<u8").tofile(base + ".q.u64")
    return base + ".u64", base + ".q.u64"


class Peer:
    """A faiss index over codes."""

    def __init__(self, name, bits, words):
        import faiss

        faiss.omp_set_num_threads(1)
        self.name, self.width = name, {"flat": 32 if bits <= 32 else 64}.get(name, bits)
        if name == "flat":
            self.index = faiss.IndexBinaryFlat(self.width)
        elif name == "multihash":
            self.index = faiss.IndexBinaryMultiHash(bits, *TABLES[bits])
        else:
            self.index = faiss.IndexBinaryHash(bits, 16 if name == "hash16" else bits)
        self.tables = TABLES[bits][0] if name == "multihash" else 1
        self.index.add(self.bytes(words))

    def bytes(self, words):
        return np.ascontiguousarray(words.view(np.uint8).reshape(-1, 8)[:, : self.width // 8])

    def time(self, queries, radius=None, budget=1.0):
        """Returns microseconds per query: within a radius (faiss's is exclusive), or the nearest
        ten."""
        queries = self.bytes(queries)
        if radius is None:
            search = lambda some: self.index.search(some, 10)
        else:
            if self.name != "flat":
                self.index.nflip = radius // self.tables
            search = lambda some: self.index.range_search(some, radius + 1)
        search(queries[:1])
        single, started = [], time.perf_counter()
        for at in range(len(queries)):
            before = time.perf_counter()
            search(queries[at : at + 1])
            single.append(time.perf_counter() - before)
            if len(single) >= 5 and time.perf_counter() - started > budget:
                break
        some = queries[: len(single)]
        per_query = search(some[:2])[0][-1] / 2 if radius is not None else 10
        some = some[: max(2, int(4e7 / max(per_query, 1)))]
        before = time.perf_counter()
        search(some)
        batched = (time.perf_counter() - before) / len(some)
        return min(statistics.median(single), batched) * 1e6


def ours(program, files, bits, radii):
    """Returns the program's lines by operation and radius."""
    command = [program, "bench", "index", "--codes", files[0], "--queries", files[1], "--bits", str(bits), "--json", "--radius"]
    done = subprocess.run(command + [str(radius) for radius in radii], check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    fresh = {(line["op"], line["radius"]): line for line in lines if line.get("queries") == "fresh"}
    return lines[0], fresh


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--radii", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--alone", type=int, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", default="czu")
    parser.add_argument("--bits", type=int, nargs="+", default=[24, 32, 48])
    parser.add_argument("--report")
    parser.add_argument("--plot")
    options = parser.parse_args()
    os.makedirs(options.data, exist_ok=True)
    import faiss

    rows = []
    for size in options.sizes + options.alone:
        for kind in options.kinds:
            for bits in options.bits:
                for row in case(options, kind, bits, size):
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    if options.report:
        report(options.report, rows, faiss.__version__, options.rounds)
    if options.plot:
        plot(options.plot, rows)


def case(options, kind, bits, size):
    """Yields a row for each radius."""
    files = codes(kind, bits, size, options.data)
    names, peers, over_distinct, flat = ["hash16", "hash_full"] + (["multihash"] if kind == "u" and bits == 48 else []), [], [], None
    queries = np.fromfile(files[1], "<u8")
    if size not in options.alone:
        words = np.fromfile(files[0], "<u8")
        flat, peers = Peer("flat", bits, words), [Peer(name, bits, words) for name in names]
        distinct = np.unique(words)
        over_distinct = [Peer(name, bits, distinct) for name in names]
    seen = {}
    note = lambda op, radius, us: seen.setdefault((op, radius), []).append(us)
    for _ in range(options.rounds if flat else 1):
        build, lines = ours(options.program, files, bits, options.radii)
        for (op, radius), line in lines.items():
            note(op, radius, line["us_median"])
        if flat is None:
            continue
        for radius in options.radii:
            # A hash by all bits has a bucket for every code within the radius; at four bits these
            # are too many.
            for peer in peers if radius <= 2 else [p for p in peers if p.name != "hash_full"] + [flat]:
                note(peer.name, radius, peer.time(queries, radius))
            if radius == 2:
                for peer in over_distinct:
                    note(peer.name + " distinct", radius, peer.time(queries, radius))
        note("flat", None, flat.time(queries))
    us = {key: statistics.median(values) for key, values in seen.items()}
    for radius in options.radii:
        row = dict(size=size, kind=kind, bits=bits, radius=radius, ids=us["ids", radius], counted=us["counted", radius],
                   results=lines["ids", radius]["results"], top_k=us["top_k", None], distinct=build["distinct"],
                   bytes=build["bytes_per_image"], build=build["seconds"])
        if flat is not None:
            best = {op: value for (op, r), value in us.items() if r == radius and op in names + ["flat"]}
            name = min(best, key=best.get)
            row |= dict(peer=name, peer_us=best[name], flat=us["flat", None])
            if radius == 2:
                row["distinct_us"] = min(us[n + " distinct", 2] for n in names)
        yield row


def report(path, rows, version, rounds):
    """Writes the tables between their marks in the document."""
    out = [f"faiss {version}, medians of {rounds} rounds in alternation, microseconds per query, one thread. `ids`: every image within",
           "the radius is listed, in order; `counted`: the exact total and the first ten; next to each, how many times longer the best exact",
           "faiss index takes to list them.", "",
           "| images | codes | bits | radius | found | best faiss | µs | ids µs | ratio | counted µs | ratio | faiss over distinct codes only, µs | ratio to counted |",
           "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        over = f"{r['distinct_us']:.1f} | {r['distinct_us'] / r['counted']:.1f}" if "distinct_us" in r else "|"
        times = lambda op: f"**{r['peer_us'] / r[op]:.0f}**" if "peer" in r else ""
        peer = f"{r['peer']} | {r['peer_us']:.1f}" if "peer" in r else "|"
        out.append(f"| {r['size']:,} | {KINDS[r['kind']]} | {r['bits']} | {r['radius']} | {r['results']:,.1f} | {peer} "
                   f"| {r['ids']:.2f} | {times('ids')} | {r['counted']:.2f} | {times('counted')} | {over} |")
    out += ["", "The ten nearest, without a radius, compared with faiss's flat scan; memory and time to build from codes in memory:", "",
            "| images | codes | bits | distinct codes | top-10 µs | flat scan µs | ratio | bytes per image | build s |", "|---|---|---|---|---|---|---|---|---|"]
    seen = set()
    for r in rows:
        key = (r["size"], r["kind"], r["bits"])
        if key not in seen:
            seen.add(key)
            flat = f"{r['flat']:.0f} | **{r['flat'] / r['top_k']:.0f}**" if "flat" in r else "|"
            out.append(f"| {r['size']:,} | {KINDS[r['kind']]} | {r['bits']} | {r['distinct']:,} | {r['top_k']:.2f} | {flat} "
                       f"| {r['bytes']:.1f} | {r['build']:.2f} |")
    text = open(path).read()
    begin, end = "<!-- index_peers -->\n", "<!-- /index_peers -->"
    head, tail = text.split(begin)[0], text.split(end)[1]
    open(path, "w").write(head + begin + "\n".join(out) + "\n" + end + tail)


def plot(path, rows):
    """Plots the time of searches by 48 bits within radius 2, and memory, over the number of
    images."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "index", "svg.fonttype": "none", "font.size": 8, "axes.grid": True, "grid.alpha": 0.3})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    series = [("peer_us", "best exact faiss, all ids"), ("flat", "faiss flat, top 10"), ("ids", "all ids"), ("counted", "counted"), ("top_k", "top 10")]
    for axis, (kind, name) in zip(axes, KINDS.items()):
        for field, label in series:
            points = [(r["size"], r[field]) for r in rows if (r["kind"], r["bits"], r["radius"]) == (kind, 48, 2) and field in r]
            axis.loglog(*zip(*points), "o--" if "faiss" in label else "o-", markersize=3, label=label)
        axis.set(title=f"{name}, 48 bits", xlabel="images", ylabel="µs a query")
    axes[0].legend(fontsize=7)
    for kind, name in KINDS.items():
        for bits in sorted({r["bits"] for r in rows}):
            points = sorted({(r["size"], r["bytes"]) for r in rows if (r["kind"], r["bits"]) == (kind, bits)})
            axes[3].loglog(*zip(*points), "o-", markersize=3, label=f"{name}, {bits}")
    axes[3].set(title="memory of one length", xlabel="images", ylabel="bytes per image")
    axes[3].legend(fontsize=6)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
