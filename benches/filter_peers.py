#!/usr/bin/env python3
"""Benchmarks searches with a filter beside LanceDB, DuckDB, PostgreSQL, faiss and usearch, on one
thread and on synthetic codes; writes the tables of docs/benchmarks.md.

usage: filter_peers.py --program target/release/scihcgrl --data FOLDER [--sizes 1000000 ...] [--bits 32 48] [--kinds c z u]
                       [--rounds 3] [--budget 0.4] [--peers NAME ...] [--report docs/benchmarks.md]

Needs the packages of wheels/peers-filter.txt and PostgreSQL's programs (`make bench-filter` fetches
them). The codes are those of index_peers.py, the fields and filters those of
src/cli/bench/filter.rs. A cell is one filter and one operation: count the images within radius 2,
or list the ten nearest. A peer may have several ways to answer a cell. The first round tries each
way once, checks its answer and keeps the fastest; every round then times single queries with it,
until the budget in seconds is used up. A figure is the median over rounds of these medians; for
faiss's hash indexes, the smaller of a median and of one batched call divided by its queries, which
excludes Python's own time. Peers find the passing images in each query, except "faiss, ids kept".
Exits with 1 after a wrong answer or a wrong count."""
import argparse, atexit, contextlib, importlib.metadata, json, math, os, pathlib, shutil, signal, statistics, subprocess, sys, tempfile, time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RUST_LOG", "error")
import numpy as np

import index_peers

QUERIES = 2_000
RADIUS, NEAREST = 2, 10
SHARES = [1, 10, 100, 1_000, 100_000]
RANGE = 1_000_000
OPERATIONS = {"within": f"count within {RADIUS}", "nearest": f"nearest {NEAREST}"}
# The queries whose answers are checked.
CHECKED = 20
# A graph of usearch that would take longer is not built.
MAX_BUILD_SECONDS = 600
# usearch fetches at most this many images to find ten that pass.
MAX_FETCHED = 50_000


def column(images, seed):
    """Returns the pseudo-random number below RANGE of each image, as the program makes it."""
    with np.errstate(over="ignore"):
        z = (np.arange(images, dtype=np.uint64) ^ np.uint64(seed << 40)) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return (z ^ z >> np.uint64(31)) % np.uint64(RANGE)


class Fields:
    """The values of all images, and for each field the images in the order of their values."""

    def __init__(self, images):
        self.images = images
        self.columns = {"price": column(images, 1).astype(float)}
        for seed, name in (2, "stock"), (3, "weight"):
            self.columns[name] = column(images, seed).astype(np.int64)
        for seed, one_in in enumerate(SHARES, 4):
            self.columns[f"brand_{one_in}"] = (column(images, seed) % np.uint64(one_in)).astype(np.int32)
        self.order = {name: np.argsort(values, kind="stable").astype(np.uint32) for name, values in self.columns.items()}
        self.ordered = {name: values[self.order[name]] for name, values in self.columns.items()}

    def arrow(self):
        """Returns the fields as Arrow columns; brands are texts."""
        import pyarrow

        out = {"id": pyarrow.array(np.arange(self.images, dtype=np.int32))}
        for name, values in self.columns.items():
            if name.startswith("brand"):
                texts = pyarrow.array([str(number) for number in range(int(name[6:]))])
                out[name] = pyarrow.DictionaryArray.from_arrays(pyarrow.array(values), texts).cast(pyarrow.string())
            else:
                out[name] = pyarrow.array(values)
        return out


class Filter:
    """A filter that one image in `one_in` passes: its conditions, all of which must hold."""

    def __init__(self, kind, one_in):
        self.kind, self.one_in = kind, one_in
        below, third = RANGE / one_in, float(RANGE / np.cbrt(float(one_in)))
        self.conditions = {
            "keyword": [(f"brand_{one_in}", "=", 0)],
            "range": [("price", "<", below)],
            "three": [("price", "<", third)] + [(name, "<", math.ceil(third)) for name in ("stock", "weight")],
            "negation": [("price", "<", below)],
        }[kind]
        literals = [f"{name} {test} " + (f"'{value}'" if test == "=" else repr(value)) for name, test, value in self.conditions]
        self.sql = f"NOT (price >= {below!r})" if kind == "negation" else " AND ".join(literals)

    def mask(self, fields):
        """Returns a bool for each image, from all values of the fields."""
        masks = [fields.columns[n] == v if test == "=" else fields.columns[n] < v for n, test, v in self.conditions]
        return np.logical_and.reduce(masks) if len(masks) > 1 else masks[0]

    def ids(self, fields):
        """Returns the ids that pass, from the order of the first field's values."""
        name, test, value = self.conditions[0]
        ordered = fields.ordered[name]
        # Of another type, the value would make numpy convert all values.
        value = ordered.dtype.type(value)
        low = np.searchsorted(ordered, value, "left") if test == "=" else 0
        ids = fields.order[name][low : np.searchsorted(ordered, value, "right" if test == "=" else "left")]
        for name, _, value in self.conditions[1:]:
            ids = ids[fields.columns[name][ids] < value]
        return ids

    def passes(self, fields, ids):
        """Returns a bool for each of the ids."""
        return Filter.mask(self, Selected(fields, ids))


