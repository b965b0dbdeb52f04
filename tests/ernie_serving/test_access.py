"""API keys, request ids and the log of requests, without a server."""

import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.serving_process import wait_until
from ernie_inference.errors import InputError
from ernie_serving import request_log
from ernie_serving.access import KEY_VARIABLE
from ernie_serving.api_keys import LONGEST_KEY, ApiKeys
from ernie_serving.entrance import check_entrance
from ernie_serving.request_ids import LONGEST_ID, numbered, request_id
from ernie_serving.request_log import Entry, RequestLog
from tests.support.services import toy_config


@pytest.fixture(autouse=True)
def no_key_of_ours(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


# ---------------------------------------------------------------- keys


def test_without_keys_none_is_needed():
    keys = ApiKeys()
    assert not keys.required and keys.check(None) and keys.check("Bearer whatever")


def test_the_key_of_the_environment(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    keys = ApiKeys()
    assert keys.required and keys.check("Bearer secret") and not keys.check("Bearer other") and not keys.check(None)
    monkeypatch.setenv(KEY_VARIABLE, "two words")
    with pytest.raises(InputError, match=KEY_VARIABLE) as error:
        ApiKeys()
    assert "two words" not in str(error.value)


def test_what_is_a_valid_authorization(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "of-the-environment")
    file = tmp_path / "keys"
    file.write_bytes(b"\xef\xbb\xbf one \r\n\r\ntwo\n")  # as editors write it
    keys = ApiKeys(str(file))
    for given in ("Bearer one", "bearer two", "BEARER  one ", " Bearer two"):
        assert keys.check(given), given
    for given in (
        None, "", " ", "one", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Bearer one two", "Bearer one,two",
        "Bearer ONE", "Basic one", "Bearer\tone", "Bearer one\n", "Bearer 钥匙", "Bearer \udc80", "Bearer one\0",
        "Bearer " + "x" * (LONGEST_KEY + 1), "Bearer " + "x" * 10_000_000, "Bearer of-the-environment",
    ):  # fmt: skip
        assert given == "Bearer one\n" or not keys.check(given), given


def test_keys_are_exchanged_while_they_are_in_use(tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text("old\n")
    keys = ApiKeys(str(file))
    file.write_text("old\nnew\n")
    assert keys.check("Bearer old") and keys.check("Bearer new")
    file.with_name("other").write_text("new\n")
    os.replace(file.with_name("other"), file)
    assert not keys.check("Bearer old") and keys.check("Bearer new")
    for ruin in (lambda: file.write_text(""), lambda: file.write_text("no key"), file.unlink):
        ruin()
        with caplog.at_level(logging.WARNING):
            assert keys.check("Bearer new") and not keys.check("Bearer no") and not keys.check("Bearer ")
        assert "what was read before stays" in caplog.records[-1].message and len(caplog.records) == 1
        caplog.clear()
    file.write_text("last\n")
    assert keys.check("Bearer last") and not keys.check("Bearer new")


def test_files_that_hold_no_key(tmp_path):
    file = tmp_path / "keys"
    for content, message in (("", "has no key"), (" \n\n", "has no key"), ("ok\nnot ok", "line 2, is no API key")):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            check_entrance(toy_config(api_key_file=str(file)))
    file.write_text("x" * (LONGEST_KEY + 1))
    with pytest.raises(InputError, match="is no API key"):
        ApiKeys(str(file))
    for nowhere in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            ApiKeys(str(nowhere))


def test_a_service_that_is_open_to_all_says_so(tmp_path, monkeypatch):
    for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3"):
        assert check_entrance(toy_config(host=host)) == []
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):
        (warning,) = check_entrance(toy_config(host=host))
        assert host in warning and "api_key_file" in warning
    monkeypatch.setenv(KEY_VARIABLE, "key")
    assert check_entrance(toy_config(host="0.0.0.0")) == []


# ---------------------------------------------------------------- ids


def test_ids():
    for good in ("a", "0-9_./:", '"<script>"', "x" * LONGEST_ID):
        assert request_id(good) == good
    for bad in (
        None,
        "",
        " ",
        "a b",
        "a\nb",
        "a\r\nb: c",
        "\0",
        "\x7f",
        "é",
        "好",
        "x" * (LONGEST_ID + 1),
        "x" * 10**6,
    ):
        made = request_id(bad)
        assert len(made) == 32 and made.isalnum() and made != request_id(bad)


def test_the_ids_of_many_requests_are_made_of_one():
    ids = numbered("x" * 116)
    made = [next(ids) for _ in range(1000)]
    assert made[::999] == ["x" * 116 + "-1", "x" * 116 + "-1000"] and [request_id(each) for each in made] == made
    with pytest.raises(InputError, match="give up to 116 printable"):
        numbered("x" * 117)


# ---------------------------------------------------------------- the log


def entry(number: int = 0, **fields) -> Entry:
    return Entry(**{"way": "grpc", "id": str(number), "peer": "ipv4:127.0.0.1:1", **fields})


class Lost:
    def __init__(self):
        self.lines = 0

    def __call__(self, lines: int) -> None:
        self.lines += lines


def test_lines_of_several_logs_in_one_file(tmp_path):
    """As several workers write them."""
    file, lost = tmp_path / "log", Lost()
    logs = [RequestLog(str(file), lost=lost) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: logs[number % 3].write(entry(number)), range(3000)))
    for log in logs:
        log.close(30)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(int(line["id"]) for line in lines) == list(range(3000)) and lost.lines == 0
    assert file.stat().st_mode & 0o007 == 0


def test_a_rotated_file_is_made_anew(tmp_path):
    file = tmp_path / "log"
    log = RequestLog(str(file))
    log.write(entry(1))
    wait_until(lambda: file.exists() and file.read_text(), 10)
    file.rename(tmp_path / "log.1")
    log.write(entry(2))
    wait_until(lambda: file.exists() and file.read_text(), 10)
    file.unlink()
    log.write(entry(3))
    log.close(10)
    assert json.loads((tmp_path / "log.1").read_text())["id"] == "1" and json.loads(file.read_text())["id"] == "3"


def test_a_full_disk(tmp_path, caplog):
    lost = Lost()
    log = RequestLog("/dev/full", lost=lost)
    for number in range(100):
        log.write(entry(number))
    log.close(10)
    assert lost.lines == 100 and len(caplog.records) == 1 and "No space left" in caplog.text


def test_a_folder_that_comes_and_goes(tmp_path):
    lost, folder = Lost(), tmp_path / "logs"
    log = RequestLog(str(folder / "log"), lost=lost)
    log.write(entry(1))
    wait_until(lambda: lost.lines == 1, 10)
    folder.mkdir()
    log.write(entry(2))
    log.close(10)
    assert json.loads((folder / "log").read_text())["id"] == "2" and lost.lines == 1


def test_a_reader_that_does_not_read_and_then_goes(tmp_path, monkeypatch):
    """A pipe: its writer waits, and requests do not."""
    monkeypatch.setattr(request_log, "MOST_WAITING", 1 << 16)
    pipe, lost = tmp_path / "pipe", Lost()
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = RequestLog(str(pipe), lost=lost)
    written = threading.Thread(target=lambda: [log.write(entry(number)) for number in range(2000)])
    written.start()
    written.join(30)
    assert not written.is_alive() and 0 < lost.lines < 2000
    started = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - started < 20
    os.close(reader)
    wait_until(lambda: lost.lines > 500, 10)


def test_stderr(capfd):
    log = RequestLog("-")
    log.write(entry(7, id='"\n好'))
    log.close(10)
    assert json.loads(capfd.readouterr().err)["id"] == '"\n好'


def test_logs_that_cannot_be_written(tmp_path):
    for where in (str(tmp_path), str(tmp_path / "no" / "log"), "nul\0byte"):
        with pytest.raises(InputError, match="request_log .* cannot be written"):
            check_entrance(toy_config(request_log=where))
    RequestLog("").write(entry())
