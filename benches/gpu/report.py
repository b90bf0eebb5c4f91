"""Writes the report of a run on a machine with a GPU from the lines of results so far."""


def table(head, rows):
    line = lambda cells: "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"
    return [line(head), line(["---"] * len(head)), *map(line, rows), ""]


def text(lines):
    of = lambda step, **has: [line for line in lines if line["step"] == step and all(line.get(key) == value for key, value in has.items())]
    parts = ["# Measured, tested and trained on a GPU\n", *machine(of("check")), *measured(of("measure")), *served(of("serve"), of("measure")),
             *scenario(of("scenario")), *trained(of("train")), *troubles(lines)]
    return "\n".join(parts) + "\n"


def machine(lines):
    parts = []
    for line in lines:
        if "date" in line:
            small = line["device"] == "cpu"
            parts += [f"{line['date']}, revision {line['revision']}: {line['card'] or 'no GPU'}, {line['cores']} cores of {line['processor']}, PyTorch "
                      f"{line['torch']}, glibc {line['glibc']}. The program finds: {'; '.join(line['devices'])}.\n"]
            parts += ["**This is the small form, on processors: it shows that everything runs, and its figures say nothing of a GPU.**\n"] if small else []
            parts += ["No data set was packed: the samples of the project stand in for CIFAR-10, so the training figures mean nothing.\n"
                      ] if not line["images"] else []
    return parts


def measured(lines):
    ours = [line for line in lines if "bare" in line]
    theirs = {(line["form"], line["type"], line["batch"]): line["images_per_s"] for line in lines if "form" in line}
    parts = []
    if ours:
        forms = [form for form in ("eager", "autocast", "graphs", "compile") if any(key[0] == form for key in theirs)]
        rows, low = [], []
        for line in ours:
            key, bare = (line["type"], line["batch"]), line["bare"]["per_s"]
            peers = [theirs.get((form, *key)) for form in forms]
            eager = theirs.get(("eager", *key))
            if eager and line["batch"] >= 8 and bare < 0.85 * eager:
                low.append(f"{key[0]} at {key[1]}")
            ratios = [f"{peer:,.0f} ({bare / peer:.2f})" if peer else None for peer in peers]
            rows.append([*key, f"{bare:,.0f}", f"{line['worker_per_s']:,.0f}", *ratios])
        parts += ["## Encoding\n", "Images a second from pixels on the host to codes on the host: this model alone, the batching worker, and the same network "
                  "in PyTorch. In brackets: this model's rate divided by PyTorch's.\n"]
        parts += table(["type", "batch", "model alone", "worker", *(f"PyTorch {form}" for form in forms)], rows)
        if any(key[0] == "eager" and key[2] >= 8 for key in theirs):
            parts += [f"The aim, 85 % of PyTorch eager from batches of 8 on, is {'missed by ' + ', '.join(low) if low else 'met'}.\n"]
        parts += ["Where a batch's time goes: milliseconds per batch, synchronising after each stage. The last two columns are the time to launch all "
                  "kernels of both networks and the time until they finish. If these are close, launching is the bottleneck, and fewer kernels or CUDA "
                  "graphs would help.\n"]
        rows = [[line["type"], line["batch"], *(f"{line['bare'][name]:.2f}" for name in
                 ("upload_ms", "backbone_ms", "policy_ms", "codes_ms", "asked_ms", "done_ms"))] for line in ours]
        parts += table(["type", "batch", "copy to the device", "backbone", "policies", "codes and copy back", "launched", "finished"], rows)
    parts += [f"Bits of the samples' codes that differ from {line['differs_from']}, {line['type']}: {line['differing']} of {line['bits']:,} "
              f"({line['differing'] / line['bits']:.2%}).\n" for line in lines if "differs_from" in line]
    return parts


