#!/usr/bin/env python3
"""Decodes pictures as phones, cameras, scanners and office programs write them, and compares the pixels with the picture in
each file. Prints a table by kind: the number of files, how many are right, wrong and refused, and the error texts.

usage: formats.py [--program target/release/decode] [--keep FOLDER] [--verbose]
       formats.py --fixtures tests/fixtures/kinds

Needs Pillow 12 with pillow-heif and numpy, and Debian's libtiff-tools, libjpeg-turbo-progs and libjxl-tools. Build the program
with `cargo build --release -p scihcgrl-image --bin decode`. Pixels are right if the mean difference is at most 2 of 255 for
lossy formats, 0 for lossless ones of 8 bits, and 1 for other depths. Files that Pillow cannot read, or reads wrongly, are
compared with the picture that they were made from. Exits with 1 if any picture is decoded wrongly. With --fixtures, it only
writes a small file of each kind, and upright.png, the picture in all of them."""
import argparse, collections, io, pathlib, struct, subprocess, sys, tempfile

import numpy
import pillow_heif
from PIL import Image, ImageCms, ImageOps

from formats_files import ORIENTATION, Corpus, add_exif_prefix, exif, over_white, photo, tiff

pillow_heif.register_heif_opener()


def phones(corpus, picture):
    image = Image.fromarray(picture)
    alpha = image.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    odd = image.crop((0, 0, 131, 77))
    for quality in (40, 75, 90):
        for chroma in ("4:2:0", "4:2:2", "4:4:4"):
            corpus.pillow("AVIF", image, "avif", 2, quality=quality, subsampling=chroma)
        corpus.pillow("AVIF", alpha, "avif", 2, quality=quality)
        for chroma in (420, 422, 444):
            corpus.pillow("HEIC", image, "heic", 2, quality=quality, chroma=chroma)
        corpus.pillow("HEIC", alpha, "heic", 2, quality=quality)
    for orientation in range(1, 9):
        corpus.pillow("AVIF", image, "avif", 2, exif=exif(orientation))
        corpus.pillow("HEIC", image, "heic", 2, exif=exif(orientation))
        lossless = bool(orientation % 2)
        plain = corpus.pillow("WebP with EXIF", image, "webp", 0 if lossless else 2, lossless=lossless, exif=exif(orientation))
        shows = over_white(Image.open(io.BytesIO(plain)))
        corpus.add("WebP with EXIF", add_exif_prefix(plain), "webp", 0 if lossless else 2, shows)
    for small in (odd, odd.convert("L")):
        corpus.pillow("AVIF", small, "avif", 2)
        corpus.pillow("HEIC", small, "heic", 2)
    corpus.pillow("WebP with EXIF", alpha, "webp", 0, lossless=True)
    source = corpus.folder / "source.png"
    image.save(source)
    alpha_source = corpus.folder / "alpha.png"
    alpha.save(alpha_source)
    white = over_white(alpha)
    for number, (options, tolerance) in enumerate([(["-d", "0"], 0), (["-d", "0", "-e", "3"], 0), (["-d", "0", "-e", "9"], 0)]
                                                  + [(["-d", str(d), "-e", str(e)], 2) for d in (0.3, 0.5, 1) for e in (3, 5, 7)]):
        corpus.tool("JPEG XL", ["cjxl", str(source), "{0}", *options], "jxl", tolerance, picture)
        if number < 4:
            corpus.tool("JPEG XL", ["cjxl", str(alpha_source), "{0}", *options], "jxl", max(tolerance, 1), white)


