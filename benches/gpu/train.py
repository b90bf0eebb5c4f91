"""The step that trains: how many epochs the minutes allow, the paper's protocol with two seeds, then the default model at 128 and at 224
pixels. Every model is measured once, on images that neither training nor the choice of a checkpoint has seen."""
import collections, json, math, shutil, struct, tarfile, time

# As docs/paper.md found best.
RECIPE = "--policy-rate 3e-4 --augment 0.6 --mix 0.5 --dropout 0.3"
Form = collections.namedtuple("Form", "side batch most_epochs flags")
# Of each device: the paper's protocol, its queries and training images; the default models; images a class for a trial, and in all.
CUDA = {"paper": Form(224, 64, 60, "--warm-up-epochs 20 --average 0.999 --precision bf16"), "queries": 1000, "training": 5000,
        "default": [Form(128, 128, 16, "--warm-up-epochs 5 --average 0.998 --precision bf16"),
                    Form(224, 128, 8, "--warm-up-epochs 3 --average 0.998 --precision bf16 --backbone-rate 2e-4")],
        "held_back": 0.02, "evaluated": 1000, "trial": 128, "per_class": None}
# One thread, for those of OpenMP wait for each other by spinning where others compute too.
CPU = {"paper": Form(48, 32, 2, "--warm-up-epochs 2 --average 0.9 --threads 1"), "queries": 20, "training": 100,
       "default": [Form(48, 32, 2, "--warm-up-epochs 2 --average 0.9 --threads 1"), Form(64, 32, 1, "--warm-up-epochs 1 --average 0.9 --threads 1")],
       "held_back": 0.1, "evaluated": 40, "trial": 8, "per_class": (40, 10)}
Pace = collections.namedtuple("Pace", "images_per_s beside")


def card(model):
    """What a checkpoint says of itself."""
    with open(model, "rb") as file:
        head = file.read(struct.unpack("<Q", file.read(8))[0])
    return json.loads(json.loads(head)["__metadata__"]["scihcgrl"])


def data(here, per_class):
    """Training and test images, and how many there are of both; of each class the first few where so many are given."""
    if not here.pack["images"]:
        sets = [here.project / "samples/gallery", here.project / "samples/queries"]
    else:
        sets = [here.weights.parent / f"{name}.tar.gz" for name in ("train", "test")]
        if not per_class:
            return sets, sum(here.pack["images"].values())
        sets = [few(archive, count, here.work / archive.name.split(".")[0]) for archive, count in zip(sets, per_class)]
    return sets, sum(1 for folder in sets for _ in folder.glob("*/*.jpg"))


def few(archive, count, folder):
    taken = collections.Counter()
    with tarfile.open(archive) as files:
        for file in files:
            taken[file.name.split("/")[0]] += 1
            if taken[file.name.split("/")[0]] <= count:
                files.extract(file, folder, filter="data")
    return folder


