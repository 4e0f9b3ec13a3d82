"""All that the pool of threads can do, step by step: its machine code, interpreted exhaustively.

What is interpreted is the code itself: the instructions that `pool_code` hands to LLVM. A step is
an atomic access to a word that threads share (`pool_words`), a call of an entry (a part runs), a
wait on a semaphore or a post to it. Between two steps a thread is alone, so that all interleavings
of steps are all interleavings there are; accesses are sequentially consistent, as the code asks.
Clocks and the system's scheduler are free: whether a part was long, and whether somebody wanted the
processor, is either way. A wait may end for no reason, ``spurious`` times in a run.

Checked in every state that can be reached:

* a part runs with the arguments of its own job, once, and before its launch returns;
* a launch returns after all its parts ran;
* from here the threads can come to the end: no launch waits for what nobody will do (a lost
  wake-up), and no worker sleeps through the end (`_Workers.stop`);
* plain loads read only what nobody writes meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from tinygrad_cnn.kernels.jit.threads import pool_words as words

STATE, TABLES, BLOCKS, ENTRIES = 1 << 20, 1 << 24, 1 << 28, 1 << 32  # addresses, far apart
SHARED = ("TICKET", "DONE", "FUNCTION", "BLOCK", "SLEEPING", "WAITING", "BUSY", "STOP")
"""Words of `pool_words` that threads change; the others are set before there are any."""
PLACES = {STATE + getattr(words, name): index for index, name in enumerate(SHARED)}
STOP, BUSY, WAITING = (SHARED.index(name) for name in ("STOP", "BUSY", "WAITING"))
WAIT, POST, YIELD, IDLE, LAUNCHED = range(1, 6)  # what the words of these names have
CONSTANT = {
    STATE + words.WAIT: WAIT,
    STATE + words.POST: POST,
    STATE + words.YIELD: YIELD,
    STATE + words.IDLE: IDLE,
    STATE + words.LAUNCHED: LAUNCHED,
}
SEMAPHORES = (IDLE, LAUNCHED)

Frames = tuple[tuple[str, int, int, tuple[tuple[int, Any], ...]], ...]
"""Of each function that is active: its name, block, instruction and variables."""
Step = tuple[Any, ...]


_LATE = ("wait", "run")  # taking what somebody posted; a part, as it only changes what is its own
_EARLY = ("post", "free")  # posting, as it hinders nobody; what the clock says


class Wrong(Exception):
    """Something that must not be."""


class Function:
    """A function's instructions, and which variables each of them still needs."""

    def __init__(self, made: ir.Function) -> None:
        self.arguments = [id(argument) for argument in made.args]
        self.blocks = [block.instructions for block in made.blocks]
        self.number = {id(block): number for number, block in enumerate(made.blocks)}
        self.needed = self._needed()

    def _needed(self) -> list[list[frozenset[int]]]:
        """By block and instruction: the variables that are read from there on."""
        needed = [[frozenset[int]()] * (len(block) + 1) for block in self.blocks]
        changed = True
        while changed:
            changed = False
            for number, block in reversed(list(enumerate(self.blocks))):
                live: set[int] = set()
                for target in targets(block[-1]):
                    after = self.blocks[self.number[id(target)]]
                    phis = [i for i in after if isinstance(i, ir.PhiInstr)]
                    live |= needed[self.number[id(target)]][0] - {id(phi) for phi in phis}
                    for phi in phis:
                        live |= {id(v) for v, b in phi.incomings if self.number[id(b)] == number}
                for index in range(len(block) - 1, -1, -1):
                    live -= {id(written(block[index]))}
                    live |= {id(value) for value in read(block[index])}
                    changed |= needed[number][index] != live
                    needed[number][index] = frozenset(live)
        return needed


def targets(instruction: Any) -> list[Any]:
    """Where it may go."""
    return [o for o in instruction.operands if isinstance(o, ir.Block)]


def read(instruction: Any) -> list[Any]:
    """Variables that it reads; what is kept on the stack is one too."""
    if isinstance(instruction, ir.PhiInstr):
        return []  # on the way from the block before
    if isinstance(instruction, ir.StoreInstr):
        value, place = instruction.operands
        return [value] if isinstance(place, ir.AllocaInstr) else [value, place]
    if isinstance(instruction, ir.ExtractValue):
        return [instruction.aggregate]
    fixed = ir.Block | ir.Constant | ir.Function | ir.InlineAsm
    return [o for o in instruction.operands if not isinstance(o, fixed)]


def written(instruction: Any) -> Any:
    """The variable that it sets."""
    if isinstance(instruction, ir.StoreInstr):
        return instruction.operands[1]
    return instruction


def signed(value: int, bits: int = 64) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


