"""Stores: small dictionaries that all processes of a world share, for their first meeting.

Names and meaning are PyTorch's: keys are strings, values bytes; `get` and `wait` wait until a key is there. A TCPStore
is served by one process, a FileStore lies in a file that all can reach, a HashStore is one process's own. Nothing that
comes over a socket is unpickled or run; as with PyTorch's store there is no password, so a store belongs in a network
whose machines are trusted. It listens on the loopback interface alone where that is the address it was given.
"""

from __future__ import annotations

import datetime
import os
import socket
import struct
import threading
import time
from typing import Any

from .base import DistNetworkError, DistStoreError

__all__ = ["FileStore", "HashStore", "PrefixStore", "Store", "TCPStore", "seconds"]

_DEFAULT = datetime.timedelta(seconds=300)
_PAUSE = 0.01


def seconds(timeout: Any) -> float:
    """A timedelta, or a number of seconds, as a number of seconds."""
    return timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else float(timeout)


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


class Store:
    """What all stores can do; a subclass keeps the values."""

    def __init__(self) -> None:
        self.timeout: Any = _DEFAULT

    def set_timeout(self, timeout: Any) -> None:
        """How long `get` and `wait` wait where they are not told."""
        self.timeout = timeout

    def set(self, key: str, value: Any) -> None:
        """Store `value`, a string or bytes, under `key`."""
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        """The value of `key`, once it is there; DistStoreError after the store's timeout."""
        raise NotImplementedError

    def add(self, key: str, amount: int) -> int:
        """Add to the whole number under `key` (0 where there is none), and return the sum."""
        raise NotImplementedError

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        """Set `key` to the desired value if it has the expected one, or is missing and "" is expected."""
        raise NotImplementedError

    def check(self, keys: list[str]) -> bool:
        """Whether all of `keys` are there."""
        raise NotImplementedError

    def delete_key(self, key: str) -> bool:
        """Remove `key`; whether it was there."""
        raise NotImplementedError

    def num_keys(self) -> int:
        """How many keys there are."""
        raise NotImplementedError

    def append(self, key: str, value: Any) -> None:
        """Add bytes behind those of `key`."""
        raise NotImplementedError

    def wait(self, keys: list[str], timeout: Any = None) -> None:
        """Wait until all of `keys` are there; DistStoreError, with those that are missing, after the timeout."""
        limit = seconds(self.timeout if timeout is None else timeout)
        end = time.monotonic() + limit
        while not self.check(keys):
            if time.monotonic() > end:
                raise _missing([k for k in keys if not self.check([k])], limit)
            time.sleep(_PAUSE)

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """The values of several keys."""
        return [self.get(key) for key in keys]

    def multi_set(self, keys: list[str], values: list[Any]) -> None:
        """Set several keys."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)


def _missing(keys: list[str], limit: float) -> DistStoreError:
    return DistStoreError(f"wait timeout after {limit:g}s, keys: {', '.join(keys)}")


class _Table:
    """Keys and values under a lock; what a HashStore is, and what the server of a TCPStore keeps."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.changed = threading.Condition()

    def set(self, key: str, value: bytes) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def append(self, key: str, value: bytes) -> None:
        with self.changed:
            self.values[key] = self.values.get(key, b"") + value
            self.changed.notify_all()

    def add(self, key: str, amount: int) -> int:
        with self.changed:
            total = int(self.values.get(key, b"0")) + amount
            self.values[key] = str(total).encode()
            self.changed.notify_all()
            return total

    def compare_set(self, key: str, expected: bytes, desired: bytes) -> bytes:
        with self.changed:
            old = self.values.get(key)
            if old == expected or (old is None and not expected):
                self.values[key] = desired
                self.changed.notify_all()
                return desired
            return expected if old is None else old

    def delete(self, key: str) -> bool:
        with self.changed:
            return self.values.pop(key, None) is not None

    def wait(self, keys: list[str], limit: float) -> list[str]:
        """Wait for `keys`; those that did not come."""
        with self.changed:
            self.changed.wait_for(lambda: all(k in self.values for k in keys), limit)
            return [k for k in keys if k not in self.values]

    def get(self, key: str) -> bytes:
        with self.changed:
            return self.values[key]

    def keys(self) -> list[str]:
        with self.changed:
            return list(self.values)


