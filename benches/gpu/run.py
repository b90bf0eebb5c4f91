#!/usr/bin/env python3
"""The order of what is done on a machine with a GPU, what each step may take, and the lines that it leaves. `run.sh` says how it is used.
Knows this machine and time; what a step does is its own file's."""
import ctypes, datetime, json, math, os, pathlib, re, shutil, signal, subprocess, sys, tarfile, tempfile, threading, time

import report, steps, train

HERE = pathlib.Path(__file__).resolve().parent
# Seconds that a step may take, by device. Training has what is left.
STEPS = {"measure": (steps.measure, {"cuda": 100, "cpu": 45}), "serve": (steps.serve, {"cuda": 60, "cpu": 30}),
         "scenario": (steps.scenario, {"cuda": 90, "cpu": 90}), "train": (train.train, {"cuda": 3600, "cpu": 3600})}


class Late(Exception):
    """A step has used up its time."""


class Stop(Exception):
    """Nothing can be done here, in words."""


def written(path, text):
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def die_with_parent(prctl=ctypes.CDLL(None).prctl):
    prctl(1, signal.SIGKILL)


class Here:
    """This machine, the folders, the time, and what has been found so far."""

    def __init__(self, out, work):
        environment = os.environ.get
        self.out, self.work, self.began = pathlib.Path(out).resolve(), pathlib.Path(work), time.monotonic()
        self.device, self.minutes = environment("DEVICE", "cuda"), float(environment("MINUTES", "9"))
        self.small = self.device == "cpu"
        self.python = sys.executable
        self.project = pathlib.Path(environment("PROJECT", HERE.parent)).resolve()
        self.pack = json.loads((HERE / "pack.json").read_text())
        self.weights = HERE / "lite0.safetensors"
        self.photos = HERE / "photos"
        self.lines = []
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = open(self.out / "log.txt", "a")

    def left(self):
        """Seconds."""
        return 60 * self.minutes - (time.monotonic() - self.began)

    def program(self, name):
        return str(self.work / name)

    def model(self, name="cifar10"):
        return str(self.project / f"models/{name}.safetensors")

    def say(self, words):
        line = f"{time.monotonic() - self.began:6.1f} s  {words}"
        print(line, flush=True)
        print(line, file=self.log, flush=True)

    def add(self, **line):
        self.lines.append(line)
        written(self.out / "results.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines))
        written(self.out / "report.md", report.text(self.lines))
        self.say(json.dumps(line))

    def call(self, command, limit, each=lambda line: None):
        """Runs a program, hands on every line of JSON that it prints, and returns why it failed, if it did."""
        limit = min(limit, self.left())
        if limit < 1:
            return "no time was left"
        command = [str(word) for word in command]
        self.say(f"runs {' '.join(command)}, at most {limit:.0f} s")
        process = subprocess.Popen(command, cwd=self.project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   start_new_session=True, preexec_fn=die_with_parent)
        late = threading.Event()

        def kill():
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer, last = threading.Timer(limit, kill), ""
        timer.start()
        try:
            for line in process.stdout:
                self.log.write(line)
                self.log.flush()
                # A test's first line stands after its name.
                if found := re.search(r'\{".*\}$', line):
                    each(json.loads(found[0]))
                elif line.strip():
                    last = line.strip()
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if late.is_set():
            return f"stopped at its limit of {limit:.0f} s"
        return f"ended with status {code}: {last}" if code else None


class Busy:
    """How busy processors and GPU are from the beginning to the end of a block, and the most memory in use on the GPU."""

    def __init__(self, here):
        smi = None if here.small else shutil.which("nvidia-smi")
        self.command = smi and [smi, "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "200"]

    def __enter__(self):
        self.times = self.cpu()
        self.process = self.command and subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        return self

    def __exit__(self, *_):
        (busy, all), (busy_before, all_before) = self.cpu(), self.times
        self.found = {"cpu_busy": round((busy - busy_before) / max(all - all_before, 1), 3)}
        if self.process:
            self.process.terminate()
            seen = re.findall(r"^(\d+), (\d+)$", self.process.communicate()[0], re.MULTILINE)
            if seen:
                self.found["gpu_busy"] = round(sum(int(busy) for busy, _ in seen) / len(seen) / 100, 3)
                self.found["gpu_memory_mib"] = max(int(memory) for _, memory in seen)

    @staticmethod
    def cpu():
        times = [int(word) for word in open("/proc/stat").readline().split()[1:9]]
        return sum(times) - times[3] - times[4], sum(times)


def check(here):
    """Whether the programs can run here, in words; what the machine is."""
    if here.device not in ("cuda", "cpu"):
        raise Stop(f"DEVICE is {here.device}; it must be cuda or cpu")
    for needed in ("models/cifar10.safetensors", "samples/gallery", "samples/queries"):
        if not (here.project / needed).exists():
            raise Stop(f"{needed} is not in {here.project}; put this folder into the project's, or name that with PROJECT")
    libc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    numbers = lambda version: [int(part) for part in version.split(".")]
    if numbers(libc) < numbers(here.pack["glibc"]):
        raise Stop(f"glibc here is {libc}; the programs need {here.pack['glibc']} or later")
    torch = os.environ.get("LIBTORCH")
    if not torch:
        find = [here.python, "-c", "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"]
        found = subprocess.run(find, capture_output=True, text=True)
        if found.returncode:
            raise Stop(f"{here.python} has no PyTorch, whose libtorch the programs need; PYTHON names one that has, or LIBTORCH the folder torch")
        torch = found.stdout.strip()
    torch = pathlib.Path(torch).resolve()
    wanted = ["libc10.so", "libtorch.so", "libtorch_cpu.so"] + ([] if here.small else ["libc10_cuda.so", "libtorch_cuda.so"])
    missing = [name for name in wanted if not (torch / "lib" / name).exists()]
    if missing:
        raise Stop(f"{torch}/lib lacks {', '.join(missing)}")
    version = re.search(r"__version__ = '([^']+)'", (torch / "version.py").read_text())[1]
    if version.split("+")[0] != here.pack["torch"]:
        raise Stop(f"PyTorch in {torch} is {version}; the programs are built for {here.pack['torch']}")
    paths = [f"{torch}/lib", os.environ.get("LD_LIBRARY_PATH")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = ":".join(filter(None, [str(torch.parent), path]))
    with tarfile.open(HERE / "programs.tar.xz") as archive:
        archive.extractall(here.work, filter="data")
    libraries = subprocess.run(["ldd", here.program("scihcgrl")], capture_output=True, text=True).stdout
    absent = re.findall(r"(\S+) => not found", libraries)
    if absent:
        raise Stop(f"the program's {', '.join(absent)} is not found here")
    devices = subprocess.run([here.program("scihcgrl"), "devices"], capture_output=True, text=True)
    if devices.returncode or (not here.small and "cuda:0" not in devices.stdout):
        raise Stop(f"the program finds no GPU: {(devices.stdout + devices.stderr).strip()}")
    card, smi = None, shutil.which("nvidia-smi")
    if smi and not here.small:
        query = [smi, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        card = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    model = re.search(r"^model name\s*: (.*)$", open("/proc/cpuinfo").read(), re.MULTILINE)
    here.add(step="check", date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC", revision=here.pack["revision"],
             device=here.device, minutes=here.minutes, card=card, cores=os.cpu_count(), processor=model and model[1], glibc=libc, torch=version,
             devices=devices.stdout.strip().splitlines(), images=here.pack["images"])


def do(here, name):
    work, limits = STEPS[name]
    limit, began = min(limits[here.device], here.left()), time.monotonic()
    if limit < 5:
        return here.add(step=name, skipped="no time was left")

    def late(*_):
        raise Late

    signal.signal(signal.SIGALRM, late)
    signal.alarm(math.ceil(limit))
    try:
        work(here, Busy, began + limit)
    except Late:
        here.add(step=name, failed=f"stopped at its limit of {limit:.0f} s")
    except (Exception, SystemExit) as error:
        here.add(step=name, failed=f"{type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
    here.add(step=name, seconds=round(time.monotonic() - began, 1))


def main():
    with tempfile.TemporaryDirectory(prefix="scihcgrl-gpu-") as work:
        here = Here(sys.argv[1], work)
        try:
            chosen = os.environ.get("STEPS", ",".join(STEPS)).split(",")
            if unknown := [name for name in chosen if name not in STEPS]:
                raise Stop(f"STEPS has {', '.join(unknown)}; there are {', '.join(STEPS)}")
            check(here)
            for name in filter(chosen.__contains__, STEPS):
                do(here, name)
        except Stop as stop:
            here.add(step="check", failed=str(stop))
            sys.exit(1)
        here.add(step="end", seconds=round(time.monotonic() - here.began, 1))


if __name__ == "__main__":
    main()
