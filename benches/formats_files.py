"""Files for `formats.py`: the picture in them, a corpus in a folder, and TIFFs of any samples, which no program writes."""
import io, struct, subprocess, sys

import numpy
from PIL import Image, ImageOps

WIDTH, HEIGHT = 150, 100
ORIENTATION = 0x112


def photo(width=WIDTH, height=HEIGHT):
    """Returns soft colours with an edge, which show any wrong rotation or order of channels."""
    y, x = numpy.mgrid[0:height, 0:width] / numpy.array([height, width]).reshape(2, 1, 1)
    soft = numpy.stack([x, (x + y) / 2, 1 - y], axis=-1) * 200 + 25 + 20 * numpy.sin(9 * x * (1 + y))[..., None]
    soft[: height // 3, : width // 4] = [200, 40, 60]
    return soft.clip(0, 255).astype(numpy.uint8)


def exif(orientation):
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found.tobytes()


def add_exif_prefix(webp):
    """Adds the prefix of a JPEG segment to the EXIF chunk, as some programs write it; Pillow does not."""
    at = webp.index(b"EXIF")
    length = int.from_bytes(webp[at + 4 : at + 8], "little")
    webp = webp[: at + 4] + struct.pack("<I", length + 6) + b"Exif\0\0" + webp[at + 8 :]
    return webp[:4] + struct.pack("<I", len(webp) - 8) + webp[8:]


def over_white(image):
    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return numpy.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    return numpy.asarray(image.convert("RGB"))


class Corpus:
    def __init__(self, folder):
        self.folder, self.files = folder, []

    def add(self, kind, data, ending, tolerance, shows=None):
        """Adds a file with the allowed mean difference. `shows` is the picture in it; without, Pillow decodes it."""
        path = self.folder / f"{len(self.files):04}.{ending}"
        if data is not None:
            path.write_bytes(data)
        self.files.append((kind, path, tolerance, shows))
        return path

    def pillow(self, kind, image, ending, tolerance, shows=None, **options):
        data = io.BytesIO()
        formats = {"jpg": "JPEG", "tif": "TIFF", "heic": "HEIF"}
        image.save(data, formats.get(ending, ending.upper()), **options)
        self.add(kind, data.getvalue(), ending, tolerance, shows)
        return data.getvalue()

    def tool(self, kind, command, ending, tolerance, shows=None):
        path = self.folder / f"{len(self.files):04}.{ending}"
        done = subprocess.run([part.format(path) for part in command], capture_output=True)
        if done.returncode or not path.exists():
            sys.exit(f"{command}: {done.stderr.decode()}")
        self.add(kind, None, ending, tolerance, shows)


def tiff(samples, bits, photometric, big=False, kind=1, planar=1, extra=None, order="<", tags=()):
    """Returns an uncompressed TIFF of one strip a plane. `samples` is an array [height, width, channels] of integers of `bits` bits,
    or of numbers of any type with that many bits."""
    height, width, channels = samples.shape
    planes = [samples] if planar == 1 else [samples[..., c : c + 1] for c in range(channels)]
    strips = []
    for plane in planes:
        if plane.dtype.kind == "f" or bits in (8, 16, 32, 64):
            strips.append(plane.astype(plane.dtype.newbyteorder(order)).tobytes())
        else:
            rows = ((plane.reshape(height, -1, 1).astype(numpy.uint64) >> numpy.arange(bits - 1, -1, -1, dtype=numpy.uint64)) & 1).astype(numpy.uint8)
            strips.append(numpy.packbits(rows.reshape(height, -1), axis=1).tobytes())
    long = 16 if big else 4
    entries = [(256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * channels), (259, 3, [1]), (262, 3, [photometric]),
               (273, long, [0] * len(strips)), (277, 3, [channels]), (278, 3, [height]), (279, long, [len(s) for s in strips]),
               (284, 3, [planar]), (339, 3, [kind] * channels), *tags]
    if extra is not None:
        entries.append((338, 3, [extra]))
    entries.sort()
    sizes = {3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}
    head, entry, inline = (16, 20, 8) if big else (8, 12, 4)
    count = struct.pack(order + ("Q" if big else "H"), len(entries))
    after = head + len(count) + entry * len(entries) + inline
    outside = b""
    place = after + sum(sizes[t][1] * len(v) for _, t, v in entries if sizes[t][1] * len(v) > inline)
    directory = b""
    for tag, form, values in entries:
        if tag == 273:
            values = [place + sum(len(s) for s in strips[:i]) for i in range(len(strips))]
        packed = struct.pack(order + sizes[form][0] * len(values), *values)
        if len(packed) > inline:
            packed, outside = struct.pack(order + ("Q" if big else "I"), after + len(outside)), outside + packed
        directory += struct.pack(order + ("HHQ" if big else "HHI"), tag, form, len(values)) + packed.ljust(inline, b"\0")
    start = (b"II" if order == "<" else b"MM") + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    return start + count + directory + b"\0" * inline + outside + b"".join(strips)
