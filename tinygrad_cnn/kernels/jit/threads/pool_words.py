"""Where `pool` and `entry`, in Python, and the machine code of `pool_code` have common words."""

from __future__ import annotations

# Places in the state, in bytes; what different threads write is on different cache lines. WAIT and
# POST are addresses of functions; their semaphores' words follow: for workers, for the launch.
TICKET, DONE, FUNCTION, BLOCK, SLEEPING, WAITING, BUSY = 0, 64, 128, 136, 192, 256, 320
STOP, SPINS, WAIT, POST, IDLE, LAUNCHED = 384, 392, 400, 408, 416, 424
LONG = 432  # ticks of a part from which on a job is long
YIELD, TURNS = 440, 448  # address of a function; how often it is called before a worker sleeps
STATE_BYTES = 512

# A block begins with the addresses of the state and of a table, and the number of parts. The table
# has the entry's address, a count, and so many times `ARRAY_WORDS` words, by which an array among
# the arguments is recognised: where its address is in the block, the type of the object, its dtype
# (the first fields of NumPy's PyArray_Descr) and its number of axes and flags.
ARGUMENTS = 3
ARRAY_WORDS = 4
CHECKED_FLAGS = 0x101  # C-contiguous, aligned
DESCRIPTION = ~(0xFF << 24)  # of the dtype's first 8 bytes: all but unused flags

OTHER_TYPES = 1  # what `launch` returns if not 0

HEAD = object.__basicsize__
FUNCTIONS = ("launch", "work", "spin", "replay", "compare")

# An instruction of a program has four words: what to do, and three addresses or counts.
INSTRUCTION_WORDS = 4
LAUNCH = 0  # the block at the first address
EXPECT = 1  # that bytes at two addresses are the same, so many
COUNT = 2  # one more at the first address, a word
# An array object's address stands at the second one. From (to) its numbers, so many bytes are
FETCH = 3  # copied to the first address
DELIVER = 4  # filled with those at the first address
