"""The measuring steps: encoding compared with PyTorch, searches by photo, and searches next to a
job. Each adds lines to the results."""
import hashlib, os, pathlib, time

import load

HERE = pathlib.Path(__file__).resolve().parent


def measure(here, busy, end):
    """Measures images a second of the bare model, the worker and PyTorch; the stages of a batch;
    bits that differ from the CPU's."""
    def encode(types, batches):
        return [here.program("encode"), *options(types, batches), "--runs", "1", "--samples", here.project / "samples", "--photos", here.photos]

    def peer(forms, types, batches):
        return [here.python, HERE / "encode_peer.py", *options(types, batches), "--few", batches, "--forms", forms]

    def options(types, batches):
        return ["--model", here.model(), "--device", here.device, "--types", types, "--batches", batches, "--seconds", "0.3"]

    if here.small:
        types = "bf16,fp32" if load.FAST_BF16 else "fp32"
        commands = [encode(types, "1,8"), peer("eager,autocast", types, "1,8")]
    else:
        # The most important come first. The first pass at each batch size takes a thread two
        # seconds, and a worker uses all powers of two up to its own. Compiling takes half a minute.
        some = "1,8,32,128"
        commands = [encode("bf16", some), peer("eager,graphs", "bf16", some), encode("fp32,fp16", "32"), peer("eager", "fp32,fp16", "32"),
                    peer("autocast,compile", "bf16", "32")]
    for command in commands:
        if failed := here.call(command, end - time.monotonic() - 2, lambda line: here.add(step="measure", **line)):
            here.add(step="measure", failed=f"{pathlib.Path(command[1]).name if command[0] == here.python else 'encode'}: {failed}")


def serve(here, busy, end):
    """Measures searches by photo: requests a second and their times, by callers and largest
    batch."""
    precision = "fp32" if here.small and not load.FAST_BF16 else "bf16"
    model = hashlib.sha256(open(here.model(), "rb").read()).hexdigest()[:12]
    seconds, images = (1, 1_000) if here.small else (5, 100_000)
    data = here.work / "gallery"
    store = [here.program("scihcgrl"), "bench", "store", "--data-dir", data, "--keep-for", model, "--precision", precision, "--changes", "0",
             "--images", images, "--seconds", "1"]
    if failed := here.call(store, end - time.monotonic()):
        raise RuntimeError(f"the store: {failed}")
    for most, all_callers in [(32, [32])] if here.small else [(32, [32, 256]), (256, [256])]:
        service = [here.program("scihcgrl"), "serve", "--addr", "127.0.0.1:0", "--data-dir", str(data), "--model", here.model(),
                   "--device", here.device, "--precision", precision, "--max-batch", str(most), "--queue", "512"]
        with load.running(service, log=here.log, preexec_fn=here.die_with_parent) as (_, address):
            for callers in all_callers:
                offer = [here.program("load"), "--address", address, "--photos", here.photos, "--clients", callers, "--warm-up", 0, "--seconds"]
                # A GPU plans its kernels when it first meets a batch size.
                load.measure(*offer, 1 if here.small else 6)
                with busy(here) as found:
                    line = load.measure(*offer, seconds)
                here.add(step="serve", callers=callers, max_batch=most, images=images, precision=precision, **found.found, **line)


def scenario(here, busy, end):
    """Runs tests/scenario.rs: searches next to a job on one device, and a job that runs out of GPU
    memory."""
    os.environ.update(CARGO_MANIFEST_DIR=str(here.project), SCIHCGRL_PROGRAM=here.program("scihcgrl"), TEST_DEVICE=here.device,
                      BACKBONE=str(here.weights))
    command = [here.program("scenario"), "--nocapture", "--test-threads", "1", *([] if here.small else ["--include-ignored"])]
    with busy(here) as found:
        failed = here.call(command, end - time.monotonic() - 2, lambda line: here.add(step="scenario", **line))
    here.add(step="scenario", failed=failed, **found.found)
