"""Large requests wait for each other before they are read."""

import time

import pytest

from ernie_serving.protocol import TEXTS, Code
from ernie_serving.turns import SMALL_BYTES, turn_to_read
from tests.support.rpc import call
from tests.support.services import pack, toy_models, unpack


def test_large_requests_are_read_one_after_the_other_and_small_ones_beside_them():
    service = toy_models(0.0)[0].get()
    large, begun = 1 << 20, []

    def read():
        begun.append(True)
        return {TEXTS: ["好"]}

    with turn_to_read(large, time.monotonic() + 60):
        response = service.answer(read, seconds=0.2, size=large)
        assert response.err_no == Code.TIMEOUT and "other large ones are read before it" in response.err_msg
        assert service.answer(read, seconds=0.0).err_no == Code.TIMEOUT
        assert not begun, "nothing is read of what nobody waits for"
        assert service.answer(read, size=SMALL_BYTES).err_no == Code.OK
    assert service.answer(read, size=large).err_no == Code.OK
    with pytest.raises(KeyError), turn_to_read(large, time.monotonic() + 60):
        raise KeyError
    assert service.answer(read, size=large).err_no == Code.OK


def test_a_large_message_is_not_even_unpacked_before_its_turn(start):
    server = start(timeout=200)
    with turn_to_read(1 << 20, time.monotonic() + 60):
        response = unpack(call(server, pack(["好" * 1_000] * 60))[0])
        assert response.err_no == Code.TIMEOUT and "other large ones" in response.err_msg
        assert server.client().predict(["好"])
