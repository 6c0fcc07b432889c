"""Pages of other sites that attack Framemill, and a name that moves from one server to another."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Tries everything that a page can do without its user, against the address in ``base``. Returns what worked.
ATTACK = """
const [base, jobId] = arguments;
const worked = {};
const note = (name, value) => { worked[name] = value; };
const job = JSON.stringify({model: "tiny-image", prompt: "x"});
const after = (element, ms = 5000) => new Promise((resolve) => {
  element.onload = () => resolve("load");
  element.onerror = () => resolve("error");
  setTimeout(() => resolve("nothing"), ms);
});
const fetched = (path, options) => fetch(base + path, options).then((response) => response.status, () => "error");
const blindly = (path, body) => fetch(base + path, {method: "POST", mode: "no-cors", body}).catch(() => {});
const added = (tag, values) => {
  const element = Object.assign(document.createElement(tag), values);
  document.body.append(element);
  return element;
};
const framed = async (method, enctype, path, fields) => {
  const frame = added("iframe", {name: enctype + path});
  const form = added("form", {method, enctype, action: base + path, target: frame.name});
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), {name, value}));
  }
  const loaded = after(frame);
  form.submit();
  await loaded;
};
return (async () => {
  note("read", await fetched("/v1/jobs"));
  note("json", await fetched("/v1/jobs", {method: "POST", headers: {"Content-Type": "application/json"}, body: job}));
  note("text", await fetched("/v1/jobs", {method: "POST", headers: {"Content-Type": "text/plain"}, body: job}));
  note("options", await fetched("/sdapi/v1/options", {method: "POST", body: "{}"}));
  await blindly("/v1/jobs", job);
  await blindly("/v1/admin/keys", '{"service": "evil", "role": "admin"}');
  await blindly("/v1/admin/pause", "{}");
  navigator.sendBeacon(base + "/v1/jobs", job);
  await framed("post", "text/plain", "/v1/jobs", {'{"model": "tiny-image", "prompt": "': '"}'});
  await framed("post", "application/x-www-form-urlencoded", "/v1/jobs", {prompt: "x"});
  await framed("post", "multipart/form-data", "/v1/tasks/", {prompt: "x"});
  await framed("get", "application/x-www-form-urlencoded", "/draw", {prompt: "x", wait_for_result: "false"});
  await after(added("img", {src: base + "/draw?prompt=x&wait_for_result=false"}));
  note("picture", await after(added("img", {src: base + "/v1/jobs/" + jobId + "/result"})));
  note("script", await after(added("script", {src: base + "/docs/static/start.js"})));
  note("socket", await new Promise((resolve) => {
    const socket = new WebSocket(new URL(base + "/ws/telegram", location.href).href.replace("http", "ws"));
    socket.onopen = () => { socket.send('{"message_type": "info"}'); };
    socket.onmessage = (event) => resolve(JSON.parse(event.data).message_type);
    socket.onclose = () => resolve("closed");
  }));
  note("events", await new Promise((resolve) => {
    const events = new EventSource(base + "/v1/events");
    events.onopen = () => { events.close(); resolve("open"); };
    events.onerror = () => { events.close(); resolve("error"); };
  }));
  note("delete", await fetched("/v1/jobs/" + jobId, {method: "DELETE"}));
  return worked;
})();
"""

_PAGE = b"<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>A page</title><body>cats</body>"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def page(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serve an empty page; yield its port."""
    with ThreadingHTTPServer((host, port), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


class Rebinding:
    """A forwarder behind made-up names: to the page first, to the server on 127.0.0.1 after :meth:`rebind`.

    An attacker's name server would answer with another address. Here the address stays and its target changes.
    Browser and server see the same either way: an origin whose host is now Framemill.
    """

    def __init__(self, host: str, port: int, page_port: int) -> None:
        self._port, self._far_port = port, page_port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((host, port))
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def rebind(self) -> None:
        """Forward to the server from now on, on connections that the browser keeps as well."""
        self._far_port = self._port
        self._end_all()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._end_all()
        for thread in self._threads:
            thread.join(10)
        for one in (self._listener, *self._open):
            one.close()

    def _end_all(self) -> None:
        for one in self._open:
            _end(one)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._far_port))
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    thread = threading.Thread(target=_copy, args=(source, target))
                    self._threads.append(thread)
                    thread.start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _end(target)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
