"""Put on PYTHONPATH of a child: every connection that leaves this machine is written down and refused."""

import ipaddress
import os
import socket

_connect = socket.socket.connect
_getaddrinfo = socket.getaddrinfo


def _refuse(address: object) -> None:
    with open(os.environ["FORBIDDEN_CONNECTIONS"], "a") as log:  # noqa: PTH123
        log.write(f"{address}\n")
    raise OSError(f"connection to {address} refused: this run must stay on this machine")


def _local(host: object) -> bool:
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return host in (None, "", "localhost", socket.gethostname())


def connect(self: socket.socket, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not _local(address[0]):
        _refuse(address)
    return _connect(self, address)


def getaddrinfo(host, *arguments, **options):
    if not _local(host):
        _refuse(host)
    return _getaddrinfo(host, *arguments, **options)


socket.socket.connect = connect
socket.getaddrinfo = getaddrinfo