ARITHMETIC = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b,
    "lshr": lambda a, b: a >> b,
}
COMPARISONS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "uge": lambda a, b: a >= b,
    "ult": lambda a, b: a < b,
    "slt": lambda a, b: signed(a) < signed(b),
    "sgt": lambda a, b: signed(a) > signed(b),
}


class Machine:
    """Runs one thread from a step to the next."""

    def __init__(self, module: ir.Module, constants: dict[int, int]) -> None:
        self.functions = {f.name: Function(f) for f in module.functions if f.blocks}
        self.constants = constants

    def begin(self, name: str, *arguments: int) -> tuple[Frames, Step]:
        """Start a thread in a function."""
        return self.go_on((self._enter(name, arguments),), None, fresh=True)

    def _enter(self, name: str, arguments: Sequence[int]) -> Any:
        variables = zip(self.functions[name].arguments, arguments, strict=True)
        return name, 0, 0, tuple(sorted(variables))

    def go_on(self, frames: Frames, answer: Any, *, fresh: bool = False) -> tuple[Frames, Step]:
        """Run up to the next step; ``answer`` is what the last one gave."""
        stack, waiting = list(frames), not fresh
        while True:
            name, number, index, kept = stack.pop()
            function, variables = self.functions[name], dict(kept)
            if waiting:  # a step, or a function that has returned
                variables[id(function.blocks[number][index])] = answer
                index += 1
            outcome = self._run(function, variables, number, index)
            match outcome:
                case ("return", value):
                    if not stack:
                        return (), ("end", value)
                    answer, waiting = value, True
                    continue
                case (number, index, step):
                    needed = function.needed[number][index + 1]
                    left = tuple(sorted((k, v) for k, v in variables.items() if k in needed))
                    stack.append((name, number, index, left))
                    if step[0] != "call":
                        return tuple(stack), step
                    stack.append(self._enter(step[1], step[2]))
                    waiting = False

    def _run(self, function: Function, variables: dict[int, Any], number: int, index: int) -> Any:
        """Run a function up to a step, a call or its return."""

        def value(of: Any) -> Any:
            if isinstance(of, ir.Constant):
                bits = of.type.width
                return int(of.constant) & ((1 << bits) - 1)
            return of if isinstance(of, ir.AllocaInstr) else variables[id(of)]

        while True:
            instruction = function.blocks[number][index]
            operands = instruction.operands
            match instruction:
                case ir.Ret():
                    return "return", value(operands[0])
                case ir.Branch() | ir.ConditionalBranch():
                    chosen = operands[0]
                    if isinstance(instruction, ir.ConditionalBranch):
                        chosen = operands[1] if value(operands[0]) else operands[2]
                    former, number = number, function.number[id(chosen)]
                    phis = [i for i in function.blocks[number] if isinstance(i, ir.PhiInstr)]
                    came = [
                        value(v) for phi in phis for v, b in phi.incomings
                        if function.number[id(b)] == former
                    ]  # fmt: skip
                    variables.update(zip(map(id, phis), came, strict=True))
                    index = len(phis)
                    continue
                case ir.AllocaInstr():
                    pass
                case ir.CallInstr():
                    step = self._call(instruction, value)
                    if step is not None:
                        return number, index, step
                    variables[id(instruction)] = 0  # a clock that stands still
                case ir.StoreInstr() if isinstance(operands[1], ir.AllocaInstr):
                    variables[id(operands[1])] = value(operands[0])
                case ir.LoadInstr() if isinstance(operands[0], ir.AllocaInstr):
                    variables[id(instruction)] = variables[id(operands[0])]
                case _:
                    found = self._plain(instruction, value)
                    if isinstance(found, tuple):
                        return number, index, found
                    variables[id(instruction)] = found
            index += 1

    def _call(self, instruction: Any, value: Any) -> Step | None:
        callee = instruction.callee
        if isinstance(callee, ir.InlineAsm) or callee.name == "llvm.readcyclecounter":
            return None
        arguments = [value(a) for a in instruction.args]
        if isinstance(callee, ir.Function):
            return "call", callee.name, arguments
        function = value(callee)
        if function == YIELD:
            return None
        if function in (WAIT, POST):
            return "wait" if function == WAIT else "post", SEMAPHORES.index(arguments[0])
        return "run", function, *arguments[2:4]

    def _plain(self, instruction: Any, value: Any) -> Any:
        """What it gives; or the step that it is."""
        if isinstance(instruction, ir.ExtractValue):
            return value(instruction.aggregate)
        values = [value(o) for o in instruction.operands]
        match instruction:
            case ir.CastInstr():
                return values[0]
            case ir.ICMPInstr():
                return int(COMPARISONS[instruction.op](*values))
            case ir.SelectInstr():
                return values[1] if values[0] else values[2]
            case ir.LoadAtomicInstr():
                return "read", PLACES[values[0]]
            case ir.StoreAtomicInstr():
                return "write", PLACES[values[1]], values[0]
            case ir.CmpXchg():
                return "replace", PLACES[values[0]], *values[1:]
            case ir.AtomicRMW():
                return instruction.operation, PLACES[values[0]], values[1]
            case ir.LoadInstr() if values[0] in PLACES:
                raise Wrong(f"a plain load of {SHARED[PLACES[values[0]]]}")
            case ir.LoadInstr() if values[0] == STATE + words.LONG:
                return "free", (0, 1)  # clocks stand still: every part is long, or short
            case ir.LoadInstr():
                return self.constants[values[0]]
        mask = (1 << instruction.type.width) - 1
        return ARITHMETIC[instruction.opname](*values) & mask


