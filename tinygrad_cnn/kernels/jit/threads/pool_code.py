"""The machine code of `pool`: how threads share the parts of a launch, in atomic words of memory.

A job's parts are claimed one by one by compare-and-swap on one word, the ticket:
``generation << 32 | parts << 16 | next part``. What to run is read before a part is claimed: if the
job has changed meanwhile so has the ticket, and the claim fails. So nobody ever runs a part of one
job with the arguments of another. The launching thread claims parts like the others, so that a
worker that sleeps does not hold up a short job. It only takes one part of a long job: on a busy
machine the others wait for a processor, which comes sooner if this thread waits too.

Threads wait actively for a while, then on a semaphore of the operating system, all without Python:
a thread that needs its lock could be put aside while it has it. A worker waits longer for the next
job, but asks again and again whether another thread wants its processor, and sleeps if one does.

Every access to a word that threads share is atomic. `tests/kernels/pool_model.py` interprets these
instructions in all interleavings of some threads: no part is run twice or left out, and nobody
sleeps whom somebody needs.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import llvmlite.binding as llvm
from llvmlite import ir

from tinygrad_cnn.kernels.jit.compile.emitter import Emitter
from tinygrad_cnn.kernels.jit.compile.vector import Value
from tinygrad_cnn.kernels.jit.threads.pool_words import (
    ARRAY_WORDS,
    BLOCK,
    BUSY,
    CHECKED_FLAGS,
    COUNT,
    DELIVER,
    DESCRIPTION,
    DONE,
    EXPECT,
    FETCH,
    FUNCTION,
    HEAD,
    IDLE,
    INSTRUCTION_WORDS,
    LAUNCH,
    LAUNCHED,
    LONG,
    OTHER_TYPES,
    POST,
    SLEEPING,
    SPINS,
    STOP,
    TICKET,
    TURNS,
    WAIT,
    WAITING,
    YIELD,
)

_WORD, _SHORT, _BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
_ENTRY = ir.FunctionType(_SHORT, [_BYTES, _BYTES, _WORD, _WORD, _WORD])
_WAIT = ir.FunctionType(_SHORT, [_WORD, _WORD])  # (semaphore, for ever)
_POST = ir.FunctionType(_SHORT, [_WORD, _WORD, _WORD])  # (semaphore, 1, 0)
_YIELD = ir.FunctionType(_SHORT, [])
_HINTS = {"x86_64": "pause", "amd64": "pause", "aarch64": "yield", "arm64": "yield"}


class _Words(Emitter):
    """An emitter that also knows 64-bit words which several threads change."""

    def pointer(self, address: Value) -> Value:
        return self.builder.inttoptr(address, _WORD.as_pointer())

    def read(self, address: Value, kind: ir.Type = _WORD) -> Value:
        """Return a word that nobody else changes."""
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))

    def get(self, address: Value) -> Value:
        """Return a word, after everything before."""
        return self.builder.load_atomic(self.pointer(address), "seq_cst", 8)

    def put(self, value: Value, address: Value) -> None:
        self.builder.store_atomic(value, self.pointer(address), "seq_cst", 8)

    def replace(self, address: Value, before: Value, after: Value) -> Value:
        """Write `after` if the word is `before`; return whether it was."""
        pair = self.builder.cmpxchg(self.pointer(address), before, after, "seq_cst", "seq_cst")
        return self.builder.extract_value(pair, 1)

    def change(self, operation: str, address: Value, by: Value) -> Value:
        """Return a word and write what `operation` ("add", "xchg") makes of it."""
        return self.builder.atomic_rmw(operation, self.pointer(address), by, "seq_cst")

    def pause(self) -> None:
        """Tell the processor that this thread waits."""
        hint = _HINTS.get(platform.machine().lower(), "")
        kind = ir.FunctionType(ir.VoidType(), [])
        self.builder.call(ir.InlineAsm(kind, hint, "~{memory}", side_effect=True), [])

    def ticks(self) -> Value:
        """Return a clock's time, in units of its own; 0 where we know of none."""
        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            clock = self._function("llvm.readcyclecounter", _WORD, [])
        elif machine in ("aarch64", "arm64"):
            kind = ir.FunctionType(_WORD, [])
            clock = ir.InlineAsm(kind, "mrs $0, cntvct_el0", "=r", side_effect=True)
        else:
            return self.whole(0)
        return self.builder.call(clock, [])

    def let_others(self, state: Value) -> Value:
        """Let another thread have the processor; return whether one wanted it."""
        function = self.builder.inttoptr(self.read(self.add(state, YIELD)), _YIELD.as_pointer())
        start = self.ticks()
        self.builder.call(function, [])
        passed = self.builder.sub(self.ticks(), start)
        return self.builder.icmp_unsigned(">=", passed, self.read(self.add(state, LONG)))

    def wait(self, state: Value, semaphore: int) -> None:
        """Wait until somebody posts, or for no reason."""
        function = self.builder.inttoptr(self.read(self.add(state, WAIT)), _WAIT.as_pointer())
        handle = self.read(self.add(state, semaphore))
        self.builder.call(function, [handle, self.whole(-1)])

    def post(self, state: Value, semaphore: int) -> None:
        """Let one thread go that waits, or will."""
        function = self.builder.inttoptr(self.read(self.add(state, POST)), _POST.as_pointer())
        handle = self.read(self.add(state, semaphore))
        self.builder.call(function, [handle, self.whole(1), self.whole(0)])

    def equal(self, left: Value, right: Value | int) -> Value:
        other = self.whole(right) if isinstance(right, int) else right
        return self.builder.icmp_unsigned("==", left, other)

    @contextmanager
    def forever(self) -> Iterator[Value]:
        """Repeat what the block writes until it returns or goes elsewhere; yields its start."""
        start = self.builder.append_basic_block("again")
        self.builder.branch(start)
        self.builder.position_at_end(start)
        yield start
        if not self.builder.block.is_terminated:
            self.builder.branch(start)