def served(lines, measures):
    rows = [line for line in lines if "served_per_s" in line]
    if not rows:
        return []
    share = lambda value: None if value is None else f"{value:.0%}"
    cells = [[line["callers"], line["max_batch"], f"{line['served_per_s']:,.0f}", *(f"{line['served_ms'][at] or 0:.1f}" for at in ("p50", "p99")),
              share(line.get("gpu_busy")), share(line["cpu_busy"]), line.get("gpu_memory_mib")] for line in rows]
    parts = ["## Searches by photo\n", f"{rows[0]['images']:,} codes in the gallery, {rows[0]['precision']}, callers that wait for their answers.\n"]
    parts += table(["callers", "largest batch", "requests/s", "p50 ms", "p99 ms", "GPU busy", "processors busy", "GPU memory, MiB"], cells)
    best = max(rows, key=lambda line: line["served_per_s"])
    gpu, cpu = best.get("gpu_busy") or 0, best["cpu_busy"]
    bound = "the GPU" if gpu > 0.9 else "the processors" if cpu > 0.9 else "neither GPU nor processors are saturated"
    parts += [f"Bottleneck of the fastest row: {bound}.\n"]
    decoded = [line for line in measures if "decoded_per_s_and_core" in line]
    fastest = [line for line in measures if line.get("type") == rows[0]["precision"] and "bare" in line]
    if decoded and fastest:
        each, most = decoded[0]["decoded_per_s_and_core"], max(fastest, key=lambda line: line["worker_per_s"])
        parts += [f"One core decodes and resizes {each:,.0f} of these photos a second ({decoded[0]['mean_bytes']:,} bytes on average), so "
                  f"{most['worker_per_s'] / each:.1f} cores of decoding feed a worker at its fastest, {most['worker_per_s']:,.0f} images/s in batches of "
                  f"{most['batch']}.\n"]
    return parts


def scenario(lines):
    parts = []
    for line in lines:
        if "p50_p99_ms_idle" in line:
            idle, learning = line["p50_p99_ms_idle"], line["p50_p99_ms_learning"]
            parts += [f"Searches next to a fine-tuning job on one device: p50 {idle[0]} ms and p99 {idle[1]} ms without it, {learning[0]} and {learning[1]} ms "
                      f"with it; it had learned after {line['learned_s']:.1f} s and its model was active after {line['active_s']:.1f} s.\n"]
        if line.get("scenario") == "a job without memory":
            parts += [f"A job that runs out of the GPU's memory fails alone, with: {line['error']}\n"]
        if "cpu_busy" in line:
            parts += [f"The tests {'failed: ' + line['failed'] if line['failed'] else 'passed'}.\n"]
    return ["## Searches next to a job\n", *parts] if parts else []


def trained(lines):
    parts = []
    for line in lines:
        if "made_per_s" in line:
            parts += [f"Pictures alone, changed at random at {line['input_size']} pixels: {line['made_per_s']:,.0f} a second on {line['threads']} cores.\n"]
    models = [line for line in lines if "quality" in line]
    if models:
        share = lambda value: None if value is None else f"{value:.0%}"
        rows = []
        for line in models:
            name = f"{line['what']}, seed {line['seed']}" if "seed" in line else line["what"]
            maps = " ".join(f"{bits}: {quality['map']:.4f}" for bits, quality in sorted(line["quality"].items()))
            near = " ".join(f"{bits}: {quality['precision_radius_2']:.4f}" for bits, quality in sorted(line["quality"].items()))
            rows.append([name, line["side"], f"{line['images']:,}", line["epochs"], maps, near, f"{line['images_per_s']:,.0f}", share(line["waited_for_pictures"]),
                         share(line.get("gpu_busy")), line.get("gpu_memory_mib"), line["seconds"]])
        parts += ["MAP is over the whole ranking, on images that neither training nor the choice of a checkpoint has seen. In the paper's protocol no "
                  "checkpoint is chosen; that of the default model is chosen on training images held back.\n"]
        parts += table(["what", "pixels", "images", "epochs", "MAP by bits", "precision within radius 2", "images/s of the joint step", "waited for pictures",
                        "GPU busy", "GPU memory, MiB", "seconds"], rows)
        by_side = {line["side"]: line["quality"] for line in models if line["what"] == "the default model"}
        if 128 in by_side and 224 in by_side:
            gain = min(by_side[224][bits]["map"] - by_side[128][bits]["map"] for bits in by_side[128])
            parts += [f"224 pixels gain {gain:+.4f} of MAP over 128, the smallest gain of all code lengths. They are worth their cost from +.01 on.\n"]
    return ["## Training\n", *parts] if parts else []


def troubles(lines):
    parts = []
    for line in lines:
        for word, outcome in ("failed", "failed"), ("skipped", "was left out"):
            if line.get(word):
                what = ", ".join(str(line[key]) for key in ("what", "seed", "side") if key in line)
                parts += [f"- {line['step']}{': ' + what if what else ''} {outcome}: {line[word]}"]
    steps = [f"{line['step']} {line['seconds']:.0f} s" for line in lines if set(line) == {"step", "seconds"}]
    return [*(["## What did not run\n", *parts, ""] if parts else []), f"Time: {', '.join(steps)}." if steps else ""]
