"""The training step: as many epochs as the minutes allow, the paper's protocol with two seeds, then
the default model at 128 and at 224 pixels. Every model is measured once, on images that neither
training nor the choice of a checkpoint has seen."""
import collections, json, math, os, shutil, struct, tarfile, time

# The best options by docs/paper.md.
RECIPE = "--policy-rate 3e-4 --augment 0.6 --mix 0.5 --dropout 0.3"
Form = collections.namedtuple("Form", "side batch most_epochs warm_up flags")
# For each device: the paper's protocol, the default models, the images per class of a trial, and the
# seconds of a warm-up step.
CUDA = {"paper": Form(224, 64, 80, 20, "--average 0.999 --precision bf16"),
        "default": [Form(128, 128, 30, 5, "--average 0.998 --precision bf16"),
                    Form(224, 128, 16, 3, "--average 0.998 --precision bf16 --backbone-rate 2e-4")], "trial": 128, "warm_up_step": 0.01}
# One thread, because OpenMP's threads busy-wait, which is slow on shared cores.
CPU = {"paper": Form(48, 32, 2, 2, "--average 0.9 --threads 1"),
       "default": [Form(48, 32, 2, 2, "--average 0.9 --threads 1 --per-class 12"), Form(64, 32, 1, 1, "--average 0.9 --threads 1 --per-class 12")],
       "trial": 8, "warm_up_step": 0.1}
# Queries and training images of the paper's protocol, and the held-back share and queries of the
# default model: for CIFAR-10, and for few images.
Sizes = collections.namedtuple("Sizes", "queries training held_back evaluated")
FULL, FEW = Sizes(1000, 5000, 0.02, 1000), Sizes(20, 100, 0.1, 40)
# Training and test images per class in the small form.
TAKEN = 40, 10
Pace = collections.namedtuple("Pace", "images_per_s overhead")

def card(model):
    """Returns the card of a checkpoint."""
    with open(model, "rb") as file:
        head = file.read(struct.unpack("<Q", file.read(8))[0])
    return json.loads(json.loads(head)["__metadata__"]["scihcgrl"])

def data(here):
    """Returns training and test images and the number of both; in the small form the first few of
    each class."""
    if not here.pack["images"]:
        sets = [here.project / "samples/gallery", here.project / "samples/queries"]
    else:
        sets = [here.weights.parent / f"{name}.tar.gz" for name in ("train", "test")]
        if not here.small:
            return sets, sum(here.pack["images"].values())
        sets = [few(archive, count, here.work / archive.name.split(".")[0]) for archive, count in zip(sets, TAKEN)]
    return sets, sum(1 for folder in sets for _ in folder.glob("*/*.jpg"))

def few(archive, count, folder):
    taken = collections.Counter()
    with tarfile.open(archive) as files:
        for file in files:
            taken[file.name.split("/")[0]] += 1
            if taken[file.name.split("/")[0]] <= count:
                files.extract(file, folder)
    return folder