class Trainings:
    def __init__(self, here, busy):
        self.here, self.busy, self.form = here, busy, CPU if here.small else CUDA
        (self.train, self.test), self.images = data(here, self.form["per_class"])
        self.paces = {}

    def command(self, form, epochs, out, backbone):
        """A training of the default model."""
        return [self.here.program("scihcgrl"), "train", "--data", self.train, "--out", out, "--backbone", backbone, "--device", self.here.device,
                "--input-size", form.side, "--batch-size", form.batch, "--epochs", epochs, *RECIPE.split(), *form.flags.split()]

    def trial(self, form):
        """Images a second at these pixels, and the seconds that a training takes beside its epochs."""
        if form not in self.paces:
            out, began = self.here.work / "trial.safetensors", time.monotonic()
            command = self.command(form, 3, out, self.here.weights)
            failed = self.here.call([*command, "--per-class", self.form["trial"], "--validation-fraction", "0"], self.here.left())
            if failed:
                raise RuntimeError(f"a trial at {form.side} pixels: {failed}")
            training = card(out)["training"]
            pace, images = training["joint_images_per_second"], training["images"]
            self.paces[form] = Pace(pace, max(time.monotonic() - began - 3 * images / pace, 1))
            self.here.add(step="train", what="trial", side=form.side, batch=form.batch, images=images, images_per_s=round(pace, 1))
        return self.paces[form]

    def epochs(self, form, images, others, seconds):
        """How many fit, where a quarter of the time is kept for what was not foreseen; `others` only go through the network."""
        pace = self.trial(form)
        left = 0.75 * seconds - pace.beside - (others + images) / (2 * pace.images_per_s)
        return min(form.most_epochs, math.floor(left * pace.images_per_s / images))

    def paper(self, seed, epochs, limit):
        """The paper's protocol: its queries and training images drawn from all, no checkpoint chosen, measured once."""
        form, here, work = self.form["paper"], self.here, self.here.work / "reproduce"
        joint = f"--batch-size {form.batch} --epochs {epochs} --validation-fraction 0 {RECIPE} {form.flags}"
        command = [here.program("scihcgrl"), "reproduce", "--data", self.train, self.test, "--backbone", here.weights, "--work", work,
                   "--device", here.device, "--input-size", form.side, "--queries", self.form["queries"], "--training", self.form["training"],
                   "--seeds", 0, "--first-seed", seed, "--joint-seeds", 1, f"--joint={joint}"]
        with self.busy(here) as found:
            failed = here.call(command, limit)
        line = {"step": "train", "what": "the paper's protocol", "seed": seed, "side": form.side, "epochs": epochs, **found.found}
        if failed:
            return here.add(**line, failed=failed)
        done = map(json.loads, filter(None, (work / "results.jsonl").read_text().splitlines()))
        by_bits = {one["key"].split(", ")[-2].split()[0]: one["quality"] for one in done if one["key"].endswith(f"seed {seed}")}
        model = work / f"joint-{seed}.safetensors"
        self.told(line, model, {bits: quality["without"] for bits, quality in by_bits.items()}, training=self.form["training"])
        if seed == 0:
            shutil.copy(model, here.out / "paper.safetensors")

    def default(self, form, epochs, backbone, limit):
        """A model of all classes: its checkpoint chosen on images held back, measured once on test images. Where it is, if it is."""
        here, out = self.here, self.here.work / f"cifar10-{form.side}.safetensors"
        began, held_back = time.monotonic(), ["--validation-fraction", self.form["held_back"], "--patience", epochs]
        line = {"step": "train", "what": "the default model", "side": form.side, "epochs": epochs}
        with self.busy(here) as found:
            failed = here.call([*self.command(form, epochs, out, backbone), *held_back], limit - 15)
        line.update(found.found)
        if failed:
            line["failed"] = failed
            if not out.exists():
                return here.add(**line)
        measured = here.work / "quality.json"
        evaluate = [here.program("scihcgrl"), "evaluate", "--model", out, "--data", self.test, "--queries", self.form["evaluated"],
                    "--device", here.device, "--precision", "fp32", "--json", measured, "--record"]
        if wrong := here.call(evaluate, limit - (time.monotonic() - began)):
            here.add(**{**line, "failed": f"evaluate: {wrong}"})
            return out
        self.told(line, out, json.loads(measured.read_text())["quality"])
        shutil.copy(out, here.out)
        return out

    def told(self, line, model, by_bits, **more):
        training = card(model)["training"]
        figures = {bits: {name: round(quality[name], 4) for name in ("map", "precision_radius_2")} for bits, quality in by_bits.items()}
        self.here.add(**line, **more, images=training["images"], images_per_s=round(training["joint_images_per_second"], 1),
                      waited_for_pictures=round(training["share_of_time_waiting_for_pictures"], 3), seconds=training["seconds"], quality=figures)


def train(here, busy, end):
    trainings = Trainings(here, busy)
    form = trainings.form
    pictures = [here.program("scihcgrl"), "bench", "pictures", "--data", trainings.test, "--augment", "0.6", "--seconds", 2]
    for default in form["default"]:
        made = lambda line: here.add(step="train", what="pictures alone", **line)
        if failed := here.call([*pictures, "--input-size", default.side], 20, made):
            here.add(step="train", what="pictures alone", failed=failed)
    share = 0.24 * here.left()
    epochs = trainings.epochs(form["paper"], form["training"], trainings.images, share)
    for seed in 0, 1:
        if epochs < 1:
            here.add(step="train", what="the paper's protocol", seed=seed, skipped=f"{share:.0f} s are too few for an epoch")
        else:
            trainings.paper(seed, epochs, 1.3 * share)
    backbone = here.weights
    for default, part in zip(form["default"], (0.7, 1)):
        seconds = part * here.left() - 5
        epochs = trainings.epochs(default, trainings.images, 0, seconds)
        if epochs < 1:
            here.add(step="train", what="the default model", side=default.side, skipped=f"{seconds:.0f} s are too few for an epoch")
            continue
        # More pixels go on from what fewer have learned.
        backbone = trainings.default(default, epochs, backbone, seconds) or backbone
