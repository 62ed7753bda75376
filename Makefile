# Each target sets up its environment first; see `make help`.

VENV ?= .venv
PYTHON ?=
DETECTRON2 ?=
WORKERS ?= 2
ARGS ?=

RUN = "$(VENV)/bin/python"
DEMO = output/demo_shapes
PICTURES = datasets/shapes/v1_train12000_val500_96px_10to56_seed0/val/00000[1-3].png
SETUP = "$(or $(PYTHON),python3)" -m tools.setup_env \
	$(if $(filter-out file,$(origin VENV)),--venv "$(VENV)") \
	$(if $(PYTHON),--python "$(PYTHON)") $(if $(DETECTRON2),--detectron2 $(DETECTRON2)) --for

# The user's own environment does not have dab_detr installed, so Python finds it in the checkout.
ifneq ($(origin VENV),file)
export PYTHONPATH := $(CURDIR)/projects$(if $(PYTHONPATH),:$(PYTHONPATH))
endif

.DEFAULT_GOAL := help
.PHONY: help demo study test lint docs setup clean

help:
	@echo 'make demo    train on generated shapes, evaluate, draw pictures (about 8 minutes on 2 cores)'
	@echo 'make study   measure the claims of the papers and write docs/study.md (a night on 2 cores; it resumes)'
	@echo 'make test    run the tests'
	@echo 'make lint    check style and format'
	@echo 'make docs    build the pages of docs/ as a site, into site/'
	@echo 'make setup   make the environment and nothing else: .venv, 7 GB'
	@echo 'make clean   remove .venv'
	@echo
	@echo 'VENV=path          use your own environment as it is; it must have detectron2'
	@echo 'PYTHON=python3.12  build .venv on this Python (3.10, 3.11 or 3.12)'
	@echo 'DETECTRON2=github  install detectron2 only this way (github or index)'
	@echo 'ARGS="..."         more arguments for train_net.py, pytest or ruff check'

demo:
	@$(SETUP) run
	$(RUN) train_net.py --config-file configs/demo_shapes.py $(ARGS)
	$(if $(ARGS),,$(RUN) tools/explain.py --checkpoint $(DEMO)/model_final.pth --output $(DEMO)/explained --device cpu $(PICTURES))

study:
	@$(SETUP) run
	$(RUN) -m benchmarks.study $(ARGS)

test:
	@$(SETUP) test
	$(RUN) -m pytest -n $(WORKERS) $(ARGS)

lint:
	@$(SETUP) lint
	$(RUN) -m ruff check $(ARGS) .
	$(RUN) -m ruff format --check .

docs:
	@$(SETUP) docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict $(ARGS)

setup:
	@$(SETUP) test

clean:
	rm -rf .venv
