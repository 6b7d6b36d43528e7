"""URLs that somebody else gives lead to public addresses only, however they are spelled."""

import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import pytest

from catdog_pl.models.basic import Basic
from catdog_pl.serve.app import Settings
from tests.serve.clients import GOOD, Rude, wait_for
from tests.serve.conftest import rude

pytestmark = pytest.mark.usefixtures("unharmed")


class Trap(socketserver.ThreadingTCPServer):
    """A host that redirects to wherever the path says, or gives a picture; it knows who came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.paths: list[str] = []
        self.port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some of these tests want."""


class Door(socketserver.StreamRequestHandler):
    server: Trap

    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode("latin-1")
        self.server.paths.append(path)
        if path == "/slow":
            time.sleep(0.7)
        if path.startswith("/to:"):
            answer = b"302 Found\r\nLocation: " + path[4:].encode("latin-1")
        else:
            answer = b"200 OK"
        self.wfile.write(b"HTTP/1.1 " + answer + b"\r\nConnection: close\r\n\r\n" + GOOD)


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield found
        found.shutdown()


PATHS = ["/v1/predict", "/v1/explain"]
PUBLIC = "93.184.215.14"


@pytest.fixture
def names(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The world: names and the addresses that they have, look-up by look-up; the public one is the trap."""
    known = {"public.example": [PUBLIC], "private.example": ["10.0.0.7"], "mixed.example": [PUBLIC, "::1"]}
    look_up, connect = socket.getaddrinfo, socket.create_connection

    def found(host: str, port: Any, *args: Any, **options: Any) -> Any:
        if host == "rebind.example":
            addresses = [PUBLIC if known.setdefault("asked", []) == [] else "127.0.0.1"]
            known["asked"] += addresses
        elif host in known:
            addresses = known[host]
        elif (
            host.strip("[]").replace(".", "").isdecimal()
            or "localhost" in host
            or ":" in host
            or host[:2] == "0x"
        ):
            return look_up(host, port, *args, **options)
        else:
            raise socket.gaierror(8, "nodename nor servname provided")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    def connected(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        return connect(("127.0.0.1", trap.port) if address[0] == PUBLIC else address, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(socket, "create_connection", connected)
    return known


PRIVATE_HOSTS = [
    "127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0.0.1",
    "017700000001", "0177.0.0.1", "127.0.0.1.", "127.255.255.254", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]", "[fe80::1%25lo]", "[fe80::1%lo]", "[fd00::1]", "[ff02::1]", "localhost", "LOCALHOST",
    "localhost.", "169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.2.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "private.example", "PRIVATE.example",
    "mixed.example", "\u2460\u2461\u2466.\uff10.\uff10.\uff11", "127\u30020\u30020\u30021",
    "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54",
    "%31%32%37.0.0.1", "127.0.0.1%00.public.example", "127.0.0.1\t", "\u0661\u0662\u0667.0.0.1",
    "public.example@127.0.0.1", "public.example:80@127.0.0.1", "127.0.0.1\\@public.example",
    "127.0.0.1\\.public.example", "public.example#@127.0.0.1", "public.example?@127.0.0.1",
    "127.0.0.1;public.example", "127.0.0.1 public.example", "127.0.0.1\r\nHost: public.example",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_no_spelling_leads_to_a_private_address(
    host: str, served: Rude, trap: Trap, names: dict[str, list[str]]
) -> None:
    answer = served.ask_url(f"http://{host}:{trap.port}/secret")
    if answer.status == 200:  # the public host was asked, for what stands before # or ?
        assert "public.example" in host
        assert trap.paths in (["/"], [f"/?@127.0.0.1:{trap.port}/secret"])
        return
    status, detail, fault = answer.problem
    assert (status, fault) == (422, "missing")
    assert re.search("is not a public address|cannot be resolved|not a valid URL|connection failed", detail)
    assert trap.paths == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "file:/x", "ftp://127.0.0.1/", "gopher://127.0.0.1/_x", "unix:///x.sock",
     "http+unix://%2Fx.sock/", "jar:http://127.0.0.1!/", "//127.0.0.1/", "/etc/passwd", "-", "", "http:",
     "http:/127.0.0.1", "http:127.0.0.1", "HTTP:\\\\127.0.0.1", " http://127.0.0.1/", "javascript:alert(1)",
     "blob:http://127.0.0.1/", "view-source:http://127.0.0.1", "dict://127.0.0.1:11211/", "php://filter"],
)  # fmt: skip
def test_other_schemes_are_refused(url: str, served: Rude, names: dict[str, list[str]]) -> None:
    status, detail, fault = served.ask_url(url).problem
    assert (status, fault) == (422, "missing")
    assert detail.endswith(" is not supported; valid are http, https and data")


REDIRECTS = [
    "http://127.0.0.1:{port}/secret", "http://localhost:{port}/secret", "//127.0.0.1:{port}/secret",
    "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://private.example/",
    "http://2130706433:{port}/", "https://127.0.0.1:{port}/", "file:///etc/passwd", "ftp://127.0.0.1/",
    "data:image/png;base64,AAAA", "gopher://127.0.0.1:{port}/", "http://0:{port}/",
]  # fmt: skip


@pytest.mark.parametrize("target", REDIRECTS)
def test_no_redirect_leads_to_a_private_address(
    target: str, served: Rude, trap: Trap, names: dict[str, list[str]]
) -> None:
    assert served.ask_url("http://public.example/x.png").status == 200, "the public host answers"
    target = target.format(port=trap.port)
    status, detail, fault = served.ask_url(f"http://public.example/to:{target}").problem
    assert (status, fault) == (422, "missing")
    assert re.search("is not a public address|only http and https are followed|not a valid URL", detail)
    assert [unquote(path) for path in trap.paths] == ["/x.png", f"/to:{target}"]


def test_a_name_is_looked_up_once(served: Rude, trap: Trap, names: dict[str, list[str]]) -> None:
    """DNS rebinding: what is asked is the address that was checked, not that of a second look-up."""
    assert served.ask_url(f"http://rebind.example:{trap.port}/x.png").status == 200
    assert names["asked"] == [PUBLIC]
    assert served.ask_url(f"http://rebind.example:{trap.port}/x.png").problem[0] == 422
    assert trap.paths == ["/x.png"]


def test_a_slow_host_holds_up_nobody_else(served: Rude, trap: Trap, names: dict[str, list[str]]) -> None:
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(served.ask_url, "http://public.example/slow", path) for path in PATHS]
        wait_for(lambda: len(trap.paths) == 2)
        assert [served.ask(path, GOOD).status for path in PATHS] == [200, 200]
        assert not any(answer.done() for answer in slow)
        assert [answer.result().status for answer in slow] == [200, 200]


def test_slow_hosts_leave_room_for_what_is_sent(
    network: Basic, trap: Trap, names: dict[str, list[str]]
) -> None:
    with rude(network, Settings(capacity=4)) as full, ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(full.ask_url, "http://public.example/slow", path) for path in PATHS]
        wait_for(lambda: len(trap.paths) == 2)
        assert full.ask_url("http://public.example/").problem[0] == 503
        assert full.ask(body=GOOD).status == full.ask("/readyz").status == 200
        assert [answer.result().status for answer in slow] == [200, 200]
        assert full.ask_url("http://public.example/").status == 200


@pytest.mark.parametrize("path", PATHS)
def test_secrets_in_urls_are_hidden(path: str, served: Rude, names: dict[str, list[str]]) -> None:
    url = "http://me:secret@private.example/x.png?key=secret#secret"
    answer = served.ask_url(url, path)
    assert answer.problem[1].startswith(
        "http://***@private.example/x.png?key=***: private.example is not a public"
    )
    assert b"secret" not in served.ask("/metrics").body


def test_line_breaks_in_urls_send_no_second_request(
    served: Rude, trap: Trap, names: dict[str, list[str]]
) -> None:
    answers = [
        served.ask_url(f"http://public.example/{tail}").status
        for tail in ("\r\nX: y", "?a\r\n\r\nGET /second", "%0d%0aX: y", "\u560d\u560aX: y", "\0")
    ]
    assert set(answers) <= {200, 422}
    assert all(re.fullmatch(r"/[!-~]*", path) for path in trap.paths)
    assert "/second" not in trap.paths
