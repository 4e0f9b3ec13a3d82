"""A small process on each host that says which rank has ended without a word.

Run as a file by `watch.Watch`, without imports of the package. Its standard input is a socket to
which each rank of the host connects, sending what is to be said if it dies, and a line break. When
a rank ends, however that is, its connection does, and the system tells of these ends in their
order: of ranks that all die, as the launcher kills them, the first is named. A ``.`` before the end
says that it is meant. Who is about to say itself why the run ends asks with a ``?``; the answer is
``1`` for the first who asks, and ``0`` for the others: then it is said.
"""

import os
import selectors
import signal
import socket

GOODBYE, MAY_I, YES, NO = b".", b"?", b"1", b"0"
_PATIENCE = 60.0  # seconds for the first rank, and for one more where none is left


class Guardian:
    """Listens to the ranks of a host."""

    def __init__(self, listener: socket.socket) -> None:
        self.said = False
        self.heard: dict[socket.socket, bytes] = {}  # of each rank that is connected
        self.listener, self.selector = listener, selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Return when all ranks have ended."""
        came = False
        while self.heard or not came:
            ready = self.selector.select(_PATIENCE)
            if not ready and not self.heard:
                return
            for key, _ in ready:
                if key.fileobj is self.listener:
                    rank, _ = self.listener.accept()
                    self.heard[rank], came = b"", True
                    self.selector.register(rank, selectors.EVENT_READ)
                else:
                    self.hear(key.fileobj)  # type: ignore[arg-type]

    def hear(self, rank: socket.socket) -> None:
        """Take what a rank says, or its end."""
        try:
            got = rank.recv(4096)
        except OSError:  # it ended before it had read an answer
            got = b""
        if not got:
            self.selector.unregister(rank)
            rank.close()
            text, _, after = self.heard.pop(rank).partition(b"\n")
            if not after.endswith(GOODBYE) and self.is_first():
                os.write(2, b"tinygrad_cnn: " + text + b"\n")
            return
        self.heard[rank] += got
        if got.endswith(MAY_I):
            rank.send(YES if self.is_first() else NO)

    def is_first(self) -> bool:
        """Whether nobody has said why the run ends; from now on somebody has."""
        before, self.said = self.said, True
        return not before


def main() -> None:
    """Go on as a process of nobody's, and listen."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the ranks
    if os.fork():
        os._exit(0)
    Guardian(socket.socket(fileno=os.dup(0))).run()


if __name__ == "__main__":
    main()