def jpegs(corpus, picture):
    image = Image.fromarray(picture)
    source = corpus.folder / "source.ppm"
    image.save(source)
    files = []
    for quality in (50, 80, 95):
        for options in ({}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2, "restart_marker_rows": 1}, {"optimize": True}):
            data = io.BytesIO()
            image.save(data, "JPEG", quality=quality, exif=exif(6 if quality == 80 else 1), **options)
            files.append(data.getvalue())
    for data in files:
        shows = over_white(Image.open(io.BytesIO(data)))
        corpus.add("JPEG without its end marker", data[:-2], "jpg", 2, shows)
        corpus.add("JPEG with bytes after its end", data + b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1700000000000SEFHk\0\0\0SEFT", "jpg", 2, shows)
        corpus.add("JPEG with a trailer in place of its end", data[:-2] + b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1700000000000SEFHk\0\0\0SEFT", "jpg", 2, shows)
        corpus.add("JPEG cut off (must be refused)", data[: len(data) * 2 // 3], "jpg", None)
    for quality in (40, 60, 75, 85, 95):
        for options in ([], ["-progressive"], ["-sample", "1x1"]):
            corpus.tool("JPEG, arithmetic", ["cjpeg", "-arithmetic", "-quality", str(quality), *options, "-outfile", "{0}", str(source)], "jpg", 2)


def pngs(corpus, picture):
    image = Image.fromarray(picture)
    alpha = image.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    images = [image, alpha, image.convert("L"), image.convert("LA"), image.quantize(200), image.quantize(12), image.convert("1"),
              image.resize((7, 5)), image.resize((1, 1)), image.rotate(20), ImageOps.mirror(image), ImageOps.invert(image),
              ImageOps.posterize(image, 3), image.crop((9, 9, 99, 41)), image.convert("L").resize((255, 3))]
    for one in images:
        data = io.BytesIO()
        one.save(data, "PNG")
        data, shows = data.getvalue(), over_white(one)
        corpus.add("PNG without IEND", data[:-12], "png", 0, shows)
        at = data.index(b"IDAT") - 4
        length = int.from_bytes(data[at : at + 4], "big")
        broken = bytearray(data)
        broken[at + 8 + length] ^= 0x55
        corpus.add("PNG with a wrong checksum of pixels", bytes(broken), "png", 0, shows)
        corpus.add("PNG cut off (must be refused)", data[: at + 8 + length * 2 // 3], "png", None)
    for depth in (4, 5):
        for zero in range(8):
            head = struct.pack("<IiiHHIIiiII", 108 if depth == 4 else 124, 40, -30 + zero, 1, 32, 3, 40 * (30 - zero) * 4, 0, 0, 0, 0)
            masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
            head = (head + masks).ljust(108 if depth == 4 else 124, b"\0")
            part = picture[: 30 - zero, :40]
            pixels = numpy.concatenate([part[..., ::-1], numpy.zeros((*part.shape[:2], 1), numpy.uint8)], axis=-1)
            data = b"BM" + struct.pack("<IHHI", 14 + len(head) + pixels.size, 0, 0, 14 + len(head)) + head + pixels.tobytes()
            corpus.add("BMP with a mask of alpha that is all 0", data, "bmp", 0, part)


def tiffs(corpus, picture):
    image = Image.fromarray(picture)
    grey = numpy.asarray(image.convert("L"))[..., None]
    grey_rgb = numpy.repeat(grey, 3, axis=-1)
    source = corpus.folder / "source.tif"
    image.save(source)
    for colours in (2, 4, 16, 200, 256):
        for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"):
            corpus.pillow("TIFF with palette colours", image.quantize(colours), "tif", 0, compression=compression)
    for bits in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24, 32):
        largest = (1 << bits) - 1
        values = numpy.round(grey / 255 * largest).astype({8: numpy.uint8, 16: numpy.uint16, 32: numpy.uint32}.get(bits, numpy.uint64))
        shows = numpy.repeat(numpy.round(values / largest * 255), 3, axis=-1).astype(numpy.uint8)
        for photometric in (0, 1):
            if bits != 24:
                stored = values if photometric else (largest - values).astype(values.dtype)
                corpus.add("TIFF, grey of any depth", tiff(stored, bits, photometric), "tif", 0 if bits in (1, 2, 4, 8) else 1, shows)
    for quality in (60, 75, 90):
        for form in ("strips", "tiles"):
            for size in (image, image.crop((0, 0, 131, 77)), image.resize((320, 200))):
                path = corpus.folder / f"{len(corpus.files)}-ycbcr.tif"
                size.save(path)
                options = ["-t", "-w", "64", "-l", "64"] if form == "tiles" else ["-r", "16"]
                corpus.tool("TIFF, JPEG or YCbCr", ["tiffcp", "-c", f"jpeg:{quality}", *options, str(path), "{0}"], "tif", 2)
    for options in (["g3"], ["g3:1d"], ["g3:2d"], ["g3:fill"], ["g4"]):
        for order in ("lsb2msb", "msb2lsb"):
            for size in (image, image.resize((640, 400))):
                path = corpus.folder / f"{len(corpus.files)}-fax.tif"
                size.convert("1").save(path)
                corpus.tool("TIFF compressed as a fax", ["tiffcp", "-c", *options, "-f", order, str(path), "{0}"], "tif", 0)
    for compression in ("raw", "group3", "group4", "tiff_ccitt"):
        corpus.pillow("TIFF compressed as a fax", image.convert("1"), "tif", 0, compression=compression)
    for shown, mode in ((image, "rgb"), (image.convert("L"), "grey"), (image.convert("1"), "1"), (image.quantize(64), "palette")):
        path = corpus.folder / f"{mode}-big.tif"
        shown.save(path)
        for compression in ("none", "lzw", "zip", "packbits"):
            corpus.tool("BigTIFF", ["tiffcp", "-8", "-c", compression, str(path), "{0}"], "tif", 0)
    for compression in ("none", "lzw", "zip", "packbits", "lzw:2", "zip:2"):
        for options in ([], ["-t", "-w", "64", "-l", "32"], ["-r", "7"]):
            corpus.tool("TIFF, planar", ["tiffcp", "-p", "separate", "-c", compression, *options, str(source), "{0}"], "tif", 0)
    for bits in (numpy.float16, numpy.float32, numpy.float64):
        for whole, shows, photometric in ((grey / 255, grey_rgb, 1), (1 - grey / 255, grey_rgb, 0), (picture / 255, picture, 2), (grey * 1.0, grey_rgb, 1)):
            for order in "<>":
                data = tiff(whole.astype(bits), numpy.dtype(bits).itemsize * 8, photometric, kind=3, order=order)
                corpus.add("TIFF, floating-point", data, "tif", 1, shows)
    for bits, kind in ((8, numpy.int8), (16, numpy.int16), (32, numpy.int32)):
        half = 1 << bits - 1
        for values, shows, photometric in ((grey, grey_rgb, 1), (picture, picture, 2)):
            stored = (numpy.round(values / 255 * (2 * half - 1)) - half).astype(kind)
            for order in "<>":
                corpus.add("TIFF of signed samples", tiff(stored, bits, photometric, kind=2, order=order), "tif", 1, shows)
    opacity = numpy.asarray(Image.linear_gradient("L").resize(image.size))[..., None]
    premultiplied = numpy.round(picture * (opacity / 255)).astype(numpy.uint8)
    shows = (premultiplied.astype(int) + 255 - opacity).clip(0, 255).astype(numpy.uint8)
    for order in "<>":
        for scale, bits in ((1, 8), (257, 16)):
            for planar in (1, 2):
                for big in (False, True):
                    data = numpy.concatenate([premultiplied, opacity], axis=-1).astype(numpy.uint8 if bits == 8 else numpy.uint16) * scale
                    corpus.add("TIFF with premultiplied alpha", tiff(data, bits, 2, big=big, planar=planar, extra=1, order=order), "tif", 0 if bits == 8 else 1, shows)
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"):
        for mode in ("LA", "RGBA", "CMYK", "LAB"):
            if mode == "LAB":
                change = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
                corpus.pillow("TIFF, others", ImageCms.applyTransform(image, change), "tif", 3, shows=picture, compression=compression)
            else:
                straight = image.convert(mode)
                if mode != "CMYK":
                    straight.putalpha(Image.fromarray(opacity[..., 0]))
                corpus.pillow("TIFF, others", straight, "tif", 1, compression=compression)
    for orientation, method in enumerate([None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"], 1):
        for shown in (image, image.quantize(16)):
            shows = shown.transpose(Image.Transpose[method]) if method else shown
            corpus.pillow("TIFF turned", shown, "tif", 0, over_white(shows), tiffinfo={ORIENTATION: orientation})


def fixtures(folder):
    """Writes a file of each kind that a decoder process decodes, and of each that the image crate alone decodes wrongly."""
    picture = photo(48, 32)
    image = Image.fromarray(picture)
    grey = numpy.asarray(image.convert("L"))[..., None]
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / "upright.png")
    image.save(folder / "colours.heic", quality=95, chroma=444)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "turned.heic", quality=95, chroma=444, exif=exif(6))
    image.save(folder / "colours.avif", quality=95, subsampling="4:4:4")
    turned.save(folder / "prefix.webp", lossless=True, exif=exif(6))
    (folder / "prefix.webp").write_bytes(add_exif_prefix((folder / "prefix.webp").read_bytes()))
    image.quantize(256).save(folder / "palette.tif", compression="tiff_lzw")
    image.save(folder / "ycbcr.tif", compression="jpeg", quality=95)
    (folder / "grey-12-bits.tif").write_bytes(tiff(numpy.round(grey / 255 * 4095).astype(numpy.uint64), 12, 1))
    (folder / "grey-float.tif").write_bytes(tiff((grey / 255).astype(numpy.float32), 32, 1, kind=3))
    (folder / "signed.tif").write_bytes(tiff((picture.astype(int) - 128).astype(numpy.int8), 8, 2, kind=2))
    (folder / "big.tif").write_bytes(tiff(picture, 8, 2, big=True, order=">"))
    opaque = numpy.full((32, 48, 1), 255, numpy.uint8)
    opaque[:, 24:] = 128
    # White shows through the right half, so it is nowhere darker than 127.
    light = numpy.concatenate([picture, opaque], axis=-1)
    light[:, 24:, :3] = (picture[:, 24:].astype(int) - 127).clip(0)
    (folder / "multiplied.tif").write_bytes(tiff(light, 8, 2, extra=1))
    image.save(folder / "source.tif")
    image.save(folder / "source.ppm")
    for command in (["cjxl", "upright.png", "colours.jxl", "-d", "0"], ["cjpeg", "-arithmetic", "-quality", "95", "-sample", "1x1", "-outfile", "arithmetic.jpg", "source.ppm"],
                    ["tiffcp", "-p", "separate", "-t", "-w", "16", "-l", "16", "-c", "lzw", "source.tif", "tiles-of-planes.tif"]):
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
    image.convert("1").save(folder / "fax.tif", compression="group3")
    (folder / "source.tif").unlink()
    (folder / "source.ppm").unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/decode")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--fixtures", type=pathlib.Path)
    options = parser.parse_args()
    if options.fixtures:
        return fixtures(options.fixtures)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(options.keep or folder)
        folder.mkdir(parents=True, exist_ok=True)
        corpus, picture = Corpus(folder), photo()
        for part in (phones, jpegs, pngs, tiffs):
            part(corpus, picture)
        paths = "".join(f"{path}\n" for _, path, _, _ in corpus.files)
        done = subprocess.run([options.program, str(folder)], input=paths, text=True, capture_output=True, check=True)
        counts = collections.defaultdict(collections.Counter)
        messages = collections.defaultdict(collections.Counter)
        for (kind, path, tolerance, shows), line in zip(corpus.files, done.stdout.splitlines(), strict=True):
            _, pixels, refusal = line.split("\t")
            if tolerance is None:
                outcome = "right" if refusal else "wrong"
            elif refusal:
                outcome = "refused"
                messages[kind][refusal] += 1
            else:
                try:
                    expected = over_white(Image.open(path)) if shows is None else shows
                except OSError as error:
                    sys.exit(f"{kind}: {path}: {error}")
                found = numpy.asarray(Image.open(pixels))
                same = found.shape == expected.shape
                difference = abs(found.astype(int) - expected).mean() if same else 255
                outcome = "right" if difference <= tolerance else "wrong"
                if options.verbose and outcome == "wrong":
                    print(f"{kind}: {path}: {difference:.2f} off, {found.shape}", file=sys.stderr)
            counts[kind][outcome] += 1
        print("| kind | files | right | wrong | refused | error texts |\n| --- | ---: | ---: | ---: | ---: | --- |")
        for kind, found in counts.items():
            errors = "; ".join(sorted(messages[kind]))[:120]
            print(f"| {kind} | {sum(found.values())} | {found['right']} | {found['wrong']} | {found['refused']} | {errors} |")
        total = sum(counts.values(), collections.Counter())
        print(f"| all | {sum(total.values())} | {total['right']} | {total['wrong']} | {total['refused']} | |")
        sys.exit(total["wrong"] > 0)


main()
