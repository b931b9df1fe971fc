"""The portable application, after a first request. A server that forks once it has loaded this
leaves its workers a host whose threads are in another process: they have to start their own."""

import io

from portable import application

environ = {
    "REQUEST_METHOD": "GET", "PATH_INFO": "/job", "QUERY_STRING": "ms=1",
    "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
}
body = application(environ, lambda status, fields: None)
assert b"took_ms" in b"".join(body)
body.close()
