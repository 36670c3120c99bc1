"""What all the tests of a process share: cheap garbage collections, and long tests first."""

import gc
import os

import pytest

# As the Makefile: with oneDNN's own order of sums the same weights may not give the same bytes. Read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


# TensorFlow's converter and Keras's `clear_session` collect garbage each time, and a full collection looks at every object alive:
# half a million of the imported packages, and all the graphs that earlier tests left in caches. That was two thirds of the
# suite's time. Objects that stay for good are therefore frozen (collections pass over them): what is imported, once the tests
# are collected, and what is left behind each file of tests.
def _freeze_survivors() -> None:
    gc.collect()
    gc.freeze()


# Workers that steal from one another end together if what is left at the end is short.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)  # whole files, for the sake of their fixtures


def pytest_collection_finish() -> None:
    _freeze_survivors()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is not None and nextitem.path != item.path:
        _freeze_survivors()
