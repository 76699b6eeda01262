"""Stacks over the workers of a cluster: the same bits as without, whatever becomes of a worker."""

import os
import signal

import numpy as np
import pytest
import torch
from laws import randn
from test_resume import contents

from invprob.errors import InputError, ResourceError
from invprob.io import load_result, open_stack, save_scan
from invprob.operators import Identity, ParallelBeam
from invprob.scan import Scan
from invprob.stack import ClusterReconstruction, StackReconstruction, chunk_work, cluster, memory

ROWS, SETTINGS = 6, {"strength": 0.01, "max_iter": 3}


@pytest.fixture
def scan_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "_MAX_ROWS", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    A = ParallelBeam((8, 8), np.arange(6) * 0.5, 12)
    save_scan("scan.h5", Scan(A, 1 + 0.1 * randn((ROWS, 6, 12), torch.float32, 0), 0.1))
    yield tmp_path / "scan.h5"
    torch.set_num_threads(before)


def started(processes):
    """Return a client of two workers in processes, or in threads."""
    distributed = pytest.importorskip("distributed")
    own = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=None, memory_limit=0
    )
    return own, distributed.Client(own)


def alone(path, method="tv", **settings):
    list(StackReconstruction(open_stack(path), "whole.h5", method, settings=settings, overwrite=True).events())
    return contents("whole.h5")


class Workers:
    """Stands for what a cluster yields: computes here, in the opposite order."""

    def __init__(self, monkeypatch, fail=()):
        self.monkeypatch, self.asked, self.fail = monkeypatch, [], dict(fail)
        monkeypatch.setattr("invprob.stack.workers.connected", self.connected)
        monkeypatch.setattr("invprob.stack.workers.computed", self.computed)

    from contextlib import contextmanager

    @contextmanager
    def connected(self, _):
        yield None

    def computed(self, _, chunks):
        for key, chunk in reversed(chunks.items()):
            self.asked.append(key)
            yield None
            yield key, self.fail.get(key) or chunk_work.compute(chunk)


