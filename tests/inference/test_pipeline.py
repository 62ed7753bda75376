"""Images come out in their order, whatever they are grouped and read by, and no more are held than is said."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dab_detr.inference.images import Source, UnreadableImage
from dab_detr.inference.pipeline import Prepared, in_groups, read_ahead, readable


def source(number: int) -> Source:
    return Source(str(number), lambda: np.zeros((2, 2, 3), np.uint8))


def prepared(name: str, key: int = 0) -> Prepared:
    return Prepared(name=name, image=np.zeros((2, 2, 3), np.uint8), inputs={"key": key})


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5), st.integers(0, 12), st.none() | st.integers(0, 30))
def test_groups_are_of_one_key_and_results_in_order(keys, size, more, failing):
    window, groups, taken = size + more, [], []

    def images():
        for number, key in enumerate(keys):
            if number == failing:
                raise UnreadableImage("one")
            taken.append(number)
            yield prepared(str(number), key)

    def run(group):
        groups.append([x.inputs["key"] for x in group])
        return [f"result of {x.name}" for x in group]

    found, error = [], None
    try:
        for image, result in in_groups(images(), run, size=size, window=window, key=lambda x: x.inputs["key"]):
            assert result == f"result of {image.name}"
            found.append(int(image.name))
            assert len(taken) - len(found) < window
    except UnreadableImage as raised:
        error = raised
    stops = failing is not None and failing < len(keys)
    assert found == list(range(failing if stops else len(keys))) and (error is not None) == stops
    assert all(len(set(group)) == 1 and len(group) <= size for group in groups)


@given(st.integers(0, 20), st.integers(0, 4), st.integers(1, 8), st.sets(st.integers(0, 19)))
@settings(max_examples=30, deadline=None)
def test_threads_keep_the_order_and_their_distance(number, threads, ahead, bad):
    started, given_out, lock = [], [], threading.Lock()

    def prepare(source):
        with lock:
            started.append(source.name)
            assert len(started) - len(given_out) <= max(ahead, 1) + 1
        if int(source.name) in bad:
            raise UnreadableImage(source.name)
        return prepared(source.name)

    for found in read_ahead(map(source, range(number)), prepare, threads=threads, ahead=ahead):
        given_out.append(found.name if isinstance(found, Prepared) else str(found))
        assert isinstance(found, Prepared) != (int(given_out[-1]) in bad)
    assert given_out == [str(x) for x in range(number)]


def test_threads_end_with_their_reader():
    reader = read_ahead(map(source, range(10**9)), lambda x: prepared(x.name), threads=3, ahead=6)
    assert next(reader).name == "0"
    reader.close()
    for thread in threading.enumerate():
        if thread.name.startswith("read_ahead"):
            thread.join(10)
    assert not [x for x in threading.enumerate() if x.name.startswith("read_ahead")]


def test_any_other_error_is_not_swallowed():
    def prepare(_):
        raise MemoryError("of the machine")

    with pytest.raises(MemoryError):
        list(readable(read_ahead([source(0)], prepare, threads=2, ahead=4), skip=True))