class Selected:
    """The values of some images."""

    def __init__(self, fields, ids):
        self.columns = self
        self.fields, self.ids = fields, ids

    def __getitem__(self, name):
        return self.fields.columns[name][self.ids]


FILTERS = [Filter(kind, one_in) for kind in ("keyword", "range", "three", "negation") for one_in in SHARES]


class Truth:
    """The right answers, from a plain scan."""

    def __init__(self, words, queries, fields):
        self.words, self.queries, self.fields, self.kept = words, queries, fields, {}

    def of(self, which):
        """Returns the ids that pass, the totals within the radius and the smallest distances of the
        first queries, and the mean total of all queries."""
        key = tuple(which.conditions) if which.one_in > 1 else ()
        if key not in self.kept:
            ids = np.flatnonzero(which.mask(self.fields)).astype(np.uint32)
            words, totals, nearest = self.words[ids], [], []
            for query in self.queries[:CHECKED]:
                distances = np.bitwise_count(words ^ query)
                totals.append(int((distances <= RADIUS).sum()))
                count = min(NEAREST, len(ids))
                nearest.append(np.sort(np.partition(distances, count - 1)[:count]).tolist() if count else [])
            found = 0
            for at in range(0, len(words), 1 << 15):
                block = words[at : at + (1 << 15)]
                found += sum(np.count_nonzero(np.bitwise_count(block ^ query) <= RADIUS) for query in self.queries)
            self.kept[key] = len(ids), totals, nearest, found / len(self.queries)
        return self.kept[key]


class Unable(Exception):
    """A peer cannot do a case; the text says why."""


class Lance:
    """LanceDB: a table on disk, read from the page cache, with a scalar index on each field."""

    name, exact = "LanceDB", True

    def __init__(self, case):
        import lancedb, pyarrow
        from lancedb.index import Bitmap, BTree

        self.size = len(case.words)
        columns = case.fields.arrow()
        columns["code"] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(case.bytes().reshape(-1)), case.bits // 8)
        self.table = lancedb.connect(case.folder("lance")).create_table("images", pyarrow.table(columns))
        for name in case.fields.columns:
            few = name.startswith("brand") and int(name[6:]) <= 1000
            self.table.create_index(name, config=Bitmap() if few else BTree())
        self.queries = [row.tolist() for row in case.query_bytes()]

    def ways(self, which, operation):
        def search(at):
            request = self.table.search(self.queries[at], vector_column_name="code").distance_type("hamming")
            request = request.where(which.sql, prefilter=True).select(["_distance"])
            if operation == "within":
                return request.distance_range(0, RADIUS + 1).limit(self.size).to_arrow().num_rows
            return [int(d) for d in request.with_row_id(True).limit(NEAREST).to_arrow()["_distance"].to_pylist()]

        return {"flat": search}