def test_chunks_in_any_order_give_the_same_file(scan_file, monkeypatch):
    workers = Workers(monkeypatch)
    work = ClusterReconstruction(scan_file, "out.h5", "any", settings=SETTINGS)
    kinds = [event.kind for event in work.events()]
    assert (work.complete, workers.asked) == (True, [5, 4, 3, 2, 1, 0])
    assert kinds == ["iterating", "stored"] * ROWS + ["finishing"]
    assert contents("out.h5") == alone(scan_file, **SETTINGS)
    assert torch.equal(work.middle[1].x, load_result("out.h5").x[ROWS // 2])


def test_an_interruption_keeps_what_is_stored(scan_file, monkeypatch):
    workers = Workers(monkeypatch)
    work = ClusterReconstruction(scan_file, "out.h5", "any", settings=SETTINGS)
    events = work.events()
    while next(events).rows != range(3, 4):
        pass
    assert events.throw(KeyboardInterrupt).kind == "finishing"
    assert list(events) == []
    left = load_result(work.written)
    assert (work.interrupted, work.finished) == (True, 0)
    assert left.x.isfinite().all(dim=(1, 2)).tolist() == [False] * 3 + [True] * 3
    assert left.item_status == ("missing",) * 3 + ("max_iter",) * 3
    work = ClusterReconstruction(scan_file, "out.h5", "any", settings=SETTINGS, resume=True)
    assert [e.rows for e in work.events() if e.kind == "kept"] == [range(i, i + 1) for i in (5, 4, 3)]
    assert workers.asked == [5, 4, 3, 2, 1, 0]
    assert contents("out.h5") == alone(scan_file, **SETTINGS)


def test_rows_that_no_worker_can_do_are_left_out(scan_file, monkeypatch):
    Workers(monkeypatch, {2: ResourceError("every worker that had them was killed")})
    work = ClusterReconstruction(scan_file, "out.h5", "any", settings=SETTINGS)
    assert [event.rows for event in work.events() if event.kind == "left out"] == [range(2, 3)]
    assert work.failures == ["rows 2 to 2: left out: every worker that had them was killed"]
    assert (work.complete, work.joined.item_status[2], len(work.joined.item_status)) == (False, "missing", ROWS)


def test_a_first_chunk_that_fails_ends_nothing_unless_all_do(scan_file, monkeypatch):
    lost = ResourceError("every worker that had them was killed")
    Workers(monkeypatch, {5: lost})
    work = ClusterReconstruction(scan_file, "out.h5", "any", settings=SETTINGS)
    assert [event.rows for event in work.events() if event.kind == "left out"] == [range(5, 6)]
    Workers(monkeypatch, dict.fromkeys(range(ROWS), lost))
    work = ClusterReconstruction(scan_file, "other.h5", "any", settings=SETTINGS)
    with pytest.raises(ResourceError, match="every worker"):
        list(work.events())


def test_another_file_on_a_worker_is_noticed(scan_file):
    chunk = chunk_work.Chunk(str(scan_file), "sha256:other", {}, (0, 1, 1), "fbp", {})
    with pytest.raises(InputError, match=r"scan.h5 is not on this worker what it is"):
        chunk_work.compute(chunk)


def test_a_single_item_is_computed_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_scan("one.h5", Scan(Identity((8, 8)), randn((8, 8), torch.float32, 0), 0.1))
    work = ClusterReconstruction("one.h5", "out.h5", "no such address", "direct")
    assert [event.kind for event in work.events()][-3:] == ["storing", "stored", "finishing"]


def test_a_cluster_that_is_not_there_is_named(scan_file):
    pytest.importorskip("distributed")
    with (
        pytest.raises(ResourceError, match=r"the cluster no/such does not answer"),
        cluster.connected("no/such"),
    ):
        pass


class Died:
    """Stands for a chunk whose workers were lost."""

    status = "error"

    def exception(self):
        from distributed import KilledWorker

        return KilledWorker("chunk", None, 4)

    def result(self):
        raise self.exception()


class Finished:
    status = "finished"

    def __init__(self, answer):
        self.answer = answer

    def result(self):
        return self.answer


class Losing:
    """Stands for a client: notes what is under way with a chunk, and loses the workers of some so many times."""

    def __init__(self, losses):
        self.losses, self.handed_out = losses, []

    def nthreads(self):
        return {"one": 1, "other": 1}

    def submit(self, _, chunk, **__):
        self.handed_out.append(chunk)
        self.losses[chunk] = self.losses.get(chunk, 0) - 1
        return Died() if self.losses[chunk] >= 0 else Finished(chunk)

    def cancel(self, _):
        pass


@pytest.mark.parametrize(("losses", "lost"), [({2: 1}, []), ({2: 1, 0: 1}, []), ({2: 2}, [2])])
def test_what_died_among_others_is_tried_again_alone(monkeypatch, losses, lost):
    distributed = pytest.importorskip("distributed")
    from types import SimpleNamespace

    monkeypatch.setattr(distributed, "wait", lambda futures, **_: SimpleNamespace(done=set(futures)))
    client = Losing(dict(losses))
    ends = dict(end for end in cluster.computed(client, {key: key for key in range(6)}) if end is not None)
    assert client.handed_out[:6] == list(range(6))
    assert sorted(client.handed_out[6:]) == sorted(losses)
    assert sorted(ends) == list(range(6))
    assert [key for key in ends if isinstance(ends[key], ResourceError)] == lost


@pytest.mark.filterwarnings("default")  # a cluster that loses a worker has many
def test_a_worker_that_is_killed_loses_nothing(scan_file):
    own, client = started(processes=True)
    with own, client:
        work = ClusterReconstruction(scan_file, "out.h5", client, settings=SETTINGS)
        events, killed = work.events(), False
        for event in events:
            if event.kind == "stored" and not killed:
                killed = True
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    assert killed
    assert (work.complete, work.failures) == (True, [])
    assert contents("out.h5") == alone(scan_file, **SETTINGS)
