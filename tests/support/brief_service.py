"""`python -m tests.support.brief_service FLAGS`: `python -m service FLAGS` as documents have it, for a test.

It starts on free ports, loads its models, prints its log, and ends by SIGTERM.
"""

import re
import sys

from tests.support.service_process import running


def main(arguments: list[str]) -> int:
    """The exit code of the service. Raises AssertionError, with its log, where it does not start."""
    free = re.sub(r"(?<=-port )\d+", "0", " ".join(arguments)).split()
    with running(*free) as service:
        assert service.http_port
        if not {"--tls-cert", "tfserving"} & set(free):  # no upstream is there, and nobody here trusts the certificate
            service.wait_ready()
        code = service.stop()
        print(service.log())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
