"""TLS: a certificate and its key from files, with modern defaults, exchanged while running."""

from __future__ import annotations

import ssl
from pathlib import Path

from wshttp.errors import ConfigurationError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 section 4.2). TLS 1.3 has its own."""


class _Encrypted(Exception):
    """OpenSSL asked for a passphrase."""


class TlsContext:
    """The server's TLS settings; `context` is what the next handshake uses.

    `certificate` is a PEM file with the certificate and its chain, `key` a PEM file with the private key,
    `None` where the key is in the certificate's file.
    Raises `ConfigurationError`, naming the file, where they cannot be used.
    """

    def __init__(self, certificate: str, key: str | None = None) -> None:
        self.certificate = certificate
        self.key = key
        self.context = _context(certificate, key)

    def reload(self, certificate: str | None = None, key: str | None = None) -> None:
        """Read the files again, or others, for the handshakes from now on; open connections stay as they are.

        Given a `certificate`, `key` belongs to it and `None` means that the key is in the same file.
        Raises `ConfigurationError` where the new pair cannot be used, and keeps the old one.
        """
        if certificate is None:
            certificate, key = self.certificate, key or self.key
        # A context that is in use must not be loaded twice: it would keep a new certificate whose key was refused.
        self.context = _context(certificate, key)
        self.certificate, self.key = certificate, key


def _context(certificate: str, key: str | None) -> ssl.SSLContext:
    _check_holds(certificate, b"CERTIFICATE-----", "certificate", "server.tls.certificate")
    key_setting = "server.tls.certificate" if key is None else "server.tls.key"
    key_file = key or certificate
    _check_holds(key_file, b"PRIVATE KEY-----", "private key", key_setting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key_file, password=_refuse_passphrase)
    except _Encrypted:
        raise _mistake(key_setting, key_file, "is encrypted; the server cannot ask for a passphrase") from None
    except (ssl.SSLError, ValueError) as error:
        raise _unusable(error, certificate, key_file, key_setting) from error
    return context


def _refuse_passphrase() -> str:
    raise _Encrypted


def _check_holds(file: str, mark: bytes, what: str, setting: str) -> None:
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise _mistake(setting, file, f"cannot be read: {error.strerror}") from error
    if mark not in content:
        raise _mistake(setting, file, f"holds no {what} in PEM form")


def _unusable(error: Exception, certificate: str, key_file: str, key_setting: str) -> ConfigurationError:
    reason = getattr(error, "reason", None) or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return _mistake(key_setting, key_file, f"is not the key of {certificate}")
    return _mistake("server.tls.certificate", certificate, f"cannot be used with the key in {key_file} ({reason})")


def _mistake(setting: str, file: str, what: str) -> ConfigurationError:
    return ConfigurationError([f"{setting}: {file} {what}"])
