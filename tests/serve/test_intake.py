"""Forms and JSON of every kind: pictures, or one problem document."""

import gzip
import json
import time

import pytest

from tests.serve.clients import GOOD, LIMIT, Rude, form, pictures_form

pytestmark = pytest.mark.usefixtures("unharmed")
# Forms


def parts(count: int, head: str = '; name="a"', content: bytes = b"") -> tuple[bytes, str]:
    return form(*[(head, content)] * count)


NO_FILE = "the form has no field file with a picture"
TOO_MANY = "the form cannot be read: Too many f"
BROKEN = "the form cannot be read: "
CUT = f"{BROKEN}it ends before its last boundary"
FORMS: dict[str, tuple[tuple[bytes, str], int, str]] = {
    "empty": ((b"", "multipart/form-data; boundary=limit"), 400, CUT),
    "no boundary": ((form(("", GOOD))[0], "multipart/form-data"), 400, f"{BROKEN}Missing boundary"),
    "empty boundary": ((form(("", GOOD))[0], "multipart/form-data; boundary="), 400, BROKEN),
    "wrong boundary": ((pictures_form(GOOD)[0], "multipart/form-data; boundary=other"), 400, BROKEN),
    "boundary of 10 kB": ((GOOD, f"multipart/form-data; boundary={'a' * 10_000}"), 400, BROKEN),
    "nothing but its end": (form(), 422, NO_FILE),
    "no field file": (form(('; name="picture"; filename="x.png"', GOOD)), 422, NO_FILE),
    "the file as text": (form(('; name="file"', b"x")), 422, NO_FILE),
    "no name": (form(('; filename="x.png"', GOOD)), 400, f"{BROKEN}The Content-Disposition"),
    "no disposition": ((b"--limit\r\n\r\nx\r\n--limit--\r\n", form()[1]), 400, BROKEN),
    "33 files": (pictures_form(*[GOOD] * 33), 400, f"{TOO_MANY}iles. Maximum number of files is 32."),
    "10,000 fields": (parts(10_000), 400, f"{TOO_MANY}ields"),
    "empty parts, as many as fit": (parts(LIMIT // 60), 400, f"{TOO_MANY}ields"),
    "10,000 files": (parts(5_000, '; name="b"; filename="a"'), 400, f"{TOO_MANY}iles"),
    "delimiters only": ((b"--limit\r\n" * 90_000, form()[1]), 400, BROKEN),
    "line breaks only": ((b"\r\n" * (LIMIT // 2 - 9), form()[1]), 400, CUT),
    "hyphens only": ((b"\r\n--limi" * 100_000, form()[1]), 400, BROKEN),
    "a field of almost 1 MB": (parts(1, content=bytes(LIMIT - 200)), 422, NO_FILE),
    "a header of almost 1 MB": (form((f'; name="file"; a="{"b" * (LIMIT - 900)}"', GOOD)), 400, BROKEN),
    "10,000 headers": (form(('; name="file"' + "\r\nX: a" * 10_000, GOOD)), 400, BROKEN),
    "a file name of almost 1 MB": (pictures_form(GOOD, name="a" * (LIMIT - 900)), 400, BROKEN),
    "closed in the middle": ((pictures_form(GOOD)[0][:-20], form()[1]), 400, CUT),
    "cut in a header": ((pictures_form(GOOD)[0][:30], form()[1]), 400, CUT),
    "closed in the second picture": ((pictures_form(GOOD, GOOD)[0][:-20], form()[1]), 400, CUT),
    "a form in the form": (
        form(('; name="file"; filename="x"', pictures_form(GOOD)[0])), 415, "x: it is damaged or not an im",
    ),
    "another form in the form": (
        form(('; name="file"; filename="x"', pictures_form(GOOD)[0].replace(b"limit", b"inner"))),
        415, "x: it is damaged or not an image",
    ),
    "picture in base64": (
        form(('; name="file"; filename="x"\r\nContent-Transfer-Encoding: base64', b"iVBORw0KGgo=")),
        415, "x: it is damaged or not an image",
    ),
    "no picture chosen": (form(('; name="file"; filename=""', b"")), 422, "picture: it is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "sentence"), FORMS.values(), ids=FORMS)
def test_forms_that_are_refused(body: tuple[bytes, str], status: int, sentence: str, served: Rude) -> None:
    started = time.monotonic()
    answer = served.ask(body=body[0], kind=body[1])
    assert answer.status == status
    assert answer.problem[1].startswith(sentence)
    assert time.monotonic() - started < 5


NAMES: dict[str, tuple[str, str]] = {
    "controls": ("a\x01\x1b[31m\x7f\tb", r"a\x01\x1b[31m\x7f\tb"),
    "NUL": ("a\0.png", r"a\x00.png"),
    "right to left": ("cat\u202egnp.exe", r"cat\u202egnp.exe"),
    "not UTF-8": ("\udcff\udcfe", "\u00ff\u00fe"),
    "surrogate": ("\udced\udca0\udc80", "\u00ed\\xa0\\x80"),
    "path": ("../../etc/passwd", "../../etc/passwd"),
    "Windows path": ("C:\\cats\\x.png", "x.png"),
    "URL with a password": ("https://me:secret@host/x?key=secret", "https://***@host/x?key=***"),
    "page": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "4,000 letters": ("a" * 4000, "a" * 200),
    "4,000 escapes": ("\x01" * 4000, "\\x01" * 50),
    "emoji": ("\U0001f431.png", "\U0001f431.png"),
}


@pytest.mark.parametrize(("name", "shown"), NAMES.values(), ids=NAMES)
def test_names_of_files(name: str, shown: str, served: Rude) -> None:
    body, kind = pictures_form(b"no picture", name=name)
    assert served.ask(body=body, kind=kind).problem[1].startswith(f"{shown}: it is damaged or not an image")


@pytest.mark.parametrize(
    "charset",
    ["ascii", "utf-16", "utf-7", "unicode_escape", "idna", "punycode", "undefined", "zlib", "rot13", "a\x7fb",
     "../x", "mbcs", "a" * 5000, "%00", "utf-8; charset=idna"],
)  # fmt: skip
def test_charsets_are_no_trap(charset: str, served: Rude) -> None:
    body, _ = pictures_form(GOOD, name="\udcff\udcfe..a\\ud800")
    answer = served.ask(body=body, kind=f'multipart/form-data; boundary=limit; charset="{charset}"')
    assert answer.status == 200 or answer.problem[0] in (400, 422)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity", "nonsense"])
@pytest.mark.parametrize("kind", ["image/png", "application/json", "multipart/form-data; boundary=limit"])
def test_packed_bodies_are_refused(kind: str, encoding: str, served: Rude) -> None:
    answer = served.ask(body=gzip.compress(GOOD), kind=kind, Content_Encoding=encoding)
    assert answer.problem[:2] == (
        415,
        f"Content-Encoding {encoding} is not supported; send the body as it is",
    )


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "video/mp4", "image", "multipart/mixed",
     "application/json+x", "\x7f", "a" * 10_000],
)  # fmt: skip
def test_other_kinds_of_bodies(kind: str, served: Rude) -> None:
    status, detail, _ = served.ask(body=GOOD, kind=kind).problem
    assert status == 415
    assert detail.startswith("Content-Type ")
    assert detail.endswith("and application/json with a url")


# JSON


def urls(count: int) -> bytes:
    return json.dumps({"url": ["data:,"] * count}).encode()


BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"cats",
    "cut": b'{"url": "ht',
    "100,000 brackets": b"[" * 100_000,
    "100,000 brackets in the URL": b'{"url": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": b'{"url": ' * 100_000,
    "a number": b"7",
    "a number of 100,000 digits": b'{"url": ' + b"9" * 100_000 + b"}",
    "1e999999": b'{"url": 1e999999}',
    "NaN": b'{"url": NaN}',
    "null": b'{"url": null}',
    "true": b'{"url": true}',
    "an object": b'{"url": {"url": "data:,"}}',
    "a list": b'["data:,"]',
    "no URL": b"{}",
    "another key": b'{"url": "data:,", "more": 1}',
    "50,000 other keys": b'{"url": "data:,"' + b"".join(b',"%d":1' % n for n in range(50_000)) + b"}",
    "keys of other letters": '{"\u0443rl": "data:,"}'.encode(),
    "lone surrogate": b'{"url": "data:,\\ud800"}',
    "byte order mark": b'\xef\xbb\xbf{"url": "data:,"}',
    "UTF-16": '{"url": "data:,"}'.encode("utf-16"),
    "not UTF-8": b'{"url": "data:,\xff"}',
    "no URLs": urls(0),
    "33 URLs": urls(33),
    "URLs, as many as fit": urls(LIMIT // 10 - 9),
    "numbers, as many as fit": b'{"url": [' + b"1," * (LIMIT // 2 - 9) + b"1]}",
    "numbers among URLs": b'{"url": ["data:,", 7, null, ["data:,"]]}',
    "URL of 16,385 characters": json.dumps({"url": "data:," + "a" * (2**14 - 5)}).encode(),
    "URL of almost 1 MB": json.dumps({"url": "data:," + "a" * (LIMIT - 100)}).encode(),
    "trailing comma": b'{"url": "data:,",}',
    "comment": b'{"url": "data:,"} // cats',
    "two": b'{"url": "data:,"}{"url": "data:,"}',
    "single quotes": b"{'url': 'data:,'}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_json_that_is_refused(body: bytes, served: Rude) -> None:
    started = time.monotonic()
    status, detail, fault = served.ask(body=body, kind="application/json").problem
    assert (status, fault) == (422, None)
    assert detail.endswith('; valid is {"url": "https://..."}, or a list of up to 32 URLs')
    assert len(detail) < 300
    assert time.monotonic() - started < 5


def test_of_a_key_that_comes_twice_the_last_counts(served: Rude) -> None:
    answer = served.ask(body=b'{"url": "file:///x", "url": "data:,"}', kind="application/json")
    assert answer.problem == (422, "data:,... (6 characters): it is empty", "empty")
