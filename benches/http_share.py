#!/usr/bin/env python3
"""Measures the index's share of a search by code over HTTP: one client searches a store of
synthetic codes on one connection.

usage: http_share.py --program target/release/scihcgrl --data FOLDER [--images 1000000] [--model models/cifar10.safetensors]

Prints a line of JSON with medians in microseconds: the client's waiting time, the answer's
`timing_ms.index` (the search with the records of its ten matches, and the switch to another thread
and back), and the same searches without records (`bench index`)."""
import argparse, hashlib, http.client, json, os, statistics, subprocess, tempfile, time

import numpy as np


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--data", required=True, help="a new folder, which is kept")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--model", default="models/cifar10.safetensors")
    options = parser.parse_args()
    model = hashlib.sha256(open(options.model, "rb").read()).hexdigest()[:12]
    store = [options.program, "bench", "store", "--data-dir", options.data, "--keep-for", model, "--changes", "0"]
    subprocess.run(store + ["--images", str(options.images), "--seconds", "1"], check=True, stdout=subprocess.DEVNULL)
    serve = [options.program, "serve", "--addr", "127.0.0.1:0", "--data-dir", options.data, "--model", options.model]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        address = next(line for line in server.stdout if line.startswith("listening on ")).split("//")[1].strip()
        client = http.client.HTTPConnection(address)

        def ask(method, path, body=None):
            client.request(method, path, body, {"content-type": "application/json"})
            answer = client.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return json.loads(text)

        codes, cursor = [], ""
        while cursor is not None:
            page = ask("GET", f"/images?limit=1000{cursor}")
            codes += [image["codes"]["48"] for image in page["images"]]
            cursor = page["next"] and f"&after={page['next']}"
        queries, waited, index_times = codes[:: max(1, len(codes) // 3000)][:3000], [], []
        for code in queries:
            before = time.perf_counter()
            answer = ask("POST", "/search?bits=48&radius=2&limit=10", json.dumps({"code": code}))
            waited.append(time.perf_counter() - before)
            index_times.append(answer["timing_ms"]["index"] * 1000)
        server.terminate()
    with tempfile.TemporaryDirectory() as folder:
        for name, some in [("codes", codes), ("queries", queries)]:
            np.array([int(code, 16) for code in some], "<u8").tofile(f"{folder}/{name}")
        bench = [options.program, "bench", "index", "--codes", f"{folder}/codes", "--queries", f"{folder}/queries", "--bits", "48"]
        lines = subprocess.run(bench + ["--ops", "counted"], check=True, capture_output=True, text=True).stdout.splitlines()
    alone = next(line for line in map(json.loads, lines) if line.get("queries") == "fresh")["us_median"]
    print(json.dumps({"images": options.images, "waited_us": round(statistics.median(waited) * 1e6, 1),
                      "timing_index_us": round(statistics.median(index_times), 1), "codes_only_us": alone,
                      "share_of_codes": round(alone / statistics.median(waited) / 1e6, 4)}))


if __name__ == "__main__":
    main()