class Duck:
    """DuckDB: a table in a file, cached, with an ART index on each field."""

    name, exact = "DuckDB", True

    def __init__(self, case):
        import duckdb, pyarrow

        self.queries = [int(query) for query in case.queries]
        self.connection = duckdb.connect(case.folder("duck") + "/images.db")
        self.connection.execute(f"SET memory_limit = '8GB'; SET threads = {os.cpu_count()}")
        rows = pyarrow.table(case.fields.arrow() | {"code": pyarrow.array(case.words)})
        self.connection.register("rows", rows)
        self.connection.execute("CREATE TABLE images AS SELECT * FROM rows")
        self.connection.unregister("rows")
        for name in case.fields.columns:
            if name != "brand_1":
                self.connection.execute(f"CREATE INDEX by_{name} ON images ({name})")
        self.connection.execute("CHECKPOINT; SET threads = 1")

    def ways(self, which, operation):
        distance = "bit_count(xor(code, $1::UBIGINT))"
        # An index is used only if the filter is the whole condition.
        passing = f"WITH passing AS MATERIALIZED (SELECT rowid AS id, code FROM images WHERE {which.sql})"
        if operation == "within":
            one = f"SELECT count(*) FROM images WHERE {which.sql} AND {distance} <= {RADIUS}"
            two = f"{passing} SELECT count(*) FROM passing WHERE {distance} <= {RADIUS}"
        else:
            order = f"{distance} AS distance FROM %s ORDER BY distance LIMIT {NEAREST}"
            one = f"SELECT rowid, {order % ('images WHERE ' + which.sql)}"
            two = f"{passing} SELECT id, {order % 'passing'}"
        ways = {}
        for name, text in ("scan", one), ("passing first", two):
            self.connection.execute(f"PREPARE {name.replace(' ', '_')}_{operation} AS {text}")
            ways[name] = self.search(f"EXECUTE {name.replace(' ', '_')}_{operation}", operation)
        return ways

    def search(self, text, operation):
        def search(at):
            rows = self.connection.execute(f"{text}({self.queries[at]})").fetchall()
            return rows[0][0] if operation == "within" else [distance for _, distance in rows]

        return search

    def close(self):
        self.connection.close()


