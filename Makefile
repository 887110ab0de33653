# `make help` lists what there is. Everything runs in .venv, which `make setup` keeps up to date.
SHELL := /bin/bash
BIN   := .venv/bin
STAMP := .venv/.setup-development
SITE  ?= examples/demo/site.yaml
IVR   ?= examples/demo/ivr.yaml
# The sample IVR asks the sample web application.
APP   ?= $(if $(filter examples/demo/ivr.yaml,$(IVR)),$(BIN)/python examples/demo/webapp.py)
# Whole-stack tests mostly wait for sound and timers: more workers than cores pay off.
WORKERS ?= 5

# What failed among many is run again by itself, twice at most: other tests took its time, or it is broken and fails again.
alone = (echo "once more, by itself:" && $(2) $(BIN)/pytest $(1) --last-failed --last-failed-no-failures none)
again = ($(call alone,$(1),$(2)) || $(call alone,$(1),$(2)))
COVERED = --cov=callinteractive --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100
# A file stays with one worker, which starts its daemons once. tests/conftest.py says which file is first.
BY_FILE = --dist loadfile --no-loadscope-reorder
# Compiled code refuses mocks, and is not patched: tests that need either are left out.
# They run beside other tests (tools/test), which remember what has failed in another folder.
COMPILED = -o cache_dir=.pytest_cache/compiled $(addprefix tests/unit/,core sip kemi media state) $(addprefix --ignore=tests/unit/,$(MOCKED))
MOCKED = $(addprefix kemi/test_,anchor.py fork.py redirect.py refusal_log.py sockets.py) sip/agent/test_our_errors.py media/test_engines.py media/test_rtpengine.py
# Texts, and what needs nothing but Python's own types: alike on every release of Debian.
ALIKE = documents sip $(addprefix test_,documents.py growth.py habits.py imports.py messages.py)
# Their tests wait for nothing but CPU time, so they can run beside others.
PURE = $(addprefix tests/unit/,core kemi call state events)
STACKS = tests/integration tests/e2e
# What is compiled is used unless the environment says otherwise.
AS_SOURCES = CALLINTERACTIVE_PURE=1
NOT_SOURCES = env -u CALLINTERACTIVE_PURE
AS_COMPILED = $(NOT_SOURCES) CALLINTERACTIVE_TEST_COMPILED=1
DOCS = $(BIN)/sphinx-build -q -W --keep-going -c docs -b html -d build/doctrees .
# The exit status of `callinteractive compile` where there is no compiler. Then everything runs as Python.
NO_COMPILER = 69
if_compiled = $(BIN)/callinteractive compile; case $$? in 0) $(1) ;; $(NO_COMPILER)) ;; *) exit 1 ;; esac

.DEFAULT_GOAL := help
.PHONY: help setup setup-runtime compile test unit test-compiled unit-compiled e2e-compiled watch e2e short fuzz test-debian13 bench lint docs reference hooks format demo demo-survive matrix chaos run peer clean deb test-deb

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# All works without the compiled form, so whatever else needs .venv does not wait for it.
setup: $(STAMP)  ## install Kamailio, RTPengine, SIPp and .venv with the test tools; compile what runs for each call
	@echo "make: compiling what runs for each call, so that it costs less CPU: one to three minutes. All works without it: Ctrl-C stops it"
	@$(BIN)/callinteractive compile || echo "make: not compiled, see above. All works; \`make compile\` tries again"

$(STAMP): pyproject.toml tools/setup tests/support/browser_page/package-lock.json
	tools/setup

setup-runtime:  ## install only what runs calls: Kamailio, RTPengine and .venv
	tools/setup --runtime

compile: $(STAMP)  ## the last step of setup alone, after an edit or an update (one to three minutes; needs gcc)
	$(BIN)/callinteractive compile || [ $$? = $(NO_COMPILER) ]

test:  ## every test on the sources, then many on what is compiled; each branch of the core is covered
	@tools/test

unit: $(STAMP)  ## tests with no daemon, minutes
	$(AS_SOURCES) $(BIN)/pytest tests/unit -n auto $(COVERED) || $(call again,tests/unit $(COVERED) --cov-append,$(AS_SOURCES))

test-compiled: unit-compiled e2e-compiled  ## what is compiled, in that form: its unit tests, and calls of all kinds (five minutes)

unit-compiled: compile
	@$(call if_compiled,$(AS_COMPILED) $(BIN)/pytest $(COMPILED) -n auto -q || $(call again,$(COMPILED),$(AS_COMPILED)))

