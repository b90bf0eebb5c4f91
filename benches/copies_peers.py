#!/usr/bin/env python3
"""Compares `scihcgrl evaluate --copies --keep` with perceptual hashes, in docs/quality.md.

Needs pdqhash and ImageHash; `make bench-copies` fetches them.

usage: copies_peers.py FIGURES KEPT GALLERY --report docs/quality.md --section NAME"""
import argparse, json, pathlib

import imagehash
import numpy
import pdqhash
from PIL import Image, ImageOps

CANDIDATES = ("5", "25", "100", "1000")


def pdq(picture):
    bits, _ = pdqhash.compute(numpy.asarray(picture))
    return bits.astype(bool)


# Name, bytes, and a function that returns the hash of a picture as an array of booleans.
HASHES = [
    ("PDQ", 32, pdq),
    ("pHash", 8, lambda picture: imagehash.phash(picture).hash.flatten()),
    ("dHash", 8, lambda picture: imagehash.dhash(picture).hash.flatten()),
]


def opened(path):
    """Reads a picture as the program does: upright, over white."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode in ("RGBA", "LA", "P"):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def hashes(paths):
    found = [[] for _ in HASHES]
    for path in paths:
        picture = opened(path)
        for rows, (_, _, compute) in zip(found, HASHES):
            rows.append(compute(picture))
    return [numpy.array(rows) for rows in found]


def first(gallery, query, own):
    """Returns the probability that a picture comes first, if those at the same distance are in
    random order."""
    distances = (gallery != query).sum(1)
    if (distances < distances[own]).any():
        return 0.0
    return 1.0 / (distances == distances[own]).sum()


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=pathlib.Path)
    parser.add_argument("kept", type=pathlib.Path)
    parser.add_argument("gallery", type=pathlib.Path)
    parser.add_argument("--report", type=pathlib.Path, required=True)
    parser.add_argument("--section", required=True)
    options = parser.parse_args()
    figures = json.loads(options.figures.read_text())
    listed = json.loads((options.kept / "gallery.json").read_text())
    gallery = hashes(options.gallery / name for name in listed["gallery"])
    rows, sums = [], {}
    for name, row in figures["copies"].items():
        folder = options.kept / row["folder"]
        files = sorted(folder.glob("*.png"))
        found = hashes(files)
        shares = [row["first"], *(row[f"first_of_{count}"] for count in CANDIDATES), row["first_by_code"], row["first_by_floats"]]
        for all_hashes, queries in zip(gallery, found):
            shares.append(numpy.mean([first(all_hashes, query, int(file.stem)) for file, query in zip(files, queries)]))
        shares.append(row["is_copy"])
        rows.append([name, *(f"{share:.2f}" for share in shares)])
        sums[name] = shares
    mean = [f"{numpy.mean(column):.3f}" for column in zip(*(shares for name, shares in sums.items() if name != "blurred"))]
    rows.append(["mean without blurred", *mean])
    bytes_of = lambda name: next(f"{name}, {size} bytes" for other, size, _ in HASHES if other == name)
    head = ["a copy", f"search, {figures['sketch_bytes']} bytes and code", *(f"of {count} candidates" for count in CANDIDATES),
            "48-bit code", "floats, 5,120 bytes", *(bytes_of(name) for name, _, _ in HASHES), "known as a copy"]
    kin = figures["kin"]
    text = [f"Model {figures['model']}: {figures['copied']} pictures of {figures['images']:,} changed and searched for; how often the picture comes first.", ""]
    text += table(head, rows)
    text += ["", f"Pictures are known as copies from a similarity of {figures['copy_threshold']:.3f} on: of {figures['pairs']:,} pairs of different pictures, one in a million reaches it, and at least one.", ""]
    near = [["search order", f"{kin['agreement_search_10']:.3f}", f"{kin['agreement_search_100']:.3f}"],
            ["48-bit codes alone", f"{kin['agreement_code_10']:.3f}", f"{kin['agreement_code_100']:.3f}"]]
    text += table(["of the ten nearest by floats", "among the first 10", "among the first 100"], near)
    if "map_search" in kin:
        floats = kin["map_floats"]
        maps = [("search order", kin["map_search"]), ("search order, 1,000 candidates", kin["map_candidates"]), *((f"{bits}-bit codes alone", kin[f"map_{bits}"]) for bits in (48, 32, 24) if f"map_{bits}" in kin)]
        text += ["", f"Kinds, {kin['queries']:,} queries, MAP over the whole ranking:", ""]
        text += table(["order", "MAP", "as a ratio to floats"], [["cosine of floats", f"{floats:.3f}", "1"], *([name, f"{value:.3f}", f"{value / floats:.2f}"] for name, value in maps)])
        kin_words = "no similarity tells kinds with a precision of .9 and a recall of .1" if kin["threshold"] is None else f"From a similarity of {kin['threshold']:.3f} on, nine of ten matches are of the kind, which finds {kin['recall']:.2f} of it"
        text += ["", kin_words + "."]
    begin, end = f"<!-- {options.section} -->\n", f"<!-- /{options.section} -->"
    page = options.report.read_text()
    options.report.write_text(page.split(begin)[0] + begin + "\n".join(text) + "\n" + end + page.split(end)[1])
    print("\n".join(text))


if __name__ == "__main__":
    main()
