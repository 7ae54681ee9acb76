# The only entry points. Needs Python >= 3.11 with venv, and make.
PYTHON ?= python3
BIN := .venv/bin
CODE := pipelines gan_components tests benchmarks

.PHONY: demo test test-all check bench docs clean

demo: .venv/installed ## the first run: MNIST digits from images to a served generator
	$(BIN)/gan-pipelines run digits

test: .venv/installed-test ## what every commit passes; minutes
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25 -m "not long"

test-all: .venv/installed-test ## with the long tests
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/installed-test ## format, lint, types, import contracts
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy pipelines gan_components
	$(BIN)/lint-imports

bench: .venv/installed-test ## every claim with a number, measured
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# By name: pdoc takes what a package calls its own, and of ours only `export` is also the name of a module. Not the
# one that only MLflow can run.
docs: .venv/installed-test ## the API reference, build/docs/index.html
	$(BIN)/pdoc --docformat google --math -o build/docs pipelines gan_components \
	    $$(ls -d gan_components/[a-z]* | sed -e '/export$$/d' -e 's/\.py$$//' -e 's#/#.#') '!gan_components.export.pyfunc_model'

clean:
	rm -rf .venv build *.egg-info

.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@