e2e-compiled: compile
	@$(call if_compiled,$(NOT_SOURCES) $(BIN)/pytest @tests/short.txt tests/e2e/test_compiled.py -n $(WORKERS) || $(call again,tests,$(NOT_SOURCES)))

watch: $(STAMP)  ## whenever a file is saved, the unit tests that its code can change (the first time: all)
	$(BIN)/watchfiles --filter python '$(BIN)/pytest tests/unit --testmon -q' callinteractive kemi sidecar cli tests

e2e: $(STAMP)  ## calls through real Kamailio, RTPengine and SIPp, minutes
	$(AS_SOURCES) $(BIN)/pytest $(STACKS) -n $(WORKERS) $(BY_FILE) -m "not load" || $(call again,$(STACKS),$(AS_SOURCES))
	$(AS_SOURCES) $(BIN)/pytest $(STACKS) -n 2 $(BY_FILE) -m load || $(call again,$(STACKS) -m load,$(AS_SOURCES))

fuzz: $(STAMP)  ## hostile input for every parser, half a minute (LONG=1: ten minutes; FUZZ_S=…: seconds for each)
	FUZZ_S=$(or $(FUZZ_S),$(if $(LONG),50,2)) $(BIN)/pytest tests/fuzz -q -n auto

short: $(STAMP)  ## unit tests and calls of all kinds: what can differ between releases of Debian (tests/short.txt)
	$(BIN)/pytest $(SHORT_$(or $(PART),all)) || $(call again,tests)

SHORT_all = tests/unit $(addprefix --ignore=tests/unit/,$(ALIKE)) @tests/short.txt -n $(WORKERS)
SHORT_pure = $(PURE) -n auto
SHORT_rest = $(SHORT_all) $(addprefix --ignore=,$(PURE))

test-debian13:  ## every test on Debian 13, in a chroot (root; SHORT=1: `make short`; TESTS="tests/…": these)
	WORKERS=$(WORKERS) tools/debian13 $(if $(TESTS),$(BIN)/pytest $(TESTS),make $(if $(SHORT),short $(if $(PART),PART=$(PART)),test))

matrix: $(STAMP)  ## what callers notice when any process dies or hangs, into docs/reliability.md (ten minutes)
	$(BIN)/python -m tests.chaos.matrix --write

chaos: $(STAMP)  ## calls for half an hour while processes are killed, into docs/reliability.md (CHAOS_S=180: shorter)
	$(BIN)/python -m tests.chaos.soak --write --seconds $(or $(CHAOS_S),1800)

bench: $(if $(PEER),peer) compile  ## what a call costs, into bench/report.md (a quarter of an hour; QUICK=1: three minutes; SOAK=1: more; PEER=asterisk: beside Asterisk)
	$(BIN)/python -m bench$(if $(PEER),.peer $(PEER)) $(if $(QUICK),--quick) $(if $(PEER),,$(if $(SOAK),--soak))
	@echo "bench: what each layer of a sidecar costs: $(BIN)/python -m bench.layers"

peer: $(STAMP)
	@$(BIN)/python -m bench.peer $(PEER) --check

lint: $(STAMP)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP)  ## make a site of the documents, in build/docs; a link that leads nowhere is an error
	$(DOCS) build/docs

reference: $(STAMP)  ## write the pages of docs/reference that are made of the code
	$(BIN)/python -m tools.reference

hooks: $(STAMP)  ## let git check before each commit what `make lint` checks
	$(BIN)/pre-commit install

format: $(STAMP)  ## put the sources in their standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP)  ## place a real call to the sample IVR and show what happens
	@$(BIN)/python -m examples.demo.demo

demo-survive: $(STAMP)  ## a call during which every process is killed once: both sides hear each other again
	@$(BIN)/python -m examples.demo.survive

run: $(STAMP)  ## run the sample IVR and its web application until Ctrl-C (SITE=… IVR=… APP=… for yours)
	$(BIN)/callinteractive run --site $(SITE) --ivr $(IVR) $(if $(APP),--app "$(APP)")

deb:  ## build the Debian package for this release, into build/
	tools/deb

test-deb:  ## build, install, run and remove package and container image, in chroots of Debian 12 and 13 (root)
	python3 tools/try_package.py bookworm
	python3 tools/try_package.py trixie

clean:  ## remove .venv and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .testmondata* *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
