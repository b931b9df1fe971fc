"""Servers under test, and gates: what a handler of examples/portable.rs waits for."""

import atexit
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

# The longest wait for anything, in seconds. Only what is broken takes so long.
LIMIT = 60

TESTS = pathlib.Path(__file__).parent

# Whoever runs this in the background may have it ignore Ctrl-C, and with it all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Gate:
    """Where handlers connect to, and wait for their steps."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT)
        self.handlers = []
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        return self

    def __exit__(self, *_):
        for handler in self.handlers:
            handler.finish()
        self.listener.close()

    def accept(self):
        """A handler that has come here."""
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT)
        self.handlers.append(Handler(connection))
        return self.handlers[-1]


class Handler:
    """A handler at work, as its gate sees it."""

    def __init__(self, connection):
        self.connection = connection

    def step(self):
        self.connection.sendall(b".")

    def finish(self):
        self.connection.close()

    def is_dropped(self):
        """Waits for its end. A handler sends nothing, so whatever comes is that."""
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True

    def step_until_dropped(self):
        """Steps on, since some servers notice only when they send that nobody is there."""
        deadline = time.monotonic() + LIMIT
        self.connection.settimeout(0.05)
        while time.monotonic() < deadline:
            try:
                self.step()
                if self.connection.recv(1) == b"":
                    return True
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                return True
        return False


class Server:
    """A server in a process of its own, which answers at `port`. To be closed."""

    def __init__(self, words):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = [word.format(port=self.port) for word in words]
        self.log = tempfile.TemporaryFile()
        # A group of its own, so that its workers end with it.
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            cwd=TESTS, start_new_session=True,
        )
        # Also where whoever runs the tests has lost patience.
        atexit.register(self.close)
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def wait_until_it_answers(self):
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), LIMIT).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.01)
        raise AssertionError(f"{self.process.args} does not answer:\n{self.said()}")

    def interrupt(self):
        """As Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def close(self):
        atexit.unregister(self.close)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


def reset(connection):
    """Leaves as a client does that has crashed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def program(name):
    """A program of the environment that these tests run in."""
    return str(pathlib.Path(sys.prefix) / "bin" / name)
