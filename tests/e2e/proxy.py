"""A TCP proxy on loopback that can hold back what the server sends, or let it through slowly."""

import socket
import threading
import time

from process import free_port


class Proxy:
    def __init__(self, to_port):
        self.port = free_port()
        self._to = ("127.0.0.1", to_port)
        self._open = threading.Event()
        self._open.set()
        self._bytes_per_s = 0  # 0: as fast as it comes
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self):
        """Connections are taken, and nothing comes back on any."""
        self._open.clear()

    def release(self, bytes_per_s=0):
        self._bytes_per_s = bytes_per_s
        self._open.set()

    def close(self):
        self._listener.close()
        self._open.set()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to, 10)
                server.settimeout(None)
            except OSError:
                return
            for source, sink, back in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, back), daemon=True).start()

    def _pass_on(self, source, sink, back):
        try:
            while data := source.recv(32768):
                if back:
                    self._open.wait()
                    if self._bytes_per_s:
                        time.sleep(len(data) / self._bytes_per_s)
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
