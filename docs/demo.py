#!/usr/bin/env python3
"""Draws demo.png, the README's picture, from a running service that holds the sample gallery (`make demo`).
needs: pillow
usage: docs/demo.py [URL]"""
import io, json, pathlib, sys, urllib.request
from PIL import Image, ImageDraw

url = sys.argv[1] if len(sys.argv) > 1 else 'http://127.0.0.1:8080'
root = pathlib.Path(__file__).resolve().parent.parent
SIDE, GAP, SHOWN = 64, 8, 8


def picture(data, frame):
    image = Image.open(io.BytesIO(data)).convert('RGB').resize((SIDE, SIDE), Image.BICUBIC)
    if frame:
        ImageDraw.Draw(image).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=frame, width=3)
    return image


def get(path, data=None):
    return urllib.request.urlopen(urllib.request.Request(url + path, data)).read()


classes = sorted(path.name for path in (root / 'samples/queries').iterdir())
sheet = Image.new('RGB', ((SHOWN + 1) * (SIDE + GAP) + 3 * GAP, len(classes) * (SIDE + GAP) + GAP), 'white')
for row, name in enumerate(classes):
    query = sorted((root / 'samples/queries' / name).iterdir())[0].read_bytes()
    top = GAP + row * (SIDE + GAP)
    sheet.paste(picture(query, None), (GAP, top))
    answer = json.loads(get(f'/search?bits=48&radius=2&limit={SHOWN}', query))
    for column, match in enumerate(answer['matches']):
        frame = None if name in match['labels'] else '#d02020'
        left = 4 * GAP + SIDE + column * (SIDE + GAP)
        sheet.paste(picture(get(match['content_url']), frame), (left, top))
sheet.quantize(128, method=Image.MEDIANCUT).save(root / 'docs/demo.png', optimize=True)
print(root / 'docs/demo.png', sheet.size)
