"""Vectors, memory and control in LLVM's language: imported only to compile, as LLVM itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from tinygrad_cnn.kernels.jit.compile.arithmetic import FLOAT, WORD, Arithmetic
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Value

_I64, _BYTE, _BIT = ir.IntType(64), ir.IntType(8), ir.IntType(1)
_DRAW = ir.FunctionType(WORD, [_I64])


class Emitter(Arithmetic):
    """Appends instructions on vectors where `builder` stands. Addresses and distances are in
    bytes.
    """

    def __init__(self, builder: Any, lanes: int) -> None:
        super().__init__(builder, lanes)
        self.width = lanes * BYTES
        self.no_magnitude = self.word(0)

    # whole numbers

    def whole(self, value: int) -> Value:
        """Return a constant."""
        return ir.Constant(_I64, value)

    def add(self, left: Value, right: Value | int) -> Value:
        """Return the sum of two addresses or distances."""
        return self.builder.add(left, self.whole(right) if isinstance(right, int) else right)

    def steps(self, start: Value, step: Value, count: int) -> list[Value]:
        """Return start, start + step, ...: `count` addresses."""
        found = [start]
        while len(found) < count:
            found.append(self.builder.add(found[-1], step))
        return found

    def up_to(self, valid: Value, count: int) -> list[Value]:
        """Return 0, 1, ..., `count` of them; those after the last valid one are that one again."""
        last, places = self.add(valid, -1), map(self.whole, range(count))
        return [self.builder.select(self.less(k, last), k, last) for k in places]

    def less(self, left: Value, right: Value | int) -> Value:
        """Return whether left < right."""
        other = self.whole(right) if isinstance(right, int) else right
        return self.builder.icmp_signed("<", left, other)

    def more(self, left: Value, right: int) -> Value:
        """Return whether left > right."""
        return self.builder.icmp_signed(">", left, self.whole(right))

    def table(self, address: Value, index: Value | int) -> Value:
        """Return entry `index` of a table of 64-bit integers."""
        place = self.whole(index) if isinstance(index, int) else index
        at = self.builder.add(address, self.builder.shl(place, self.whole(3)))
        return self.builder.load(self.builder.inttoptr(at, _I64.as_pointer()), align=8)

    # vectors

    def _access(self, address: Value, kind: Any) -> Value:
        return self.builder.inttoptr(address, kind.as_pointer())

    def _masked_load(self, pointer: Value, align: int, mask: Value, rest: Value) -> Value:
        name = f"llvm.masked.load.v{self.lanes}{'f32' if align == BYTES else 'i8'}.p0"
        call = self._function(name, rest.type, [pointer.type, WORD, mask.type, rest.type])
        return self.builder.call(call, [pointer, ir.Constant(WORD, align), mask, rest])

    def load(self, address: Value, mask: Value = None) -> Value:
        """Return the vector at an address; where the mask is off, memory is not touched: 0."""
        pointer = self._access(address, self.type)
        if mask is None:
            return self.builder.load(pointer, align=BYTES)
        return self._masked_load(pointer, BYTES, mask, self.zero)

    def pairs(self, address: Value, count: Value = None) -> tuple[Value, Value]:
        """Return vectors of every second number from an address, and of those between.

        Of `count` pairs, if it is given: else, of as many as there are lanes.
        """
        masks = self._pair_masks(count)
        low = self.load(address, masks[0])
        high = self.load(self.add(address, self.width), masks[1])
        first, second = (self._order(range(k, 2 * self.lanes, 2)) for k in (0, 1))
        shuffle = self.builder.shuffle_vector
        return shuffle(low, high, first), shuffle(low, high, second)

    def store_pairs(self, even: Value, odd: Value, address: Value, count: Value = None) -> None:
        """Write what `pairs` has read."""
        masks = self._pair_masks(count)
        half = self.lanes // 2
        for k in (0, 1):
            lanes = range(k * half, (k + 1) * half)
            order = self._order([lane + odd for lane in lanes for odd in (0, self.lanes)])
            value = self.builder.shuffle_vector(even, odd, order)
            self.store(value, self.add(address, k * self.width), masks[k])

    def _pair_masks(self, count: Value) -> list[Value]:
        if count is None:
            return [None, None]
        twice = self.builder.add(count, count)
        return [self.first_lanes(twice), self.first_lanes(self.add(twice, -self.lanes))]

    def _order(self, lanes: Iterable[int]) -> Value:
        return ir.Constant(self.words, list(lanes))

    def store_bytes(self, value: Value, address: Value, mask: Value = None) -> None:
        """Write a vector of bytes."""
        self._store(value, address, mask, 1)

    def byte_constant(self, value: int) -> Value:
        """Return a vector of one byte."""
        return ir.Constant(ir.VectorType(_BYTE, self.lanes), [value] * self.lanes)

    def store(self, value: Value, address: Value, mask: Value = None) -> None:
        """Write a vector to an address, or the lanes whose mask is on."""
        self._store(value, address, mask, BYTES)

    def _store(self, value: Value, address: Value, mask: Value, align: int) -> None:
        pointer = self._access(address, value.type)
        if mask is None:
            self.builder.store(value, pointer, align=align)
            return
        name = f"llvm.masked.store.v{self.lanes}{'f32' if align == BYTES else 'i8'}.p0"
        kinds = [value.type, pointer.type, WORD, mask.type]
        call = self._function(name, ir.VoidType(), kinds)
        self.builder.call(call, [value, pointer, ir.Constant(WORD, align), mask])

    def masks(self, columns: Value, vectors: int) -> list[Value]:
        """Return the masks of vectors side by side of which so many columns exist."""
        return [
            self.first_lanes(self.builder.sub(columns, self.whole(v * self.lanes)))
            for v in range(vectors)
        ]

    def store_block(
        self, sums: Sequence[Value], place: Callable[[int], Value], rows: int, valid: Value,
        columns: Value,
    ) -> None:  # fmt: skip
        """Write a block of vectors row by row: of the rows those before `valid`, of a row the
        numbers before `columns`. `place(r)` returns the address of a row.
        """
        b, vectors = self.builder, len(sums) // rows
        whole = b.icmp_signed(">=", valid, self.whole(rows))
        full = b.and_(whole, b.icmp_signed(">=", columns, self.whole(vectors * self.lanes)))

        def store(r: int, masks: Sequence[Value]) -> None:
            at = place(r)
            for v, mask in enumerate(masks):
                self.store(sums[r * vectors + v], self.add(at, v * self.width), mask)

        def write(full: bool) -> None:
            masks = [None] * vectors if full else self.masks(columns, vectors)
            for r in range(rows):
                if full:
                    store(r, masks)
                    continue
                with b.if_then(self.more(valid, r)):
                    store(r, masks)

        self.either(full, write)

    def bytes_equal(self, address: Value, value: Value, mask: Value = None) -> Value:
        """Return a mask of which of the bytes at an address are `value`; none where it is off."""
        kind = ir.VectorType(_BYTE, self.lanes)
        pointer = self._access(address, kind)
        if mask is None:
            found = self.builder.load(pointer, align=1)
        else:
            others = ir.Constant(kind, [255] * self.lanes)
            found = self._masked_load(pointer, 1, mask, others)
        wanted = self._splat(self.builder.trunc(value, _BYTE), kind)
        return self.builder.icmp_unsigned("==", found, wanted)

    def spread(self, address: Value) -> Value:
        """Return a vector of the one number at an address."""
        number = self.builder.load(self._access(address, FLOAT), align=BYTES)
        return self._splat(number, self.type)

    def magnitudes(self, x: Value) -> Value:
        """Return the bits of |x|: whole numbers in the order of magnitude, NaN above infinity."""
        return self.builder.and_(self.builder.bitcast(x, self.words), self.word(0x7FFFFFFF))

    def largest(self, x: Value, y: Value) -> Value:
        """Return the larger one of two vectors of `magnitudes`, lane by lane."""
        return self.builder.select(self.builder.icmp_unsigned(">", x, y), x, y)

    def across(
        self, x: Value, combine: Callable[[Value, Value], Value], count: int = 1
    ) -> Value:  # fmt: skip
        """Combine every `count`-th lane, beginning with each of the first ones: they hold that."""
        step = self.lanes // 2
        while step >= count:
            other = self.shuffle(x, x, [(k + step) % self.lanes for k in range(self.lanes)])
            x = combine(x, other)
            step //= 2
        return x

    def store_sums(self, x: Value, address: Value, count: int = 1) -> None:
        """Write the sums over every `count`-th lane, beginning with each of the first ones."""
        b = self.builder
        x = self.across(x, b.fadd, count)
        for k in range(count):
            pointer = self._access(self.add(address, k * BYTES), FLOAT)
            b.store(b.extract_element(x, ir.Constant(WORD, k)), pointer, align=BYTES)

    def shuffle(self, x: Value, y: Value, lanes: Sequence[int]) -> Value:
        """Return the vector of these lanes of x and, counted on, y."""
        return self.builder.shuffle_vector(x, y, self._order(lanes))

    def first_lanes(self, count: Value) -> Value:
        """Return a mask of the first `count` lanes (all, or none, beyond the ends)."""
        lane = ir.Constant(self.words, list(range(self.lanes)))
        short = self.builder.trunc(count, WORD)
        return self.builder.icmp_signed("<", lane, self._splat(short, self.words))

    def _splat(self, scalar: Value, kind: Any) -> Value:
        start = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), scalar, ir.Constant(WORD, 0)
        )
        return self.builder.shuffle_vector(start, ir.Constant(kind, ir.Undefined), self.word(0))

    # memory

    def copy(self, target: Value, source: Value, nbytes: Value) -> None:
        """Copy bytes between places that do not overlap."""
        pointers = [self.builder.inttoptr(at, _BYTE.as_pointer()) for at in (target, source)]
        kinds = [pointers[0].type, pointers[1].type, _I64, _BIT]
        call = self._function("llvm.memcpy.p0.p0.i64", ir.VoidType(), kinds)
        self.builder.call(call, [*pointers, nbytes, ir.Constant(_BIT, 0)])

    def prefetch(self, address: Value) -> None:
        """Have a cache line fetched that is soon to be read; any address will do."""
        pointer = self.builder.inttoptr(address, _BYTE.as_pointer())
        call = self._function("llvm.prefetch.p0", ir.VoidType(), [pointer.type, WORD, WORD, WORD])
        # To read it, into all caches, of data.
        self.builder.call(call, [pointer, *(ir.Constant(WORD, n) for n in (0, 3, 1))])

    def clear(self, target: Value, nbytes: Value) -> None:
        """Write zeros."""
        pointer = self.builder.inttoptr(target, _BYTE.as_pointer())
        kinds = [pointer.type, _BYTE, _I64, _BIT]
        call = self._function("llvm.memset.p0.i64", ir.VoidType(), kinds)
        self.builder.call(
            call, [pointer, ir.Constant(_BYTE, 0), nbytes, ir.Constant(_BIT, 0)]
        )  # fmt: skip

    # random numbers

    def random_choices(self, bits: Value, numbers: Value, out: Value, count: Value) -> None:
        """Write `count` numbers: 0 where a random one of [0, 1) is below the first of two, else the
        second. `bits` is the address of NumPy's ``bitgen_t``: a state, and functions of it, of
        which the second returns 32 bits. The upper 24 make a number, as in NumPy.
        """
        b = self.builder
        state, draw = self.table(bits, 0), self._access(self.table(bits, 2), _DRAW)
        bound, second = (
            b.load(self._access(self.add(numbers, k * BYTES), FLOAT), align=BYTES) for k in (0, 1)
        )
        with self.loop(count) as turn:
            drawn = b.uitofp(b.lshr(b.call(draw, [state]), ir.Constant(WORD, 8)), FLOAT)
            number = b.fmul(drawn, ir.Constant(FLOAT, 2.0**-24))
            chosen = b.select(b.fcmp_ordered(">=", number, bound), second, ir.Constant(FLOAT, 0.0))
            at = self.add(out, b.shl(turn.index, self.whole(2)))
            b.store(chosen, self._access(at, FLOAT), align=BYTES)

    # control

    def call_function(self, address: Value, args: Sequence[Value]) -> None:
        """Call a function of words, which returns nothing."""
        kind = ir.FunctionType(ir.VoidType(), [_I64] * len(args))
        self.builder.call(self._access(address, kind), args)

    @contextmanager
    def loop(self, count: Value, start: Sequence[Value] = ()) -> Iterator[Loop]:
        """Repeat what the block writes `count` times; `Loop` carries values between the rounds."""
        turn = Loop(self.builder, count, start)
        yield turn
        turn.close()

    def either(self, condition: Value, write: Callable[[bool], None]) -> None:
        """Write two pieces of code, of which one runs."""
        with self.builder.if_else(condition) as (true, false):
            with true:
                write(True)
            with false:
                write(False)

    def by_width(self, columns: Value, write: Callable[[int], None]) -> None:
        """Let `write` handle a tile of `columns`: all its vectors, or one if they fit into that."""
        wide = self.more(columns, self.lanes)
        self.either(wide, lambda wide: write(TILE.vectors if wide else 1))

    def channel_blocks(self, count: Value, write: Callable[[Value, Value], None]) -> None:
        """Let `write` handle `count` channels, a vector at a time: write(distance, mask or None).

        The code appears twice: for whole vectors, and with a mask for the rest, if there is one.
        """
        builder = self.builder
        whole = builder.udiv(count, self.whole(self.lanes))
        with self.loop(whole) as turn:
            write(builder.mul(turn.index, self.whole(self.width)), None)
        done = builder.mul(whole, self.whole(self.lanes))
        rest = builder.sub(count, done)
        with builder.if_then(builder.icmp_signed(">", rest, self.whole(0))):
            write(builder.mul(whole, self.whole(self.width)), self.first_lanes(rest))


class Loop:
    """A loop of `count` rounds (none if not positive) that carries values: set `next` in it."""

    def __init__(self, builder: Any, count: Value, start: Sequence[Value]) -> None:
        self.builder, self.count, self.start = builder, count, list(start)
        self.before = builder.block
        self.body = builder.function.append_basic_block("body")
        self.after = builder.function.append_basic_block("after")
        builder.cbranch(
            builder.icmp_signed(">", count, ir.Constant(_I64, 0)), self.body, self.after
        )
        builder.position_at_end(self.body)
        self.index = builder.phi(_I64)
        self.index.add_incoming(ir.Constant(_I64, 0), self.before)
        self.values = [builder.phi(value.type) for value in self.start]
        for phi, value in zip(self.values, self.start, strict=True):
            phi.add_incoming(value, self.before)
        self.next: list[Value] = list(self.values)
        self.results: list[Value] = []

    def close(self) -> None:
        """Branch back, and leave in `results` the carried values after the last round."""
        builder, last = self.builder, self.builder.block
        index = builder.add(self.index, ir.Constant(_I64, 1))
        self.index.add_incoming(index, last)
        for phi, value in zip(self.values, self.next, strict=True):
            phi.add_incoming(value, last)
        builder.cbranch(builder.icmp_signed("<", index, self.count), self.body, self.after)
        builder.position_at_end(self.after)
        for first, value in zip(self.start, self.next, strict=True):
            phi = builder.phi(value.type)
            phi.add_incoming(first, self.before)
            phi.add_incoming(value, last)
            self.results.append(phi)
