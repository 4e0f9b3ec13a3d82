"""The pool's machine code in all interleavings, and mistakes in it, all of which that finds."""

from __future__ import annotations

import inspect
import types
from typing import Any

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from pool_model import SHARED, Pool, Wrong

from tinygrad_cnn.kernels.jit.threads import pool_code, pool_words


def module(change: tuple[str, ...] = ()) -> Any:
    """What `pool_code` hands to LLVM; with changes to its source: what stood there, what does."""
    code = pool_code
    if change:
        source = inspect.getsource(pool_code)
        for before, after in zip(change[::2], change[1::2], strict=True):
            assert source.count(before) == 1, f"the source has no longer once: {before}"
            source = source.replace(before, after)
        code = types.ModuleType("changed")
        exec(compile(source, "changed", "exec"), code.__dict__)
    pool = code._Pool("pool")
    pool.write()
    return pool.module


ONE: dict[str, Any] = {"workers": 1, "jobs": [[2]]}
TWO: dict[str, Any] = {"workers": 2, "jobs": [[2]]}
AGAIN: dict[str, Any] = {"workers": 1, "jobs": [[2, 2]]}
BOTH: dict[str, Any] = {"workers": 1, "jobs": [[2], [2]]}


@pytest.mark.parametrize(
    ("how", "least"),
    [
        (ONE | {"turns": 3}, 2_000),
        (ONE | {"spins": 2, "spurious": 2}, 5_000),
        (TWO, 20_000),
        (AGAIN, 5_000),
        (BOTH, 15_000),
        pytest.param({"workers": 2, "jobs": [[3]]}, 50_000, marks=pytest.mark.slow),
        pytest.param({"workers": 2, "jobs": [[2, 2]]}, 100_000, marks=pytest.mark.slow),
        pytest.param({"workers": 2, "jobs": [[2], [2]]}, 500_000, marks=pytest.mark.slow),
        pytest.param({"workers": 1, "jobs": [[2, 2], [2]]}, 50_000, marks=pytest.mark.slow),
        pytest.param(TWO | {"spurious": 1, "turns": 2}, 50_000, marks=pytest.mark.slow),
    ],
)
def test_no_interleaving_loses_a_part_or_a_wake_up(how: dict[str, Any], least: int) -> None:
    assert Pool(module(), **how).explore() > least


