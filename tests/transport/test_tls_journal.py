"""A run's files on a disk that is full, or nearly: a limit on their size takes part of a line."""

import json
import os
import resource
from contextlib import contextmanager

import pytest

from fedprivacy.rounds import RoundRecord
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.transport.tls.journal import Journal, Step

RUN = Step("run", run="00" * 16)
BEGUN = Step("begun", round=1, attempt=1, round_id="ab" * 32)
SPARE = 20  # bytes: a part of a line


@contextmanager
def nearly_full(path):
    """No file grows by more than a part of a line over what this one is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + SPARE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_a_part_of_a_line_is_an_error_and_leaves_none_of_it(tmp_path):
    journal = Journal.open(tmp_path)
    journal.write(RUN)
    before = journal.path.read_bytes()
    with nearly_full(journal.path), pytest.raises(OSError, match="journal"):
        journal.write(BEGUN)
    assert journal.path.read_bytes() == before
    assert journal.past.open is None
    # Where there is room again, the next line is one of its own.
    journal.write(BEGUN)
    journal.close()
    again = Journal.open(tmp_path)
    assert again.past.run_id == bytes(16)
    assert again.past.open == BEGUN
    again.close()


def test_a_write_that_takes_less_is_gone_on_with(tmp_path, monkeypatch):
    journal, write = Journal.open(tmp_path), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    journal.write(RUN)
    monkeypatch.undo()
    journal.close()
    assert json.loads((tmp_path / "journal.jsonl").read_bytes())["run"] == RUN.run


def test_a_line_that_is_not_on_the_disk_for_certain_is_none(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    journal = Journal.open(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        journal.write(BEGUN)
    assert journal.path.read_bytes() == b""
    assert journal.past.open is None
    journal.close()


def test_a_runs_other_files_are_whole_as_well(tmp_path):
    folder = RunFolder(tmp_path)
    record = RoundRecord(round=1, outcome="aborted", weight=0, attempts=())
    folder.append(record)
    folder.keep("model.json", "{}")
    lines = (tmp_path / "rounds.jsonl").read_bytes()
    with nearly_full(tmp_path / "rounds.jsonl"):
        with pytest.raises(OSError, match="rounds"):
            folder.append(record)
        with pytest.raises(OSError, match="File too large"):
            folder.keep("model.json", " " * (len(lines) + SPARE + 1))
    assert (tmp_path / "rounds.jsonl").read_bytes() == lines
    assert (tmp_path / "model.json").read_text("utf-8") == "{}"
    folder.append(record)
    assert (tmp_path / "rounds.jsonl").read_bytes() == lines * 2