class Trainings:
    def __init__(self, here, busy):
        self.here, self.busy, self.form = here, busy, CPU if here.small else CUDA
        (self.train, self.test), self.images = data(here)
        self.sizes = FEW if here.small or not here.pack["images"] else FULL
        self.paces = {}

    def command(self, form, epochs, warm_up, out, backbone):
        """Returns the command of a training."""
        return [self.here.program("scihcgrl"), "train", "--data", self.train, "--out", out, "--backbone", backbone, "--device", self.here.device,
                "--input-size", form.side, "--batch-size", form.batch, "--epochs", epochs, "--warm-up-epochs", warm_up, *RECIPE.split(),
                *form.flags.split()]

    def trial(self, form):
        """Measures images a second at this size, and the seconds of a training outside its
        epochs."""
        out, began = self.here.work / "trial.safetensors", time.monotonic()
        command = self.command(form, 3, 1, out, self.here.weights)
        failed = self.here.call([*command, "--per-class", self.form["trial"], "--validation-fraction", "0"], 60)
        line = {"step": "train", "what": "trial", "side": form.side, "batch": form.batch, **({"failed": failed} if failed else {})}
        if not out.exists():
            self.here.add(**line)
            return
        training = card(out)["training"]
        os.remove(out)
        pace, images = training["joint_images_per_second"], training["images"]
        self.paces[form.side] = Pace(pace, max(time.monotonic() - began - 3 * images / pace, 1))
        self.here.add(**line, images=images, images_per_s=round(pace, 1))

    def epochs(self, form, images, others, processes, seconds):
        """Returns how many epochs fit, if `processes` are started and all `images` and `others`
        also go through the network once."""
        pace = self.paces[form.side]
        warm_up = form.warm_up * images / 256 * self.form["warm_up_step"]
        left = 0.85 * seconds - processes * pace.overhead - warm_up - (images + others) / (2 * pace.images_per_s)
        return min(form.most_epochs, math.floor(left * pace.images_per_s / images))

    def paper(self, seed, epochs, limit):
        """Trains by the paper's protocol: queries and training images drawn from all, no checkpoint
        chosen, measured once."""
        form, here, work = self.form["paper"], self.here, self.here.work / "reproduce"
        joint = f"--batch-size {form.batch} --epochs {epochs} --warm-up-epochs {form.warm_up} --validation-fraction 0 {RECIPE} {form.flags}"
        command = [here.program("scihcgrl-paper"), "reproduce", "--data", self.train, self.test, "--backbone", here.weights, "--work", work,
                   "--device", here.device, "--input-size", form.side, "--queries", self.sizes.queries, "--training", self.sizes.training,
                   "--seeds", 0, "--first-seed", seed, "--joint-seeds", 1, f"--joint={joint}"]
        with self.busy(here) as found:
            failed = here.call(command, limit)
        line = {"step": "train", "what": "the paper's protocol", "seed": seed, "side": form.side, "epochs": epochs, **found.found}
        line.update({"failed": failed} if failed else {})
        results = work / "results.jsonl"
        done = map(json.loads, filter(None, results.read_text().splitlines())) if results.exists() else ()
        by_bits = {one["key"].split(", ")[-2].split()[0]: one["quality"]["without"] for one in done if one["key"].endswith(f"seed {seed}")}
        if not by_bits:
            return here.add(**line)
        model = work / f"joint-{seed}.safetensors"
        self.record(line, model, by_bits)
        if seed == 0:
            self.keep(model, "paper.safetensors")

    def default(self, form, epochs, backbone, seconds):
        """Trains a model of all classes: the checkpoint is chosen on held-back images and measured
        once on test images. Returns its path, or None."""
        here, out = self.here, self.here.work / f"cifar10-{form.side}.safetensors"
        held_back = ["--validation-fraction", self.sizes.held_back, "--patience", epochs]
        line = {"step": "train", "what": "the default model", "side": form.side, "epochs": epochs}
        with self.busy(here) as found:
            # Leaves time to measure the model of a training that is stopped at its limit.
            failed = here.call([*self.command(form, epochs, form.warm_up, out, backbone), *held_back], seconds - self.paces[form.side].overhead - 5)
        line.update(found.found, **({"failed": failed} if failed else {}))
        if not out.exists():
            return here.add(**line)
        measured = here.work / f"quality-{form.side}.json"
        evaluate = [here.program("scihcgrl"), "evaluate", "--model", out, "--data", self.test, "--queries", self.sizes.evaluated,
                    "--device", here.device, "--precision", "fp32", "--json", measured, "--record"]
        wrong = here.call(evaluate, 60)
        if not measured.exists():
            here.add(**{**line, "failed": f"evaluate: {wrong}"})
            return out
        self.record(line, out, json.loads(measured.read_text())["quality"])
        self.keep(out, out.name)
        return out

    def keep(self, model, name):
        """Copies a model; it gets its name only when it is complete."""
        part = self.here.out / f"{name}.part"
        shutil.copy(model, part)
        os.replace(part, self.here.out / name)

    def record(self, line, model, by_bits):
        training = card(model)["training"]
        figures = {bits: {name: round(quality[name], 4) for name in ("map", "precision_radius_2")} for bits, quality in by_bits.items()}
        self.here.add(**line, images=training["images"], images_per_s=round(training["joint_images_per_second"], 1),
                      waited_for_pictures=round(training["share_of_time_waiting_for_pictures"], 3), seconds=training["seconds"], quality=figures)

def train(here, busy, end):
    trainings = Trainings(here, busy)
    form, paces, sizes = trainings.form, trainings.paces, trainings.sizes
    pictures = [here.program("scihcgrl"), "bench", "pictures", "--data", trainings.test, "--augment", "0.6", "--seconds", 0.3 if here.small else 2]
    for default in form["default"]:
        made = lambda line: here.add(step="train", what="pictures alone", **line)
        if failed := here.call([*pictures, "--input-size", default.side], 20, made):
            here.add(step="train", what="pictures alone", failed=failed)
    for one in {one.side: one for one in [*form["default"], form["paper"]]}.values():
        trainings.trial(one)

    def fitted(form, what, images, others, processes, seconds):
        """Returns the epochs that fit, or records the reason and returns None."""
        why = "its trial failed" if form.side not in paces else None
        epochs = None if why else trainings.epochs(form, images, others, processes, seconds)
        if why or epochs < 1:
            here.add(step="train", **what, side=form.side, skipped=why or f"{seconds:.0f} s are not enough for one epoch")
            return None
        return epochs

    share = 0.22 * here.left()
    for seed in 0, 1:
        what = {"what": "the paper's protocol", "seed": seed}
        if epochs := fitted(form["paper"], what, sizes.training, trainings.images, 2, share):
            trainings.paper(seed, epochs, 1.2 * share)
    backbone = here.weights
    for default, part in zip(form["default"], (0.55, 1)):
        seconds = part * here.left() - 3
        if epochs := fitted(default, {"what": "the default model"}, trainings.images, 0, 3, seconds):
            # The training with more pixels starts from the model with fewer.
            backbone = trainings.default(default, epochs, backbone, seconds) or backbone
