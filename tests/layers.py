#!/usr/bin/env python3
"""Checks the import graph of every crate: no file imports one that imports it, however many files lie between, and no folder
imports from a folder above its own. Checks also that a library is named only in the folders that own it, and that every crate
uses each of its dependencies. Prints what it finds; exits with 1 if anything is wrong.

usage: layers.py [--edges]
"""

import collections
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The crates by the name that others import them under, and the order of their folders: each imports only from those before it.
# A crate without an order is held to have no circle.
CRATES = {
    "crates/image": ("scihcgrl_image", ["types", "headers", "resize", "pool", "decode", "decoder_process", "change"]),
    "crates/index": (
        "scihcgrl_index",
        ["code", "files", "priority", "types", "memory", "disk", "view", "open", "read", "write", "upkeep", "api"],
    ),
    "crates/model": ("scihcgrl_model", ["error", "options", "card", "centers", "network", "checkpoint", "device", "hasher", "train", "eval", "copies"]),
    "crates/pickle": ("scihcgrl_pickle", []),
    "paper": ("scihcgrl_paper", []),
    ".": (
        "scihcgrl",
        ["system", "config", "telemetry", "gallery", "replica", "inference", "snapshots", "jobs", "http", "serve", "cli"],
    ),
}
# Only these may name these libraries.
OWNERS = {
    "sled": ["crates/index/src/disk", "crates/index/src/types/error.rs", "src/jobs/queue/store"],
    "tch": ["crates/model", "paper"],
    "axum": ["src/http", "src/serve"],
    "async_nats": ["src/replica"],
    # async_nats, which `replica` names, has a module of this name.
    "object_store": ["src/system/storage.rs", "src/gallery", "src/snapshots", "src/replica"],
}
USE = re.compile(r"^\s*(pub(?:\([^)]*\))? )?use ([^;]+);", re.M)
INLINE = re.compile(r"(?<![\w:])(?:crate|super)(?:::\w+)+")

def expand(tree):
    """The paths of a `use` tree."""
    match = re.match(r"^((?:\w+::)*)\{(.*)\}$", tree.strip(), re.S)
    if not match:
        return [tree.strip()]
    parts, depth, start, body = [], 0, 0, match.group(2) + ","
    for at, char in enumerate(body):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(body[start:at])
            start = at + 1
    return [match.group(1) + path for part in parts if part.strip() for path in expand(part)]

class Crate:
    """A crate's modules with what each imports."""

    def __init__(self, folder, name):
        self.source, self.name = ROOT / folder / "src", name
        self.files = {}
        for path in sorted(self.source.rglob("*.rs")):
            parts = path.relative_to(self.source).with_suffix("").parts
            parts = parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts
            if parts[:1] != ("bin",) and "tests" not in parts:
                self.files.setdefault(parts, path)
        self.imports = {module: list(self.read(path)) for module, path in self.files.items()}

    @staticmethod
    def read(path):
        """What a file imports outside its tests: path, the name that it gives it, and whether it only passes it on."""
        text = re.sub(r"//[^\n]*", "", path.read_text())
        text = re.sub(r"#\[cfg\(test\)\]\s*mod \w+ \{.*\Z", "", text, flags=re.S)
        text = re.sub(r"#\[cfg\(test\)\]\s*(?:pub )?(?:use|mod)[^;]*;", "", text)
        for match in USE.finditer(text):
            for used in expand(re.sub(r"\s+", " ", match.group(2))):
                used, _, alias = used.replace(" ", "").partition("as") if " as " in used else (used.strip(), "", "")
                yield used.split("::"), alias, bool(match.group(1))
        for match in INLINE.finditer(USE.sub("", text)):
            yield match.group(0).split("::"), "", False

    def absolute(self, module, path):
        """A path from the root of the crate; none if it leads to another crate."""
        base = list(module)
        if path[0] in ("crate", self.name):
            return path[1:]
        if path[0] == "self":
            return base + path[1:]
        if path[0] == "super":
            while path and path[0] == "super":
                base, path = base[:-1], path[1:]
            return base + path
        return base + path if (*module, path[0]) in self.files else None

    def defined(self, path, depth=0):
        """The module that defines what a path names, through modules that only pass it on."""
        path = path[:-1] if path and path[-1] == "self" else path
        at = 0
        while at < len(path) and tuple(path[: at + 1]) in self.files:
            at += 1
        module = tuple(path[:at])
        if module not in self.files:
            return None
        if at < len(path) and depth < 8:
            for used, alias, passes in self.imports[module]:
                target = self.absolute(module, used)
                name = alias or (used[-2] if used[-1] == "self" else used[-1])
                if passes and name == path[at] and target and target != path[: at + 1]:
                    return self.defined(target + path[at + 1 :], depth + 1) or module
        return module

    def edges(self):
        """Which modules each module imports from."""
        edges = collections.defaultdict(set)
        for module, imports in self.imports.items():
            for used, _, passes in imports:
                target = self.absolute(module, used)
                target = None if passes or target is None else self.defined(target)
                if target is not None and target != module:
                    edges[module].add(target)
        return edges

def circles(edges):
    """The sets of modules of which each leads back to itself (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found

def main():
    sys.setrecursionlimit(10_000)
    wrong, spell = [], lambda module: "::".join(module) or "the root"
    for folder, (name, order) in CRATES.items():
        crate = Crate(folder, name)
        edges = crate.edges()
        wrong += [f"{folder}: a circle of {', '.join(map(spell, circle))}" for circle in circles(edges)]
        tops = {module[0] for module in crate.files if module}
        if order and tops - set(order):
            wrong.append(f"{folder}: no order for {', '.join(sorted(tops - set(order)))}")
        for module, targets in sorted(edges.items()):
            if "--edges" in sys.argv:
                print(f"{folder}: {spell(module)} -> {', '.join(map(spell, sorted(targets)))}")
            for target in sorted(targets):
                if order and module and target and order.index(module[0]) < order.index(target[0]):
                    wrong.append(f"{folder}: {spell(module)} imports {spell(target)}, which is above it")
        print(f"{folder}: {len(crate.files)} files, {sum(map(len, edges.values()))} imports between them")
    for library, owners in OWNERS.items():
        named = re.compile(rf"(?<!:)\b{library}::")
        for path in [*ROOT.glob("src/**/*.rs"), *ROOT.glob("crates/*/src/**/*.rs"), *ROOT.glob("paper/src/**/*.rs")]:
            place = path.relative_to(ROOT).as_posix()
            if not place.startswith(tuple(owners)) and named.search(re.sub(r"//[^\n]*", "", path.read_text())):
                wrong.append(f"{place} names {library}, which is for {', '.join(owners)}")
    for folder in CRATES:
        named = "".join(path.read_text() for path in (ROOT / folder / "src").rglob("*.rs"))
        for dependency in tomllib.loads((ROOT / folder / "Cargo.toml").read_text())["dependencies"]:
            if not re.search(rf"\b{dependency.replace('-', '_')}\b", named):
                wrong.append(f"{folder} depends on {dependency} and does not use it")
    print("\n".join(wrong) or "no circle, no upward import")
    sys.exit(1 if wrong else 0)

main()
