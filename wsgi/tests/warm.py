"""The portable application, after a first request. A server that forks once it has loaded this
leaves its workers a host whose threads are in another process: they have to start their own."""

from wsgiref.util import setup_testing_defaults

from portable import application

environ = {"PATH_INFO": "/job", "QUERY_STRING": "ms=1"}
setup_testing_defaults(environ)
body = application(environ, lambda status, fields: None)
assert b"took_ms" in b"".join(body)
body.close()