class Postgres:
    """PostgreSQL: a table in shared buffers, with a covering B-tree on each field, and B-trees on
    three parts of the code, one of which is equal within radius 2."""

    name, exact = "PostgreSQL", True
    SETTINGS = dict(listen_addresses="", shared_buffers="6GB", work_mem="512MB", maintenance_work_mem="1GB", effective_cache_size="12GB",
                    random_page_cost="1.1", max_parallel_workers_per_gather="0", jit="off", fsync="off", wal_level="minimal",
                    max_wal_senders="0", max_wal_size="16GB", autovacuum="off")

    def __init__(self, case):
        import psycopg

        installed = sorted(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
        programs = next((each for each in [os.environ.get("POSTGRES_BIN"), *installed] if each), None)
        if programs is None:
            raise Unable("its programs are not installed; set POSTGRES_BIN")
        # Programs that were unpacked have their libraries next to them.
        libraries = ":".join(map(str, pathlib.Path(programs).parents[2].glob("*-linux-gnu")))
        folder = case.folder("postgres")
        data, user = folder + "/data", {}
        if os.geteuid() == 0:
            user = dict(user="nobody", group="nogroup", extra_groups=[])
            shutil.chown(folder, "nobody", "nogroup")
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, text=True, env=os.environ | {"LD_LIBRARY_PATH": libraries}, **user)
        try:
            subprocess.run([programs + "/initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale", "C"], check=True, **quiet)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unable(f"initdb fails: {getattr(error, 'stderr', None) or error}") from error
        command = [programs + "/postgres", "-D", data, "-k", folder]
        for name, value in self.SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with open(folder + "/log", "w") as log:
            self.server = subprocess.Popen(command, **(quiet | dict(stderr=log)))
        atexit.register(self.close)
        for _ in range(100):
            time.sleep(0.1)
            with contextlib.suppress(psycopg.OperationalError):
                self.connection = psycopg.connect(host=folder, user="bench", dbname="postgres", autocommit=True)
                break
        else:
            raise Unable("its server did not start: " + open(folder + "/log").read()[-300:])
        self.bits = case.bits
        self.queries = [f"{int(query):0{case.bits}b}" for query in case.queries]
        self.fill(case)

    def fill(self, case):
        execute = self.connection.execute
        columns = {"id": np.arange(len(case.words), dtype=np.int32)} | case.fields.columns
        types = {"f8": "float8", "i8": "int8", "i4": "int4"}
        layout, values = [("fields", ">i2")], {"fields": len(columns) + 1}
        for name, column in columns.items():
            layout += [(name + "_size", ">i4"), (name, ">" + column.dtype.str[1:])]
            values |= {name + "_size": column.itemsize, name: column}
        layout += [("code_size", ">i4"), ("bits", ">i4"), ("code", "u1", (case.bits // 8,))]
        values |= {"code_size": 4 + case.bits // 8, "bits": case.bits, "code": case.bytes()[:, ::-1]}
        listed = ", ".join(f"{name} {types[column.dtype.str[1:]]}" for name, column in columns.items())
        # The loaded table has numbers for the brands: all its rows have one size.
        execute(f"CREATE UNLOGGED TABLE loaded ({listed}, code bit({case.bits}))")
        with self.connection.cursor().copy("COPY loaded FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for at in range(0, len(case.words), 100_000):
                rows = np.empty(min(100_000, len(case.words) - at), layout)
                for name, value in values.items():
                    rows[name] = value[at : at + len(rows)] if isinstance(value, np.ndarray) else value
                copy.write(rows.tobytes())
            copy.write(b"\xff\xff")
        selected = ", ".join(f"{name}::text AS {name}" if name.startswith("brand") else name for name in columns)
        execute(f"CREATE UNLOGGED TABLE images AS SELECT {selected}, code FROM loaded")
        execute("DROP TABLE loaded")
        for name in case.fields.columns:
            if name != "brand_1":
                execute(f"CREATE INDEX by_{name} ON images ({name}) INCLUDE (id, code)")
        for number, part in enumerate(self.parts("code")):
            execute(f"CREATE INDEX by_part_{number} ON images (({part}))")
        execute("VACUUM (FREEZE, ANALYZE) images")
        execute("CREATE EXTENSION pg_prewarm")
        execute("SELECT pg_prewarm(oid::regclass) FROM pg_class WHERE relname = 'images' OR relname LIKE 'by\\_%'")
        self.version = self.connection.info.server_version // 10000, self.connection.info.server_version % 10000

    def parts(self, code):
        """Returns the expressions of three parts of the code."""
        width = (self.bits + 2) // 3
        return [f"substring({code}, {1 + n * width}, {min(width, self.bits - n * width)})" for n in range(3)]

    def ways(self, which, operation):
        query = f"%s::bit({self.bits})"
        distance = f"bit_count(code # {query})"
        if operation == "nearest":
            text = f"SELECT id, {distance} AS distance FROM images WHERE {which.sql} ORDER BY distance LIMIT {NEAREST}"
            return {"scan": self.search(text, operation, 1)}
        count = f"SELECT count(*) FROM images WHERE {which.sql} AND {distance} <= {RADIUS}"
        alike = " OR ".join(f"{part} = {of}" for part, of in zip(self.parts("code"), self.parts(query)))
        return {"scan": self.search(count, operation, 1), "parts": self.search(f"{count} AND ({alike})", operation, 4)}

    def search(self, text, operation, parameters):
        def search(at):
            rows = self.connection.execute(text, [self.queries[at]] * parameters, prepare=True).fetchall()
            return rows[0][0] if operation == "within" else [distance for _, distance in rows]

        return search

    def pids(self):
        return [self.connection.info.backend_pid]

    def close(self):
        if self.server.poll() is None:
            with contextlib.suppress(Exception):
                self.connection.close()
            self.server.terminate()
            self.server.wait()


class Faiss:
    """faiss and numpy, by hand: the fields as numpy columns with their orders."""

    name, exact = "faiss", True

    def __init__(self, case):
        self.case, self.fields = case, case.fields
        self.flat = index_peers.Peer("flat", case.bits, case.words)
        self.codes = self.flat.bytes(case.words)
        self.queries = self.flat.bytes(case.queries)
        self.hashes = hashes(case, case.words)

    def ways(self, which, operation):
        return self.within(which) if operation == "within" else self.nearest(which)

    def nearest(self, which):
        import faiss

        size, query = len(self.codes), lambda at: self.queries[at : at + 1]
        among = lambda ids, at: faiss.knn_hamming(query(at), self.codes[ids], min(NEAREST, len(ids)))[0][0].tolist() if len(ids) else []

        def fetched(at):
            count = NEAREST * which.one_in * 2
            while True:
                distances, ids = self.flat.index.search(query(at), min(count, size))
                passes = which.passes(self.fields, ids[0])
                if passes.sum() >= NEAREST or count >= size:
                    return distances[0][passes][:NEAREST].tolist()
                count *= 4

        def selected(at):
            distances, _ = self.flat.index.search(query(at), NEAREST, params=self.selector(which))
            return [d for d in distances[0].tolist() if d <= self.case.bits]

        ways = {"ids by order, gathered": lambda at: among(which.ids(self.fields), at),
                "ids by scan, gathered": lambda at: among(np.flatnonzero(which.mask(self.fields)), at),
                "selector": selected}
        if which.one_in <= 10:
            ways["fetched, then filtered"] = fetched
        return ways

    def within(self, which):
        import faiss

        query = lambda at: self.queries[at : at + 1]

        def among(ids, at):
            distances = np.empty((1, len(ids)), np.int32)
            if len(ids):
                codes = self.codes[ids]
                faiss.hammings(faiss.swig_ptr(query(at)), faiss.swig_ptr(codes), 1, len(ids), codes.shape[1], faiss.swig_ptr(distances))
            return int(np.count_nonzero(distances <= RADIUS))

        def hashed(peer):
            queries = peer.bytes(self.case.queries)
            peer.index.nflip = RADIUS // peer.tables

            def batch(queries):
                limits, _, ids = peer.index.range_search(queries, RADIUS + 1)
                passed = np.append(0, np.cumsum(which.passes(self.fields, ids)))
                return np.diff(passed[limits.astype(np.int64)])

            def search(at):
                ids = peer.index.range_search(queries[at : at + 1], RADIUS + 1)[2]
                return np.count_nonzero(which.passes(self.fields, ids))

            search.batch = lambda count: batch(queries[:count])
            return search

        return {"ids by order, gathered": lambda at: among(which.ids(self.fields), at),
                "ids by scan, gathered": lambda at: among(np.flatnonzero(which.mask(self.fields)), at)} | {
                peer.name + ", then filtered": hashed(peer) for peer in self.hashes}

    def selector(self, which):
        """Returns parameters of a search that let only images through that pass."""
        import faiss

        bits = np.packbits(which.mask(self.fields), bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParameters(sel=selector)
        parameters.kept = bits, selector
        return parameters


class Kept:
    """faiss over the codes of the passing images, gathered and indexed before the queries."""

    name, exact = "faiss, ids kept", True

    def __init__(self, case, every):
        self.case, self.every, self.key = case, every, None

    def ways(self, which, operation):
        key = tuple(which.conditions) if which.one_in > 1 else ()
        if key != self.key:
            self.peers, self.key = None, key
            words = self.case.words[which.mask(self.case.fields)]
            if len(words) == len(self.case.words):
                self.peers = [self.every.flat, *self.every.hashes]
            else:
                flat = [index_peers.Peer("flat", self.case.bits, words)] if len(words) else []
                self.peers = flat + (hashes(self.case, words) if len(words) else [])
        if not self.peers:
            return {"none": lambda at: 0 if operation == "within" else []}
        if operation == "within":
            return {peer.name: self.within(peer) for peer in self.peers}
        queries, index = self.every.queries, self.peers[0].index
        count = min(NEAREST, index.ntotal)
        search = lambda at: index.search(queries[at : at + 1], count)[0][0].tolist()
        search.batch = lambda some: index.search(queries[:some], count)
        return {"flat": search}

    def within(self, peer):
        queries = peer.bytes(self.case.queries)
        if peer.name != "flat":
            peer.index.nflip = RADIUS // peer.tables
        search = lambda at: int(peer.index.range_search(queries[at : at + 1], RADIUS + 1)[0][-1])
        search.batch = lambda some: peer.index.range_search(queries[:some], RADIUS + 1)
        return search


def hashes(case, words):
    """Returns the hash indexes of faiss that are exact within the radius."""
    names = ["hash16", "hash_full"] + (["multihash"] if case.bits in index_peers.TABLES else [])
    return [index_peers.Peer(name, case.bits, words) for name in names]


class Usearch:
    """usearch: a graph of all codes; approximate. Fetches more images until ten pass."""

    name, exact = "usearch", False

    def __init__(self, case):
        from usearch.index import Index, MetricKind, ScalarKind

        self.fields, self.codes, self.queries = case.fields, case.bytes(), case.query_bytes()
        self.index = Index(ndim=case.bits, metric=MetricKind.Hamming, dtype=ScalarKind.B1)
        size, step, started = len(self.codes), max(1, len(self.codes) // 50), time.perf_counter()
        for at in range(0, size, step):
            keys = np.arange(at, min(size, at + step), dtype=np.uint64)
            self.index.add(keys, self.codes[at : at + step], threads=os.cpu_count())
            expected = (time.perf_counter() - started) * size / (at + len(keys))
            if expected > MAX_BUILD_SECONDS:
                raise Unable(f"its graph would take more than {MAX_BUILD_SECONDS // 60} minutes to build")

    def ways(self, which, operation):
        if operation == "within":
            raise Unable("it searches no radius")

        def search(at):
            count = NEAREST
            while True:
                found = self.index.search(self.queries[at], min(count, len(self.codes)))
                keys = found.keys.astype(np.int64)
                passes = which.passes(self.fields, keys)
                if passes.sum() >= NEAREST:
                    return [int(d) for d in found.distances[passes][:NEAREST]]
                if count >= min(MAX_FETCHED, len(self.codes)):
                    raise Unable(f"ten do not pass among {count:,} fetched")
                count = min(count * 4, MAX_FETCHED)

        return {"graph": search}


class Case:
    """The codes, queries and fields of one size, kind and length."""

    def __init__(self, options, size, kind, bits, fields):
        self.size, self.kind, self.bits, self.fields = size, kind, bits, fields
        codes, queries = index_peers.codes(kind, bits, size, options.data)
        self.words, self.queries = np.fromfile(codes, "<u8"), np.fromfile(queries, "<u8")[:QUERIES]
        self.files = codes, f"{options.data}/filter.q.u64"
        self.queries.tofile(self.files[1])
        self.temporary = tempfile.mkdtemp(prefix="filter-peers-")
        os.chmod(self.temporary, 0o755)
        atexit.register(shutil.rmtree, self.temporary, ignore_errors=True)
        self.notes = {}

    def folder(self, name):
        path = f"{self.temporary}/{name}"
        os.makedirs(path)
        return path

    def bytes(self, words=None):
        """Returns the codes as rows of bytes."""
        words = self.words if words is None else words
        return np.ascontiguousarray(words.view(np.uint8).reshape(-1, 8)[:, : self.bits // 8])

    def query_bytes(self):
        return self.bytes(self.queries)

    def peers(self, names):
        """Builds the peers; notes the reason if one cannot be built."""
        built = []
        for kind in PEERS:
            if kind.name not in names:
                continue
            started = time.perf_counter()
            try:
                built.append(kind(self, next(each for each in built if each.name == "faiss")) if kind is Kept else kind(self))
                print(f"{kind.name}: built in {time.perf_counter() - started:.1f} s, {memory():.1f} GB in use", file=sys.stderr)
            except Unable as reason:
                self.notes[kind.name] = str(reason)
                print(f"{kind.name}: {reason}", file=sys.stderr)
        return built

    def close(self, peers):
        for peer in peers:
            if hasattr(peer, "close"):
                peer.close()
        shutil.rmtree(self.temporary, ignore_errors=True)


PEERS = [Lance, Duck, Postgres, Faiss, Kept, Usearch]


def memory():
    """Returns the GB of memory that are in use on this machine."""
    values = dict(line.split(":") for line in open("/proc/meminfo"))
    return (int(values["MemTotal"].split()[0]) - int(values["MemAvailable"].split()[0])) / 1e6


def pin(processors, peers=()):
    """Restricts all threads of this process, and the processes of peers, to these processors."""
    tasks = [int(name) for name in os.listdir("/proc/self/task")]
    for peer in peers:
        tasks += peer.pids() if hasattr(peer, "pids") else []
    for task in tasks:
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(task, processors)


def ours(options, case):
    """Returns the program's lines by kind and share."""
    command = [options.program, "bench", "filter", "--codes", case.files[0], "--queries", case.files[1], "--bits", str(case.bits),
               "--radius", str(RADIUS), "--one-in", *map(str, SHARES)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[0], {(line["kind"], line["one_in"]): line for line in lines if line["op"] == "filter"}


class Cell:
    """The figures of one peer for one filter and operation."""

    def __init__(self):
        self.way, self.medians, self.reason, self.recalls, self.wrong = None, [], None, [], []

    def measure(self, peer, which, operation, truth, queries, budget):
        if self.reason:
            return
        try:
            ways = peer.ways(which, operation)
            if self.way is None:
                tries = {name: self.time(way, 0, peer, operation, truth) for name, way in ways.items()}
                # Further tries have warm caches.
                if len(tries) > 1:
                    near = [name for name, took in tries.items() if took <= 5 * min(tries.values())]
                    repeats = 5 if min(tries.values()) < 0.05 else 1
                    tries = {name: min(self.time(ways[name], 0, peer, operation, truth) for _ in range(repeats)) for name in near}
                self.way = min(tries, key=tries.get)
            elif self.medians[-1] < budget:
                self.time(ways[self.way], 0, peer, operation, truth)
            single, started = [], time.perf_counter()
            while not single or (time.perf_counter() - started < budget and len(single) < queries):
                single.append(self.time(ways[self.way], (len(single) + 1) % queries, peer, operation, truth))
            median = statistics.median(single)
            if hasattr(ways[self.way], "batch"):
                # Fewer queries if they find much, because a batch keeps all that it finds.
                count = max(1, min(len(single), int(4e7 / max(truth[3], 1))))
                started = time.perf_counter()
                ways[self.way].batch(count)
                median = min(median, (time.perf_counter() - started) / count)
            self.medians.append(median)
        except Unable as reason:
            self.reason, self.medians = str(reason), []

    def time(self, way, at, peer, operation, truth):
        """Returns the seconds of one query; checks its answer if it is known."""
        started = time.perf_counter()
        answer = way(at)
        took = time.perf_counter() - started
        if at < CHECKED:
            right = truth[1 if operation == "within" else 2][at]
            if peer.exact and answer != right:
                self.wrong.append((at, answer, right))
            elif not peer.exact and right:
                self.recalls.append(sum(1 for distance in answer if distance <= right[-1]) / len(right))
        return took

    def row(self):
        if self.reason:
            return dict(reason=self.reason)
        row = dict(us=statistics.median(self.medians) * 1e6, way=self.way)
        return row | (dict(recall=statistics.mean(self.recalls)) if self.recalls else {})


def measure(options, size, kind, bits, fields):
    """Returns the rows of a case, what is wrong, and the versions of servers."""
    case = Case(options, size, kind, bits, fields)
    pin(ALL)
    peers = case.peers(options.peers)
    truth = Truth(case.words, case.queries, fields)
    cells = {(which, operation, peer.name): Cell() for which in FILTERS for operation in OPERATIONS for peer in peers}
    runs, wrong = [], []
    for _ in range(options.rounds):
        pin({min(ALL)}, peers)
        build, lines = ours(options, case)
        runs.append(lines)
        for which in FILTERS:
            right = truth.of(which)
            for operation in OPERATIONS:
                for peer in peers:
                    cells[which, operation, peer.name].measure(peer, which, operation, right, len(case.queries), options.budget)
    rows = []
    for which in FILTERS:
        key, right = (which.kind, which.one_in), truth.of(which)
        line = runs[0][key]
        if line["passing"] != right[0] or abs(line["within"]["results"] - right[3]) > 0.001:
            wrong.append(f"{size} {kind} {bits} {key}: the program counts {line['passing']}, {line['within']['results']}, not {right[0]}, {right[3]}")
        for operation in OPERATIONS:
            row = dict(size=size, kind=kind, bits=bits, filter=which.kind, one_in=which.one_in, op=operation, passing=right[0],
                       found=right[3] if operation == "within" else None,
                       ours=statistics.median(run[key][operation]["us_median"] for run in runs),
                       first_ms=statistics.median(run[key]["first_ms"] for run in runs),
                       bytes=build["bytes_per_image_with_fields"], peers={name: dict(reason=text) for name, text in case.notes.items()})
            for peer in peers:
                cell = cells[which, operation, peer.name]
                row["peers"][peer.name] = cell.row()
                wrong += [f"{size} {kind} {bits} {key} {operation} {peer.name} {cell.way}: {each}" for each in cell.wrong[:2]]
            rows.append(row)
    versions = {peer.name: "{}.{}".format(*peer.version) for peer in peers if hasattr(peer, "version")}
    case.close(peers)
    return rows, wrong, versions


def best(row, names):
    """Returns the least time of these peers, or None."""
    times = [peer["us"] for name, peer in row["peers"].items() if name in names and "us" in peer]
    return min(times, default=None)


EXACT = [peer.name for peer in PEERS if peer.exact and peer is not Kept]


def number(value):
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def ratio(row, names):
    least = best(row, names)
    if least is None:
        return ""
    return f"**{least / row['ours']:,.1f}**" if least < 10 * row["ours"] else f"**{least / row['ours']:,.0f}**"


def report(path, rows, versions, rounds):
    """Writes the tables between their marks in the document."""
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    out = [f"{listed}. Medians of {rounds} rounds in alternation, microseconds per query, one thread.", "",
           "How many times as long the fastest exact peer takes, over all filters of a case: least, median, most; and the median",
           "compared with faiss over kept ids.", "",
           "| images | codes | bits | operation | least | median | most | faiss, ids kept |", "|---|---|---|---|---|---|---|---|"]
    cases = dict.fromkeys((row["size"], row["kind"], row["bits"]) for row in rows)
    reasons = {}
    for size, kind, bits in cases:
        of_case = [row for row in rows if (row["size"], row["kind"], row["bits"]) == (size, kind, bits)]
        for operation, title in OPERATIONS.items():
            some = [row for row in of_case if row["op"] == operation]
            times = sorted(best(row, EXACT) / row["ours"] for row in some if best(row, EXACT))
            kept = [best(row, [Kept.name]) / row["ours"] for row in some if best(row, [Kept.name])]
            shown = [number(value) for value in (times[0], statistics.median(times), times[-1])] if times else ["", "", ""]
            shown.append(number(statistics.median(kept)) if kept else "")
            out.append(f"| {size:,} | {index_peers.KINDS[kind]} | {bits} | {title} | {' | '.join(shown)} |")
    names = [peer.name for peer in PEERS if any(peer.name in row["peers"] for row in rows)]
    for size, kind, bits in cases:
        of_case = [row for row in rows if (row["size"], row["kind"], row["bits"]) == (size, kind, bits)]
        out += ["", f"{size:,} images, {index_peers.KINDS[kind]}, {bits} bits, {of_case[0]['bytes']:.0f} bytes per image with eight fields:", "",
                f"| filter | one in | operation | this program | ratio | {' | '.join(names)} | first use, ms |", "|---" * (len(names) + 6) + "|"]
        for row in of_case:
            shown = []
            for name in names:
                peer = row["peers"].get(name, {})
                recall = f" ({peer['recall']:.2f})" if "recall" in peer else ""
                shown.append(number(peer["us"]) + recall if "us" in peer else "–")
                if "reason" in peer:
                    reasons.setdefault((name, peer["reason"]), []).append((size, kind, bits))
            out.append(f"| {row['filter']} | {row['one_in']:,} | {OPERATIONS[row['op']]} | {number(row['ours'])} | {ratio(row, EXACT)} "
                       f"| {' | '.join(shown)} | {row['first_ms']:.2f} |")
    if reasons:
        out += ["", "A dash means that a peer cannot do a case:", ""]
        for (name, reason), where in reasons.items():
            sizes = sorted({size for size, _, _ in where})
            out.append(f"- {name}: {reason} ({' and '.join(f'{size:,}' for size in sizes)} images).")
    text = open(path).read()
    begin, end = "<!-- filter_peers -->\n", "<!-- /filter_peers -->"
    head, tail = text.split(begin)[0], text.split(end)[1]
    open(path, "w").write(head + begin + "\n".join(out) + "\n" + end + tail)


ALL = os.sched_getaffinity(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--bits", type=int, nargs="+", default=[32, 48])
    parser.add_argument("--kinds", nargs="+", default=["c", "z", "u"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.4)
    parser.add_argument("--peers", nargs="+", default=[peer.name for peer in PEERS])
    parser.add_argument("--report")
    options = parser.parse_args()
    os.makedirs(options.data, exist_ok=True)
    # Exits in order, so that the server ends and temporary files are deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    packages = {"LanceDB": "lancedb", "DuckDB": "duckdb", "faiss": "faiss-cpu", "usearch": "usearch"}
    versions = {name: importlib.metadata.version(package) for name, package in packages.items() if name in options.peers}
    rows, wrong = [], []
    for size in options.sizes:
        fields = Fields(size)
        for kind in options.kinds:
            for bits in options.bits:
                started = time.perf_counter()
                some, mistakes, more = measure(options, size, kind, bits, fields)
                rows, wrong, versions = rows + some, wrong + mistakes, versions | more
                for row in some:
                    print(json.dumps(row), flush=True)
                print(f"{size} {kind} {bits}: {time.perf_counter() - started:.0f} s", *mistakes, sep="\n", file=sys.stderr)
                # After each case, because all of them take hours.
                if options.report:
                    report(options.report, rows, versions, options.rounds)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
