import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from fedprivacy.secagg.pool import map_ahead


@pytest.fixture(params=[0, 1, 3], ids=lambda n: f"{n} threads")
def pool(request):
    if not request.param:
        yield None
        return
    with ThreadPoolExecutor(request.param) as pool:
        yield pool


def test_results_come_in_the_order_of_the_pieces(pool):
    assert list(map_ahead(lambda i: i * i, range(100), pool)) == [i * i for i in range(100)]
    assert list(map_ahead(abs, [], pool)) == []


def test_processes_can_share_it():
    with ProcessPoolExecutor(2) as pool:
        assert list(map_ahead(abs, range(-30, 0), pool)) == list(range(30, 0, -1))


def dies_elsewhere(piece):
    """Ends the process that it is done in, unless that is the one which made the piece."""
    home, value = piece
    if os.getpid() != home:
        os._exit(1)
    return value


def test_what_a_dead_process_leaves_undone_is_done_here():
    with ProcessPoolExecutor(2) as pool:
        pieces = [(os.getpid(), i) for i in range(30)]
        assert list(map_ahead(dies_elsewhere, pieces, pool)) == list(range(30))


def test_pieces_are_taken_a_few_at_a_time(pool):
    """What they hold is in memory only while it is worked on."""
    lock, taken, most, done = threading.Lock(), 0, 0, 0

    def pieces():
        nonlocal taken, most
        for i in range(200):
            with lock:
                taken += 1
                most = max(most, taken - done)
            yield i

    for _ in map_ahead(abs, pieces(), pool):
        with lock:
            done += 1
    assert done == taken == 200
    assert most <= 9


def test_what_the_work_raises_is_raised(pool):
    def work(i):
        if i == 20:
            raise KeyError(i)

    with pytest.raises(KeyError):
        list(map_ahead(work, range(40), pool))