class _Pool:
    """Writes the functions into one module."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.module = ir.Module("tinygrad_cnn_pool")
        self.module.triple = llvm.get_process_triple()

    def function(self, name: str, words: int = 1) -> tuple[_Words, Value, ir.Function]:
        """Begin a function of words; return an emitter, the first word and the function."""
        kind = ir.FunctionType(_WORD, [_WORD] * words)
        made = ir.Function(self.module, kind, f"{self.symbol}_{name}")
        builder = ir.IRBuilder(made.append_basic_block("entry"))
        return _Words(builder, 4), made.args[0], made

    def write(self) -> None:
        claim = self.claim()
        launch = self.launch(claim)
        self.work(claim)
        self.replay(launch)
        self.compare()
        e, rounds, _ = self.function("spin")
        start = e.ticks()
        with e.loop(rounds):
            e.pause()
        e.builder.ret(e.builder.sub(e.ticks(), start))

    def run(self, e: _Words, function: Value, block: Value, part: Value, parts: Value) -> None:
        """Call an entry; what it returns and raises (nothing) goes to two words on the stack."""
        entry = e.builder.inttoptr(function, _ENTRY.as_pointer())
        e.builder.call(entry, [*self.ignored, block, part, parts])

    def room(self, e: _Words) -> None:
        self.ignored = [e.builder.alloca(ir.ArrayType(_WORD, 8)) for _ in range(2)]
        self.ignored = [e.builder.bitcast(place, _BYTES) for place in self.ignored]

    def claim(self) -> ir.Function:
        """claim(state, most): run parts of the job while there are any; return how many."""
        e, state, made = self.function("claim", 2)
        made.linkage = "internal"
        b = e.builder
        self.room(e)
        count = b.alloca(_WORD)
        b.store(e.whole(0), count)
        with e.forever() as again:
            ticket = e.get(e.add(state, TICKET))
            part = b.and_(ticket, e.whole(0xFFFF))
            parts = b.and_(b.lshr(ticket, e.whole(16)), e.whole(0xFFFF))
            enough = b.icmp_unsigned(">=", b.load(count), made.args[1])
            with b.if_then(b.or_(enough, b.icmp_unsigned(">=", part, parts))):
                b.ret(b.load(count))
            function, block = e.get(e.add(state, FUNCTION)), e.get(e.add(state, BLOCK))
            mine = b.append_basic_block("mine")
            b.cbranch(e.replace(e.add(state, TICKET), ticket, e.add(ticket, 1)), mine, again)
            b.position_at_end(mine)
            self.run(e, function, block, part, parts)
            before = e.change("add", e.add(state, DONE), e.whole(1))
            waits = b.and_(
                e.equal(e.add(before, 1), parts),
                b.not_(e.equal(e.get(e.add(state, WAITING)), 0)),
            )
            with (
                b.if_then(waits),
                b.if_then(e.equal(e.change("xchg", e.add(state, WAITING), e.whole(0)), 1)),
            ):
                e.post(state, LAUNCHED)
            b.store(e.add(b.load(count), 1), count)
        return made

    def differs(self, e: _Words, block: Value, row: Value) -> Value:
        """Return bits that are 0 if the array is of the kind that the table's row describes."""
        b = e.builder
        at = e.read(b.add(block, e.read(row)))
        kind = b.xor(e.read(e.add(at, HEAD - 8)), e.read(e.add(row, 8)))
        # An object of another type may be shorter than an array: then its fields are not read.
        before = b.block
        fields, after = b.append_basic_block("fields"), b.append_basic_block("compared")
        b.cbranch(e.equal(kind, 0), fields, after)
        b.position_at_end(fields)
        dtype = e.read(e.add(e.read(e.add(at, HEAD + 40)), HEAD + 8))
        dtype = b.xor(b.and_(dtype, e.whole(DESCRIPTION)), e.read(e.add(row, 16)))
        axes = b.zext(e.read(e.add(at, HEAD + 8), _SHORT), _WORD)
        flags = b.zext(e.read(e.add(at, HEAD + 48), _SHORT), _WORD)
        flags = b.shl(b.and_(flags, e.whole(CHECKED_FLAGS)), e.whole(32))
        layout = b.xor(b.or_(axes, flags), e.read(e.add(row, 24)))
        found, inside = b.or_(dtype, layout), b.block
        b.branch(after)
        b.position_at_end(after)
        result = b.phi(_WORD)
        result.add_incoming(kind, before)
        result.add_incoming(found, inside)
        return result

    def launch(self, claim: ir.Function) -> ir.Function:
        """launch(block): run all parts and return 0, or OTHER_TYPES."""
        e, block, made = self.function("launch")
        b = e.builder
        self.room(e)
        state, table, parts = e.read(block), e.read(e.add(block, 8)), e.read(e.add(block, 16))
        with e.loop(e.read(e.add(table, 8)), [e.whole(0)]) as turn:
            row = e.add(e.add(table, 16), b.mul(turn.index, e.whole(8 * ARRAY_WORDS)))
            turn.next = [b.or_(turn.values[0], self.differs(e, block, row))]
        with b.if_then(b.not_(e.equal(turn.results[0], 0))):
            b.ret(e.whole(OTHER_TYPES))
        function = e.read(table)
        with b.if_then(e.equal(parts, 1)):
            self.run(e, function, block, e.whole(0), parts)
            b.ret(e.whole(0))
        with b.if_then(b.not_(e.replace(e.add(state, BUSY), e.whole(0), e.whole(1)))):
            with e.loop(parts) as turn:  # another launch is under way
                self.run(e, function, block, turn.index, parts)
            b.ret(e.whole(0))
        e.put(function, e.add(state, FUNCTION))
        e.put(block, e.add(state, BLOCK))
        e.put(e.whole(0), e.add(state, DONE))
        former = b.lshr(e.get(e.add(state, TICKET)), e.whole(32))
        shared = b.shl(parts, e.whole(16))
        e.put(b.or_(b.shl(e.add(former, 1), e.whole(32)), shared), e.add(state, TICKET))
        with b.if_then(b.not_(e.equal(e.get(e.add(state, SLEEPING)), 0))):
            with e.loop(e.change("xchg", e.add(state, SLEEPING), e.whole(0))):
                e.post(state, IDLE)
        start = e.ticks()
        b.call(claim, [state, e.whole(1)])
        short = b.icmp_unsigned("<", b.sub(e.ticks(), start), e.read(e.add(state, LONG)))
        with b.if_then(short):
            b.call(claim, [state, parts])
        self.wait(e, state, parts)
        return made

    def replay(self, launch: ir.Function) -> None:
        """replay(program, first, count): follow instructions, and return the number of the first
        that does not find what it expects, or `count`.
        """
        e, program, made = self.function("replay", 3)
        b, count = e.builder, made.args[2]
        place = b.alloca(_WORD)
        b.store(made.args[1], place)
        with e.forever() as again:
            now = b.load(place)
            with b.if_then(b.icmp_unsigned(">=", now, count)):
                b.ret(count)
            at = e.add(program, b.mul(now, e.whole(8 * INSTRUCTION_WORDS)))
            first, second, size = (e.read(e.add(at, 8 * k)) for k in (1, 2, 3))
            b.store(e.add(now, 1), place)
            with self.instruction(e, at, LAUNCH, again):
                with b.if_then(b.not_(e.equal(b.call(launch, [first]), 0))):
                    b.ret(now)
            with (
                self.instruction(e, at, EXPECT, again),
                e.loop(size) as turn,
            ):
                one, other = (
                    e.read(b.add(start, turn.index), ir.IntType(8)) for start in (first, second)
                )
                with b.if_then(b.icmp_unsigned("!=", one, other)):
                    b.ret(now)
            with self.instruction(e, at, COUNT, again):
                b.store(e.add(e.read(first), 1), e.pointer(first))
            with self.instruction(e, at, FETCH, again):
                e.copy(first, e.read(e.add(e.read(second), HEAD)), size)
            with self.instruction(e, at, DELIVER, again):
                e.copy(e.read(e.add(e.read(second), HEAD)), first, size)
            b.ret(now)

    def compare(self) -> None:
        """compare(places, words, count): the number of the first word that is not as expected where
        the address says that it stands, or `count`.

        Simple, so that a processor looks far ahead: most of these places are in no cache.
        """
        e, places, made = self.function("compare", 3)
        _, words, count = made.args
        with e.loop(count) as turn:
            step = e.builder.mul(turn.index, e.whole(8))
            place, word = (e.read(e.add(start, step)) for start in (places, words))
            with e.builder.if_then(e.builder.icmp_unsigned("!=", e.read(place), word)):
                e.builder.ret(turn.index)
        e.builder.ret(count)

    @contextmanager
    def instruction(self, e: _Words, at: Value, kind: int, after: Value) -> Iterator[None]:
        """Write what follows an instruction of this kind; then go to the next."""
        b = e.builder
        with b.if_then(e.equal(e.read(at), kind)):
            yield
            b.branch(after)

    def wait(self, e: _Words, state: Value, parts: Value) -> None:
        """Return 0 when all parts are done."""
        b = e.builder
        done, waiting = e.add(state, DONE), e.add(state, WAITING)

        def leave_if_done() -> None:
            with b.if_then(e.equal(e.get(done), parts)):
                e.put(e.whole(0), e.add(state, BUSY))
                b.ret(e.whole(0))

        with e.loop(e.read(e.add(state, SPINS))):
            leave_if_done()
            e.pause()
        with e.forever():
            # Who does the last part either sees that this thread waits, or was done before.
            e.put(e.whole(1), waiting)
            must = b.append_basic_block("must")
            look = b.append_basic_block("look")
            after = b.append_basic_block("after")
            b.cbranch(e.equal(e.get(done), parts), look, must)
            b.position_at_end(look)  # somebody who has taken the word back posts
            b.cbranch(e.equal(e.change("xchg", waiting, e.whole(0)), 1), after, must)
            b.position_at_end(must)
            e.wait(state, LAUNCHED)
            b.branch(after)
            b.position_at_end(after)
            leave_if_done()

    def work(self, claim: ir.Function) -> None:
        """work(state): run parts of jobs as they come, until STOP is set."""
        e, state, _ = self.function("work")
        b = e.builder
        idle, turns = b.alloca(_WORD), b.alloca(_WORD)
        b.store(e.whole(0), idle)
        b.store(e.whole(0), turns)
        with e.forever() as again:
            with b.if_then(b.not_(e.equal(e.get(e.add(state, STOP)), 0))):
                b.ret(e.whole(0))
            ran = b.call(claim, [state, e.whole(-1)])
            e.pause()
            waited = b.select(e.equal(ran, 0), e.add(b.load(idle), 1), e.whole(0))
            b.store(waited, idle)
            b.store(b.select(e.equal(ran, 0), b.load(turns), e.whole(0)), turns)
            with b.if_then(b.icmp_unsigned(">=", waited, e.read(e.add(state, SPINS)))):
                b.store(e.whole(0), idle)
                turn = e.add(b.load(turns), 1)
                b.store(turn, turns)
                with b.if_then(b.icmp_unsigned("<", turn, e.read(e.add(state, TURNS)))):
                    sleep = b.append_basic_block("sleep")
                    b.cbranch(e.let_others(state), sleep, again)
                    b.position_at_end(sleep)
                b.store(e.whole(0), turns)
                e.change("add", e.add(state, SLEEPING), e.whole(1))
                # A job from before that is still open is taken; being woken once more for
                # nothing does no harm.
                ticket = e.get(e.add(state, TICKET))
                part = b.and_(ticket, e.whole(0xFFFF))
                parts = b.and_(b.lshr(ticket, e.whole(16)), e.whole(0xFFFF))
                with b.if_then(b.icmp_unsigned(">=", part, parts)):
                    e.wait(state, IDLE)


def pool_code(symbol: str) -> bytes:
    """Return object code of ``{symbol}_{name}`` for every name in `FUNCTIONS`."""
    from tinygrad_cnn.kernels.jit.compile.engine import emit_assembly

    pool = _Pool(symbol)
    pool.write()
    return emit_assembly(str(pool.module))