MISTAKES = {
    "a worker sleeps without looking again": (
        "                with b.if_then(b.icmp_unsigned(\">=\", part, parts)):\n"
        "                    e.wait(state, IDLE)",
        "                e.wait(state, IDLE)",
    ),
    "a worker says too late that it sleeps": (
        """                e.change("add", e.add(state, SLEEPING), e.whole(1))
                # A job from before that is still open is taken; being woken once more for
                # nothing does no harm.
                ticket = e.get(e.add(state, TICKET))
""",
        """                ticket = e.get(e.add(state, TICKET))
                e.change("add", e.add(state, SLEEPING), e.whole(1))
""",
    ),
    "nobody is woken": ("                e.post(state, IDLE)\n", "                pass\n"),
    "a launch waits without saying so": ("            e.put(e.whole(1), waiting)\n", ""),
    "a launch waits without looking again": (
        "            b.cbranch(e.equal(e.get(done), parts), look, must)\n",
        "            b.branch(must)\n",
    ),
    "a launch does not take its word back": (
        '            b.cbranch(e.equal(e.change("xchg", waiting, e.whole(0)), 1), after, must)\n',
        "            b.branch(after)\n",
    ),
    "whoever ends a job wakes nobody": (
        "                e.post(state, LAUNCHED)\n",
        "                pass\n",
    ),
    "a launch that was woken does not look": (
        "            b.position_at_end(after)\n            leave_if_done()\n",
        "            b.position_at_end(after)\n            e.put(e.whole(0), e.add(state, BUSY))\n"
        "            b.ret(e.whole(0))\n",
    ),
    "a part is claimed by a plain write": (
        "b.cbranch(e.replace(e.add(state, TICKET), ticket, e.add(ticket, 1)), mine, again)\n",
        "e.put(e.add(ticket, 1), e.add(state, TICKET)); b.branch(mine)\n",
    ),
    "what to run is read before the ticket": (
        "            ticket = e.get(e.add(state, TICKET))\n            part = ",
        "            early = e.get(e.add(state, FUNCTION)), e.get(e.add(state, BLOCK))\n"
        "            ticket = e.get(e.add(state, TICKET))\n            part = ",
        "            function, block = e.get(e.add(state, FUNCTION)), e.get(e.add(state, BLOCK))\n",
        "            function, block = early\n",
    ),
    "a part counts as done before it ran": (
        """            self.run(e, function, block, part, parts)
            before = e.change("add", e.add(state, DONE), e.whole(1))
""",
        """            before = e.change("add", e.add(state, DONE), e.whole(1))
            self.run(e, function, block, part, parts)
""",
    ),
    "parts are counted without an atomic addition": (
        """            before = e.change("add", e.add(state, DONE), e.whole(1))
""",
        """            before = e.get(e.add(state, DONE))
            e.put(e.add(before, 1), e.add(state, DONE))
""",
    ),
    "a job is open before it is there": (
        """        e.put(block, e.add(state, BLOCK))
        e.put(e.whole(0), e.add(state, DONE))
        former = b.lshr(e.get(e.add(state, TICKET)), e.whole(32))
        shared = b.shl(parts, e.whole(16))
        e.put(b.or_(b.shl(e.add(former, 1), e.whole(32)), shared), e.add(state, TICKET))
""",
        """        e.put(e.whole(0), e.add(state, DONE))
        former = b.lshr(e.get(e.add(state, TICKET)), e.whole(32))
        shared = b.shl(parts, e.whole(16))
        e.put(b.or_(b.shl(e.add(former, 1), e.whole(32)), shared), e.add(state, TICKET))
        e.put(block, e.add(state, BLOCK))
""",
    ),
    "tickets have no generations": (
        "e.put(b.or_(b.shl(e.add(former, 1), e.whole(32)), shared), e.add(state, TICKET))\n",
        "e.put(shared, e.add(state, TICKET))\n",
    ),
    "the count of parts is reset when the job is open": (
        """        e.put(e.whole(0), e.add(state, DONE))
        former = b.lshr(e.get(e.add(state, TICKET)), e.whole(32))
        shared = b.shl(parts, e.whole(16))
        e.put(b.or_(b.shl(e.add(former, 1), e.whole(32)), shared), e.add(state, TICKET))
""",
        """        former = b.lshr(e.get(e.add(state, TICKET)), e.whole(32))
        shared = b.shl(parts, e.whole(16))
        e.put(b.or_(b.shl(e.add(former, 1), e.whole(32)), shared), e.add(state, TICKET))
        e.put(e.whole(0), e.add(state, DONE))
""",
    ),
    "two launches at once": (
        "        with b.if_then(b.not_(e.replace(e.add(state, BUSY), e.whole(0), e.whole(1)))):\n",
        "        with b.if_then(b.not_(e.equal(e.get(e.add(state, BUSY)), 0))):\n",
    ),
    "a launch stays under way": ("                e.put(e.whole(0), e.add(state, BUSY))\n", ""),
    "a shared word is read like any other": (
        "            with b.if_then(e.equal(e.get(done), parts)):\n",
        "            with b.if_then(e.equal(e.read(done), parts)):\n",
    ),
    "nobody sees that the process ends": (
        "            with b.if_then(b.not_(e.equal(e.get(e.add(state, STOP)), 0))):\n"
        "                b.ret(e.whole(0))\n",
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    changed = module(MISTAKES[mistake])

    def explore() -> None:
        for how in (ONE, AGAIN, BOTH, TWO):
            Pool(changed, **how).explore()

    with pytest.raises(Wrong):
        explore()


def test_a_step_that_goes_wrong_is_told_with_those_before() -> None:
    changed = module(MISTAKES["a part is claimed by a plain write"])
    with pytest.raises(Wrong, match=r"part 0 of job 0 runs twice\n(launch|worker)[^\n]* ->"):
        Pool(changed, **ONE).explore()


def test_all_words_that_threads_write_are_followed() -> None:
    places = {name: getattr(pool_words, name) for name in SHARED}
    assert len(set(places.values())) == len(SHARED)
    assert all(0 <= place < pool_words.STATE_BYTES for place in places.values())
