#!/usr/bin/env python3
"""Makes images of several classes out of images of one: squares of 64 pixels with one to four CIFAR-10 pictures, the other quarters
grey, and a list of them with the classes of each, as `scihcgrl train --data` takes it. No picture is used twice.
needs: pillow
usage: docs/compose.py FOLDER OUT [--seed 0]     FOLDER has a folder of pictures per class; writes OUT/list.csv"""
import argparse, csv, itertools, pathlib, random
from PIL import Image

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument('folder', type=pathlib.Path)
options.add_argument('out', type=pathlib.Path)
options.add_argument('--seed', type=int, default=0)
o = options.parse_args()
draw = random.Random(o.seed)
pictures = sorted(o.folder.glob('*/*.jpg'))
draw.shuffle(pictures)
(o.out / 'images').mkdir(parents=True, exist_ok=True)
with open(o.out / 'list.csv', 'w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(['path', 'labels'])
    for number in itertools.count():
        if len(pictures) < 4:
            break
        chosen = [pictures.pop() for _ in range(draw.randint(1, 4))]
        quarters = draw.sample([(0, 0), (32, 0), (0, 32), (32, 32)], len(chosen))
        image = Image.new('RGB', (64, 64), (127, 127, 127))
        for path, place in zip(chosen, quarters):
            image.paste(Image.open(path).convert('RGB').resize((32, 32)), place)
        name = f'images/{number:05}.png'
        image.save(o.out / name)
        rows.writerow([name, ';'.join(sorted({path.parent.name for path in chosen}))])