class Pool:
    """Workers, and threads that launch jobs one after the other, in all interleavings.

    Parameters
    ----------
    module
        What `pool_code` writes.
    jobs
        For each thread that launches, how many parts its jobs have.
    turns
        How often a worker waits before it sleeps (`pool_words.TURNS`).
    """

    def __init__(
        self,
        module: ir.Module,
        workers: int,
        jobs: Sequence[Sequence[int]],
        *,
        spins: int = 1,
        turns: int = 1,
        spurious: int = 0,
    ) -> None:
        self.parts = [parts for own in jobs for parts in own]
        constants = {**CONSTANT, STATE + words.SPINS: spins, STATE + words.TURNS: turns}
        for job, parts in enumerate(self.parts):
            block, table = BLOCKS + 4096 * job, TABLES + 4096 * job
            constants |= {block: STATE, block + 8: table, block + 16: parts}
            constants |= {table: ENTRIES + job, table + 8: 0}
        self.machine = Machine(module, constants)
        self.prefix = next(iter(self.machine.functions)).removesuffix("claim")
        self.workers, self.spurious = workers, spurious
        self.threads: list[Any] = []  # what a thread is about to do, by a number
        self.numbers: dict[Any, int] = {}
        self.followers: dict[tuple[int, Any], int] = {}
        self.first: list[list[int]] = []
        number = 0
        for own in jobs:
            self.first.append(list(range(number, number + len(own))))
            number += len(own)

    def _number(self, thread: Any) -> int:
        if thread not in self.numbers:
            self.numbers[thread] = len(self.threads)
            self.threads.append(thread)
        return self.numbers[thread]

    def _launching(self, jobs: tuple[int, ...]) -> int:
        if not jobs:
            return self._number(((), ("end", 0), ()))
        return self._number(
            (*self.machine.begin(f"{self.prefix}launch", BLOCKS + 4096 * jobs[0]), jobs)
        )

    def _after(self, thread: int, answer: Any) -> int:
        """The thread after its step gave an answer."""
        known = self.followers.get((thread, answer))
        if known is None:
            frames, _, jobs = self.threads[thread]
            known = self._number((*self.machine.go_on(frames, answer), jobs))
            self.followers[thread, answer] = known
        return known

    def explore(self) -> int:
        """Go through all states and return how many there are.

        Raises
        ------
        Wrong
            Something that must not be, with the steps that lead there.
        """
        worker = self._number((*self.machine.begin(f"{self.prefix}work", STATE), ()))
        threads = tuple(self._launching(tuple(jobs)) for jobs in self.first)
        start = (
            (0,) * len(SHARED), (0,) * len(SEMAPHORES), (0,) * len(self.parts), (), self.spurious,
            (worker,) * self.workers + threads,
        )  # fmt: skip
        self.states, numbers, before = [start], {start: 0}, [(0, "")]
        into: list[list[int]] = [[]]
        ends, place = [], 0
        while place < len(self.states):
            state = self.states[place]
            try:
                following = list(self._following(state))
                if not following and self._ended(state):
                    ends.append(place)
            except Wrong as error:
                raise Wrong(f"{error}\n{self._told(before, place)}") from None
            for label, after in following:
                number = numbers.get(after)
                if number is None:
                    number = numbers[after] = len(self.states)
                    self.states.append(after)
                    before.append((place, label))
                    into.append([])
                if after[4] == state[4]:  # a wake-up for no reason does not count as a way out
                    into[number].append(place)
            place += 1
        good, left = set(ends), list(ends)
        while left:
            for number in into[left.pop()]:
                if number not in good:
                    good.add(number)
                    left.append(number)
        for number in range(len(self.states)):
            if number not in good:
                raise Wrong(f"nobody will go on\n{self._told(before, number)}")
        return len(self.states)

    def _told(self, before: list[tuple[int, str]], number: int) -> str:
        """The steps that lead to a state."""
        told = []
        while number:
            number, label = before[number]
            told.append(label)
        return "\n".join(reversed(told))

    def _ended(self, state: Any) -> bool:
        """Whether all threads have come to their ends; then nothing may be left over."""
        shared, semaphores, _, _, spurious, threads = state
        if any(self.threads[thread][1][0] != "end" for thread in threads):
            return False
        left = shared[BUSY], shared[WAITING], semaphores[1]
        if any(left) and spurious == self.spurious:
            raise Wrong(f"BUSY, WAITING and the semaphore of launches are {left} at the end")
        return True

    def _following(self, state: Any) -> Any:
        """What each thread may do next: in words, and the state after that."""
        shared, semaphores, ran, returned, spurious, threads = state
        for index in range(len(threads)):
            for label, (*new, others) in self._moved(state, index):
                others = (*sorted(others[: self.workers]), *others[self.workers :])  # all are alike
                yield label, (*new, others)
        if len(returned) == len(self.parts) and not shared[STOP]:
            stopped = (*shared[:STOP], 1, *shared[STOP + 1 :])
            posted = semaphores[0] + self.workers, semaphores[1]
            yield "stop", (stopped, posted, ran, returned, spurious, threads)

    def _moved(self, state: Any, index: int) -> Any:
        """Let a thread take a step, and those that belong to it.

        Nobody can tell a step after which nothing happens before the thread's next one (`_LATE`)
        from one that happens later, nor one before which nothing happens (`_EARLY`) from one that
        happens earlier: these are no steps of their own (Lipton, Reduction, 1975).
        """
        shared, semaphores, ran, returned, spurious, threads = state
        thread = threads[index]
        _, step, jobs = self.threads[thread]
        name = f"worker {index}" if index < self.workers else f"launch {jobs}"
        for answer, *changed in self._done(step, jobs, state):
            new = changed[0] if changed else (shared, semaphores, ran, returned, spurious)
            if step[0] == "end":
                after = self._launching(jobs[1:])
            else:
                after = self._after(thread, answer)
            others = (*threads[:index], after, *threads[index + 1 :])
            label = f"{name}: {_words(step)} -> {answer}"
            following = (*new, others)
            late = step[0] in _LATE or step == ("read", STOP)
            _, (kind, *_rest), left = self.threads[after]
            if (late and kind not in ("wait", "end")) or kind in _EARLY or (kind == "end" and left):
                found = list(self._moved(following, index))
                yield from ((f"{label}\n{more}", last) for more, last in found)
            else:
                yield label, following

    def _done(self, step: Step, jobs: tuple[int, ...], state: Any) -> Any:
        """The answers a step may have, each with what else it changes."""
        shared, semaphores, ran, returned, spurious, _ = state

        def put(place: int, value: int) -> Any:
            new = (*shared[:place], value, *shared[place + 1 :])
            return new, semaphores, ran, returned, spurious

        match step:
            case ("read", place):
                yield (shared[place],)
            case ("write", place, value):
                yield None, put(place, value)
            case ("replace", place, expected, value):
                same = shared[place] == expected
                yield int(same), put(place, value if same else shared[place])
            case ("add", place, value):
                yield shared[place], put(place, shared[place] + value)
            case ("xchg", place, value):
                yield shared[place], put(place, value)
            case ("free", answers):
                yield from ((answer,) for answer in answers)
            case ("post" | "wait", which):
                change = 1 if step[0] == "post" else -1
                if semaphores[which] + change >= 0:
                    new = list(semaphores)
                    new[which] += change
                    yield 0, (shared, tuple(new), ran, returned, spurious)
                elif spurious:
                    yield 0, (shared, semaphores, ran, returned, spurious - 1)
            case ("run", function, block, part):
                job = function - ENTRIES
                if block != BLOCKS + 4096 * job:
                    raise Wrong(f"a part of job {job} runs with the arguments of another")
                if job in returned:
                    raise Wrong(f"a part of job {job} runs after the launch returned")
                if ran[job] >> part & 1:
                    raise Wrong(f"part {part} of job {job} runs twice")
                new_ran = (*ran[:job], ran[job] | 1 << part, *ran[job + 1 :])
                yield 0, (shared, semaphores, new_ran, returned, spurious)
            case ("end", value) if jobs:
                if value or ran[jobs[0]] != (1 << self.parts[jobs[0]]) - 1:
                    raise Wrong(
                        f"the launch of job {jobs[0]} returned {value} before all parts ran"
                    )
                yield 0, (shared, semaphores, ran, tuple(sorted((*returned, jobs[0]))), spurious)


def _words(step: Step) -> str:
    """A step, for people."""
    if step[0] in ("read", "write", "replace", "add", "xchg"):
        return f"{step[0]} {SHARED[step[1]]} {step[2:]}"
    return str(step)
