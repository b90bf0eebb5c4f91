#!/usr/bin/env python3
"""Runs the steps on a machine with a GPU: their order, time limits and results. `run.sh` explains
its use; steps.py and train.py have the steps."""
import ctypes, datetime, json, math, os, pathlib, re, shutil, signal, subprocess, sys, tarfile, tempfile, threading, time

import report, steps, train

HERE = pathlib.Path(__file__).resolve().parent
# Unpacks archives with this filter if Python has it.
tarfile.TarFile.extraction_filter = staticmethod(getattr(tarfile, "data_filter", lambda member, path: member))
# Time limits of steps in seconds, by device. The small form is slow on shared processors. Training
# gets the remaining time.
STEPS = {"measure": (steps.measure, {"cuda": 160, "cpu": 180}), "serve": (steps.serve, {"cuda": 100, "cpu": 120}),
         "scenario": (steps.scenario, {"cuda": 90, "cpu": 300}), "train": (train.train, {"cuda": 3600, "cpu": 3600})}


class TimeLimit(Exception):
    """A step has reached its time limit."""


class CannotRun(Exception):
    """The run is impossible on this machine; the message says why."""


def write_atomically(path, text):
    """Writes a file completely or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


class Here:
    """This machine: its folders, the time, and the results so far."""

    def __init__(self, out, work):
        environment = os.environ.get
        self.out, self.work, self.began = pathlib.Path(out).resolve(), pathlib.Path(work), time.monotonic()
        self.lines = []
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.log = open(self.out / "log.txt", "a")
        except OSError as error:
            sys.exit(f"Cannot write to {self.out}: {error}")
        self.python, self.weights, self.photos = sys.executable, HERE / "lite0.safetensors", HERE / "photos"
        self.project = pathlib.Path(environment("PROJECT", HERE.parent)).resolve()
        self.device, self.minutes = environment("DEVICE", "cuda"), environment("MINUTES", "13")
        self.small = self.device == "cpu"
        self.chosen = [name.strip() for name in environment("STEPS", ",".join(STEPS)).split(",")]

    def check(self):
        """Checks the variables and the packed files."""
        if self.device not in ("cuda", "cpu"):
            raise CannotRun(f"DEVICE is '{self.device}'; it must be cuda or cpu")
        if not re.fullmatch(r"\d+(\.\d+)?", self.minutes) or not 0 < float(self.minutes) <= 1440:
            raise CannotRun(f"MINUTES is '{self.minutes}'; it must be a number above 0 and at most 1440")
        self.minutes = float(self.minutes)
        if unknown := [name for name in self.chosen if name not in STEPS]:
            raise CannotRun(f"STEPS names '{unknown[0]}'; it may name {', '.join(STEPS)}, with commas between")
        packed = ["pack.json", "programs.tar.xz", "lite0.safetensors", "photos"]
        if missing := [name for name in packed if not (HERE / name).exists()]:
            raise CannotRun(f"{', '.join(missing)} not found next to run.sh; run `make gpu-pack` and copy the whole folder")
        needed = ["models/cifar10.safetensors", "samples/gallery", "samples/queries"]
        if missing := [name for name in needed if not (self.project / name).exists()]:
            raise CannotRun(f"{', '.join(missing)} not found in {self.project}; copy .gpu into the project's folder, or set PROJECT to that folder")
        self.pack = json.loads((HERE / "pack.json").read_text())
        # A run keeps earlier results of other steps.
        before = self.out / "results.jsonl"
        lines = [json.loads(line) for line in before.read_text().splitlines()] if before.exists() else []
        self.lines = [line for line in lines if line["step"] not in (*self.chosen, "end")]

    @staticmethod
    def die_with_parent(prctl=ctypes.CDLL(None).prctl):
        """Makes a child die with this process. Called in the child before its program starts."""
        prctl(1, signal.SIGKILL)

    def left(self):
        """Returns the remaining seconds."""
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
        write_atomically(self.out / "results.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines))
        try:
            write_atomically(self.out / "report.md", report.text(self.lines))
        except Exception as error:
            self.say(f"cannot write the report: {type(error).__name__}: {error}")
        self.say(json.dumps(line))

    def call(self, command, limit, each=lambda line: None):
        """Runs a program and passes each line of JSON that it prints to `each`; returns the reason
        if it failed."""
        limit = min(limit, self.left())
        if limit < 1:
            return "no time was left"
        command = [str(word) for word in command]
        self.say(f"runs {' '.join(command)}, at most {limit:.0f} s")
        process = subprocess.Popen(command, cwd=self.project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   start_new_session=True, preexec_fn=self.die_with_parent)
        late = threading.Event()

        def kill():
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer, reason = threading.Timer(limit, kill), ""
        timer.start()
        try:
            for line in process.stdout:
                self.log.write(line)
                self.log.flush()
                # A test's first line follows its name.
                if found := re.search(r'\{".*\}$', line):
                    each(json.loads(found[0]))
                elif line.strip() and not line.startswith(("note:", " ")) and "panicked at" not in reason:
                    reason = line.strip()
                elif reason.endswith(":"):
                    reason += " " + line.strip()
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if late.is_set():
            return f"stopped at its limit of {limit:.0f} s"
        return f"ended with status {code}: {reason}" if code else None


class Busy:
    """Measures the load of processors and GPU during a block, and the peak memory of the GPU."""

    def __init__(self, here):
        smi = None if here.small else shutil.which("nvidia-smi")
        self.command = smi and [smi, "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "200"]

    def __enter__(self):
        self.times = self.cpu()
        self.process = self.command and subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, preexec_fn=Here.die_with_parent)
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


def check_machine(here):
    """Checks that the programs can run here, and records the machine."""
    libc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    numbers = lambda version: [int(part) for part in version.split(".")]
    if numbers(libc) < numbers(here.pack["glibc"]):
        raise CannotRun(f"glibc here is {libc}; the programs need {here.pack['glibc']} or later")
    torch = os.environ.get("LIBTORCH")
    if not torch:
        find = [here.python, "-c", "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"]
        found = subprocess.run(find, capture_output=True, text=True)
        if found.returncode:
            raise CannotRun(f"{here.python} has no PyTorch. Set PYTHON to an interpreter that has it, or LIBTORCH to its `torch` folder")
        torch = found.stdout.strip()
    torch = pathlib.Path(torch).resolve()
    wanted = ["lib/libc10.so", "lib/libtorch.so", "lib/libtorch_cpu.so", "version.py"]
    wanted += [] if here.small else ["lib/libc10_cuda.so", "lib/libtorch_cuda.so"]
    if missing := [name for name in wanted if not (torch / name).exists()]:
        raise CannotRun(f"{torch} lacks {', '.join(missing)}; it must be the `torch` folder of PyTorch {here.pack['torch']} from pip")
    version = re.search(r"__version__ = '([^']+)'", (torch / "version.py").read_text())
    version = version[1] if version else "unknown"
    if version.split("+")[0] != here.pack["torch"]:
        raise CannotRun(f"PyTorch in {torch} is {version}; the programs are built for {here.pack['torch']}")
    paths = [f"{torch}/lib", os.environ.get("LD_LIBRARY_PATH")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = ":".join(filter(None, [str(torch.parent), path]))
    with tarfile.open(HERE / "programs.tar.xz") as archive:
        archive.extractall(here.work, filter="data")
    libraries = subprocess.run(["ldd", here.program("scihcgrl")], capture_output=True, text=True).stdout
    absent = re.findall(r"(\S+) => not found", libraries)
    if absent:
        raise CannotRun(f"the program's {', '.join(absent)} is not found here")
    devices = subprocess.run([here.program("scihcgrl"), "devices"], capture_output=True, text=True)
    if devices.returncode or (not here.small and "cuda:0" not in devices.stdout):
        words = "; ".join((devices.stdout + devices.stderr).split("\n")).strip("; ")
        raise CannotRun(f"libtorch sees no GPU; check the driver with nvidia-smi (the program reports: {words})")
    card, smi = None, shutil.which("nvidia-smi")
    if smi and not here.small:
        query = [smi, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        card = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    model = re.search(r"^model name\s*: (.*)$", open("/proc/cpuinfo").read(), re.MULTILINE)
    here.add(step="check", date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC", revision=here.pack["revision"],
             device=here.device, minutes=here.minutes, card=card, cores=os.cpu_count(), processor=model and model[1], glibc=libc, torch=version,
             devices=devices.stdout.strip().splitlines(), images=here.pack["images"])


def run_step(here, name):
    work, limits = STEPS[name]
    limit, began = min(limits[here.device], here.left()), time.monotonic()
    if limit < 5:
        return here.add(step=name, skipped="no time was left")

    def late(*_):
        raise TimeLimit

    signal.signal(signal.SIGALRM, late)
    signal.alarm(math.ceil(limit))
    try:
        try:
            work(here, Busy, began + limit)
        finally:
            signal.alarm(0)
    except TimeLimit:
        here.add(step=name, failed=f"stopped at its limit of {limit:.0f} s")
    except (Exception, SystemExit) as error:
        here.add(step=name, failed=f"{type(error).__name__}: {error}")
    here.add(step=name, seconds=round(time.monotonic() - began, 1))


def main():
    with tempfile.TemporaryDirectory(prefix="scihcgrl-gpu-") as work:
        here = Here(sys.argv[1], work)
        try:
            here.check()
            check_machine(here)
        except CannotRun as reason:
            here.say(str(reason))
            sys.exit(1)
        for name in filter(here.chosen.__contains__, STEPS):
            run_step(here, name)
        here.add(step="end", seconds=round(time.monotonic() - here.began, 1))
        if any(line.get("failed") for line in here.lines if line["step"] in here.chosen):
            sys.exit(1)


if __name__ == "__main__":
    main()