class HashStore(Store):
    """A store within one process, for its threads."""

    def __init__(self) -> None:
        super().__init__()
        self._table = _Table()

    def set(self, key: str, value: Any) -> None:
        self._table.set(key, _bytes(value))

    def append(self, key: str, value: Any) -> None:
        self._table.append(key, _bytes(value))

    def get(self, key: str) -> bytes:
        self.wait([key])
        return self._table.get(key)

    def add(self, key: str, amount: int) -> int:
        return self._table.add(key, amount)

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        return self._table.compare_set(key, _bytes(expected_value), _bytes(desired_value))

    def check(self, keys: list[str]) -> bool:
        return set(keys) <= set(self._table.keys())

    def delete_key(self, key: str) -> bool:
        return self._table.delete(key)

    def num_keys(self) -> int:
        return len(self._table.keys())

    def wait(self, keys: list[str], timeout: Any = None) -> None:
        limit = seconds(self.timeout if timeout is None else timeout)
        if missing := self._table.wait(list(keys), limit):
            raise _missing(missing, limit)


class FileStore(Store):
    """A store in a file that all processes can reach: a journal of what was set, which each of them reads on.

    file_name: its path. `world_size` is kept; the file stays when the processes end, and must not be there when the
    next ones begin.
    """

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        super().__init__()
        self.path, self.world_size = os.fspath(file_name), world_size
        self._values: dict[str, bytes] = {}
        self._read = 0

    def _locked(self, change: Any = None) -> Any:
        """Read the journal on; with `change`, a function that returns (key, value or None, result), write to it."""
        import fcntl

        with open(self.path, "a+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            file.seek(self._read)
            data, at = file.read(), 0
            while at < len(data):
                kind, nkey, nvalue = struct.unpack_from("!BQQ", data, at)
                at += 17
                key, value = data[at : at + nkey].decode(), data[at + nkey : at + nkey + nvalue]
                at += nkey + nvalue
                if kind:
                    self._values[key] = value
                else:
                    self._values.pop(key, None)
            self._read += len(data)
            if change is None:
                return None
            key, value, result = change(self._values)
            if key is not None:
                raw = key.encode()
                file.write(struct.pack("!BQQ", value is not None, len(raw), len(value or b"")) + raw + (value or b""))
            return result

    def set(self, key: str, value: Any) -> None:
        self._locked(lambda _: (key, _bytes(value), None))

    def append(self, key: str, value: Any) -> None:
        self._locked(lambda values: (key, values.get(key, b"") + _bytes(value), None))

    def get(self, key: str) -> bytes:
        self.wait([key])
        return self._values[key]

    def add(self, key: str, amount: int) -> int:
        def change(values: dict[str, bytes]) -> Any:
            total = int(values.get(key, b"0")) + amount
            return key, str(total).encode(), total

        return int(self._locked(change))

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        expected, desired = _bytes(expected_value), _bytes(desired_value)

        def change(values: dict[str, bytes]) -> Any:
            old = values.get(key)
            if old == expected or (old is None and not expected):
                return key, desired, desired
            return None, None, expected if old is None else old

        return bytes(self._locked(change))

    def check(self, keys: list[str]) -> bool:
        self._locked()
        return all(key in self._values for key in keys)

    def delete_key(self, key: str) -> bool:
        return bool(self._locked(lambda values: (key, None, True) if key in values else (None, None, False)))

    def num_keys(self) -> int:
        self._locked()
        return len(self._values)


class PrefixStore(Store):
    """Another store, with `prefix` and a slash before each key."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__()
        self.prefix, self.underlying_store, self.timeout = prefix, store, store.timeout

    def _of(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def set(self, key: str, value: Any) -> None:
        self.underlying_store.set(self._of(key), value)

    def append(self, key: str, value: Any) -> None:
        self.underlying_store.append(self._of(key), value)

    def get(self, key: str) -> bytes:
        self.wait([key])
        return self.underlying_store.get(self._of(key))

    def add(self, key: str, amount: int) -> int:
        return self.underlying_store.add(self._of(key), amount)

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        return self.underlying_store.compare_set(self._of(key), expected_value, desired_value)

    def check(self, keys: list[str]) -> bool:
        return self.underlying_store.check([self._of(key) for key in keys])

    def delete_key(self, key: str) -> bool:
        return self.underlying_store.delete_key(self._of(key))

    def num_keys(self) -> int:
        return self.underlying_store.num_keys()

    def wait(self, keys: list[str], timeout: Any = None) -> None:
        limit = self.timeout if timeout is None else timeout
        self.underlying_store.wait([self._of(key) for key in keys], limit)


# -- over TCP ---------------------------------------------------------------------------------------------------------

_SET, _GET, _ADD, _COMPARE, _CHECK, _DELETE, _COUNT, _WAIT, _APPEND = range(9)


def read(connection: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes; ConnectionError where the other side has gone."""
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise ConnectionError("the other side closed the connection")
        parts += part
    return bytes(parts)


def _send(connection: socket.socket, code: int, *fields: bytes) -> None:
    head = struct.pack(f"!BI{len(fields)}Q", code, len(fields), *map(len, fields))
    connection.sendall(head + b"".join(fields))


def _receive(connection: socket.socket) -> tuple[int, list[bytes]]:
    code, count = struct.unpack("!BI", read(connection, 5))
    sizes = struct.unpack(f"!{count}Q", read(connection, 8 * count))
    return code, [read(connection, size) for size in sizes]


class _Server:
    """The side of a TCPStore that keeps the values: a thread for each client."""

    def __init__(self, host: str, port: int, listener: socket.socket | None = None) -> None:
        self.table = _Table()
        try:
            self.socket = listener or listen(host, port)
        except OSError as error:
            raise DistNetworkError(f"the store cannot listen on {host}:{port}: {error}") from error
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, name="chainrule-store", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while True:
                    code, fields = _receive(connection)
                    _send(connection, 0, *self._answer(code, fields))
            except (OSError, struct.error, ValueError, IndexError):
                return  # the client has gone, or is none

    def _answer(self, code: int, fields: list[bytes]) -> list[bytes]:
        table, key = self.table, fields[0].decode() if fields else ""
        if code == _SET:
            table.set(key, fields[1])
        elif code == _APPEND:
            table.append(key, fields[1])
        elif code == _GET:
            return [table.get(key)] if key in table.keys() else []  # noqa: SIM118  a method of ours, under a lock
        elif code == _ADD:
            return [str(table.add(key, int(fields[1]))).encode()]
        elif code == _COMPARE:
            return [table.compare_set(key, fields[1], fields[2])]
        elif code == _DELETE:
            return [b"1" if table.delete(key) else b"0"]
        elif code == _COUNT:
            return [str(len(table.keys())).encode()]
        elif code == _WAIT:
            return [k.encode() for k in table.wait([f.decode() for f in fields[1:]], float(fields[0]))]
        return []

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # the thread in accept() would keep the port
        except OSError:
            pass
        self.socket.close()


def loopback(host: str) -> bool:
    """Whether a host's name says that all happens on this machine. A machine's own name does not: many machines have
    it stand for 127.0.1.1, and others are to reach it all the same.
    """
    return host == "localhost" or host.startswith("127.")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the loopback interface where `host` is there, otherwise on all."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((socket.gethostbyname(host) if loopback(host) else "", port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def connect(host: str, port: int, limit: float) -> socket.socket:
    """A connection; tried again for `limit` seconds while nobody listens there yet."""
    end = time.monotonic() + limit
    while True:
        try:
            connection = socket.create_connection((host, port), max(0.1, end - time.monotonic()))
            break
        except OSError as error:
            if time.monotonic() > end:
                raise DistNetworkError(
                    f"The client socket has timed out after {limit:g}s while trying to connect to ({host}, {port}): "
                    f"{error}"
                ) from error
            time.sleep(0.05)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class TCPStore(Store):
    """A store that the process with `is_master=True` serves at `host_name`:`port` (0: any free one; see `.port`).

    wait_for_workers: return when `world_size` processes have come, where that is given. Source of names: PyTorch's.
    timeout: of its waits, by default 5 minutes. multi_tenant and use_libuv are PyTorch's, without effect;
    master_listen_fd: a socket that listens already.
    """

    def __init__(
        self,
        host_name: str,
        port: int = 0,
        world_size: int | None = None,
        is_master: bool = False,
        timeout: Any = _DEFAULT,
        wait_for_workers: bool = True,
        multi_tenant: bool = False,
        master_listen_fd: int | None = None,
        use_libuv: bool = True,
    ) -> None:
        super().__init__()
        self.host, self.timeout, self.world_size = host_name, timeout, world_size
        self._server: _Server | None = None
        if is_master:
            given = None if master_listen_fd is None else socket.socket(fileno=master_listen_fd)
            self._server = _Server(host_name, port, given)
            port = self._server.port
        self.port = port
        self._lock = threading.Lock()
        self._socket = connect(host_name, port, seconds(timeout))
        if wait_for_workers and world_size is not None and world_size > 0:
            self.add("init/", 1)
            end = time.monotonic() + seconds(timeout)
            while (here := self.add("init/", 0)) < world_size:
                if time.monotonic() > end:
                    self.close()
                    raise DistStoreError(
                        f"Timed out after {seconds(timeout):g} seconds waiting for clients. {here}/{world_size} "
                        "clients joined."
                    )
                time.sleep(_PAUSE)

    @property
    def is_master(self) -> bool:
        """Whether this process serves it."""
        return self._server is not None

    def _ask(self, code: int, *fields: bytes) -> list[bytes]:
        try:
            with self._lock:
                _send(self._socket, code, *fields)
                return _receive(self._socket)[1]
        except OSError as error:
            raise DistNetworkError(f"the store at {self.host}:{self.port} does not answer: {error}") from error

    def set(self, key: str, value: Any) -> None:
        self._ask(_SET, key.encode(), _bytes(value))

    def append(self, key: str, value: Any) -> None:
        self._ask(_APPEND, key.encode(), _bytes(value))

    def get(self, key: str) -> bytes:
        while not (found := self._ask(_GET, key.encode())):
            self.wait([key])
        return found[0]

    def add(self, key: str, amount: int) -> int:
        return int(self._ask(_ADD, key.encode(), str(amount).encode())[0])

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        return self._ask(_COMPARE, key.encode(), _bytes(expected_value), _bytes(desired_value))[0]

    def check(self, keys: list[str]) -> bool:
        return not self._ask(_WAIT, b"0", *[key.encode() for key in keys])

    def delete_key(self, key: str) -> bool:
        return self._ask(_DELETE, key.encode())[0] == b"1"

    def num_keys(self) -> int:
        return int(self._ask(_COUNT)[0])

    def wait(self, keys: list[str], timeout: Any = None) -> None:
        limit = seconds(self.timeout if timeout is None else timeout)
        if missing := self._ask(_WAIT, str(limit).encode(), *[key.encode() for key in keys]):
            raise _missing([key.decode() for key in missing], limit)

    def close(self) -> None:
        """End the connection, and the service where this process gives it."""
        self._socket.close()
        if self._server is not None:
            self._server.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()
