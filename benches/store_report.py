#!/usr/bin/env python3
"""Turns the output of `scihcgrl bench store` into the table of docs/benchmarks.md and a figure of
how each cost grows.

usage: store_report.py LINES --report docs/benchmarks.md [--plot docs/figures/store.svg]"""
import argparse, json

COLUMNS = ["images at first", "codes", "inserts a second in groups", "by 32 writers, singly", "bytes of memory an image and length", "bytes on disk an image",
           "after changes to a tenth", "changes a second", "seconds to open, twice", "search µs, quiet: median, p99", "during inserts: median, p99", "at inserts a second"]


def runs(path):
    """Yields the lines of each run by operation."""
    for line in open(path):
        line = json.loads(line) if line.startswith("{") else {}
        if line.get("op") == "insert_in_groups":
            run = {}
        if line:
            run.setdefault(line["op"], []).append(line)
            if line["op"] == "open" and line["measured"]["time"] == 2:
                yield run


def row(run):
    first, opens = run["insert_in_groups"][0], run["open"]
    quiet, busy = run["search_quiet"][0]["measured"], run["search_during_inserts"][0]["measured"]
    return dict(
        images=first["images"], codes="uniform" if first["centres"] == 0 else f"{first['centres']} centres", groups=first["measured"]["per_second"],
        singly=run["insert_singly"][0]["measured"]["per_second"], memory=opens[1]["memory_bytes_per_image_and_length"], disk=first["disk_bytes_per_image"],
        changed=opens[1]["disk_bytes_per_image"], changes=run["change"][0]["measured"]["per_second"], opens=[line["measured"]["seconds"] for line in opens],
        quiet=(quiet["us_median"], quiet["us_p99"]), busy=(busy["searches"]["us_median"], busy["searches"]["us_p99"]), inserts=busy["inserts_per_second"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lines")
    parser.add_argument("--report", required=True)
    parser.add_argument("--plot")
    options = parser.parse_args()
    rows = [row(run) for run in runs(options.lines)]
    pair = lambda values: ", ".join(f"{value:.3g}" for value in values)
    out = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for r in sorted(rows, key=lambda r: (r["codes"], r["images"])):
        out.append(f"| {r['images']:,} | {r['codes']} | {r['groups']:,.0f} | {r['singly']:,.0f} | {r['memory']:.1f} | {r['disk']:.0f} | {r['changed']:.0f} "
                   f"| {r['changes']:,.0f} | {pair(r['opens'])} | {pair(r['quiet'])} | {pair(r['busy'])} | {r['inserts']:,.0f} |")
    text = open(options.report).read()
    begin, end = "<!-- store -->\n", "<!-- /store -->"
    open(options.report, "w").write(text.split(begin)[0] + begin + "\n".join(out) + "\n" + end + text.split(end)[1])
    if options.plot:
        plot(options.plot, rows)


def plot(path, rows):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "store", "svg.fonttype": "none", "font.size": 8, "axes.grid": True, "grid.alpha": 0.3})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    panels = [("a second", [("groups", "inserts in groups"), ("singly", "inserts singly"), ("changes", "changes")]),
              ("bytes", [("memory", "memory, an image and length"), ("disk", "disk, an image"), ("changed", "disk after changes")]),
              ("seconds", [("opens", "to open after changes")]), ("µs", [("quiet", "search p99, quiet"), ("busy", "search p99, during inserts")])]
    for axis, (unit, series) in zip(axes, panels):
        for codes, style in (("10 centres", "o-"), ("uniform", "o--")):
            for field, label in series:
                last = lambda value: value[-1] if isinstance(value, (list, tuple)) else value
                first = lambda value: value[0] if field == "opens" else last(value)
                points = sorted((r["images"], first(r[field])) for r in rows if r["codes"] == codes)
                axis.loglog(*zip(*points), style, markersize=3, label=f"{label}, {codes}")
        axis.set(xlabel="images", ylabel=unit)
        axis.legend(fontsize=6)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
