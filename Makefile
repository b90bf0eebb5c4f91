# `make test` passes the tests; it fetches what it needs first.

DEVICE ?= cpu
PYTHON ?= python3
TORCH  := 2.11.0
LIB    := .libtorch

# What libtorch_cpu.so itself loads. A GPU build takes all that the torch wheel asks for.
WHEELS.cpu  := --no-deps torch==$(TORCH) nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
WHEELS.cuda := torch==$(TORCH)

.PHONY: help libtorch test

help:
	@echo 'make test       formatting, clippy and all tests'
	@echo 'make libtorch   fetch libtorch $(TORCH) into $(LIB)/ (DEVICE=cpu, or DEVICE=cuda)'

libtorch: $(LIB)/.$(DEVICE)-$(TORCH)

# The stamp is written last and the folder is made anew, so an interrupted fetch heals when it is run again.
$(LIB)/.cpu-$(TORCH) $(LIB)/.cuda-$(TORCH): $(LIB)/.%-$(TORCH):
	rm -rf $(LIB) $(LIB).part
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target $(LIB).part $(WHEELS.$*)
	test -f $(LIB).part/torch/lib/libtorch_cpu.so
	mv $(LIB).part $(LIB)
	touch $@

# One profile for all, so that torch's bindings are compiled once.
test: libtorch
	cargo fmt --check
	cargo clippy --release --locked --all-targets
	cargo test --release --locked
