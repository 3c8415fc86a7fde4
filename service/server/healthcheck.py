"""`python -m service healthcheck`: asks the service of this container how it is, for a health check.

It reads the same environment as the service and imports nothing of it: a check every few seconds should cost little.
"""

import argparse
import http.client
import os
import socket
import ssl
from collections.abc import Sequence

_SECONDS = 3.0


def main(arguments: Sequence[str]) -> int:
    """0 where it answers 200: to `/healthz`, or to the path that is the only argument (`/readyz` waits for models)."""
    parser = argparse.ArgumentParser("python -m service healthcheck", description="Asks the service of this container.")
    parser.add_argument("path", nargs="?", default="/healthz", help="what to ask (/healthz); /readyz waits for models")
    path = parser.parse_args(arguments).path
    port = int(os.environ.get("SERVICE_HTTP_PORT", "8000"))
    try:
        if os.environ.get("SERVICE_TLS_CLIENT_CA"):  # it answers nobody without a certificate, and we have none
            socket.create_connection(("127.0.0.1", port), _SECONDS).close()
            print("listening")
            return 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        if os.environ.get("SERVICE_TLS_CERT"):  # a certificate is for another name, and this is the loopback
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=_SECONDS, context=context)
        connection.request("GET", path)
        reply = connection.getresponse()
        print(reply.status, reply.read(2000).decode(errors="replace"))
        return 0 if reply.status == 200 else 1
    except (OSError, http.client.HTTPException) as error:
        print(f"port {port} does not answer: {type(error).__name__}: {error}")
        return 1
