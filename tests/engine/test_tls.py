from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wshttp.engine.tls import TlsContext
from wshttp.errors import ConfigurationError

Certificate = Callable[..., tuple[str, str]]


def handshake(tls: TlsContext, client: ssl.SSLContext) -> ssl.SSLSocket:
    """Shake hands over a socket pair; the client's closed side tells what was agreed."""
    here, there = socket.socketpair()

    def serve() -> None:
        with there:
            try:
                tls.context.wrap_socket(there, server_side=True).close()
            except OSError:
                pass  # the client tells the test what went wrong

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return client.wrap_socket(here, server_hostname="localhost")
    finally:
        here.close()
        thread.join()


def trusting(certificate: str) -> ssl.SSLContext:
    client = ssl.create_default_context(cafile=certificate)
    client.set_alpn_protocols(["h2", "http/1.1"])
    return client


def mistake_of(certificate: str, key: str | None) -> str:
    with pytest.raises(ConfigurationError) as raised:
        TlsContext(certificate, key)
    [mistake] = raised.value.mistakes
    return mistake


@pytest.mark.feature("W8")
def test_tls_context_speaks_modern_tls_and_http_1(certificate: Certificate) -> None:
    """TLS 1.3 with ALPN http/1.1; 1.2 with forward secrecy only."""
    files = certificate("one")
    with handshake(TlsContext(*files), trusting(files[0])) as agreed:
        assert agreed.version() == "TLSv1.3"
        assert agreed.selected_alpn_protocol() == "http/1.1"
    older = trusting(files[0])
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with handshake(TlsContext(*files), older) as agreed:
        cipher = agreed.cipher()
        assert cipher is not None
        assert cipher[0].startswith("ECDHE-")


def test_tls_context_refuses_old_tls(certificate: Certificate) -> None:
    """The lowest version is 1.2."""
    assert TlsContext(*certificate("one")).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_tls_context_takes_one_file_for_both(certificate: Certificate, tmp_path: Path) -> None:
    """Without a key's file, the certificate's has the key."""
    files = certificate("one")
    both = tmp_path / "both.pem"
    both.write_bytes(Path(files[0]).read_bytes() + Path(files[1]).read_bytes())
    with handshake(TlsContext(str(both)), trusting(files[0])) as agreed:
        assert agreed.version()


@pytest.mark.feature("W8")
def test_tls_context_reloaded_serves_the_new_certificate(certificate: Certificate) -> None:
    """New handshakes see the new certificate, from the same files or from others."""
    old, new = certificate("old"), certificate("new")
    tls = TlsContext(*old)
    for source, target in zip(new, old, strict=True):
        Path(target).write_bytes(Path(source).read_bytes())
    tls.reload()
    handshake(tls, trusting(new[0])).close()
    other = certificate("other")
    tls.reload(*other)
    handshake(tls, trusting(other[0])).close()
    tls.reload()
    handshake(tls, trusting(other[0])).close()


def test_tls_context_keeps_the_old_pair_if_the_new_one_is_unusable(certificate: Certificate) -> None:
    """A new certificate whose key is not there yet changes nothing."""
    old, new = certificate("old"), certificate("new")
    before = Path(old[0]).read_bytes()
    tls = TlsContext(*old)
    Path(old[0]).write_bytes(Path(new[0]).read_bytes())
    with pytest.raises(ConfigurationError, match="is not the key of"):
        tls.reload()
    Path(old[0]).write_bytes(before)
    handshake(tls, trusting(old[0])).close()
    with pytest.raises(ConfigurationError):
        tls.reload("absent.crt", "absent.key")
    assert (tls.certificate, tls.key) == old


def test_tls_context_of_unusable_files_names_setting_and_file(certificate: Certificate, tmp_path: Path) -> None:
    """Each way in which a file can be wrong is said in a line of its own words."""
    good, key = certificate("good")
    other_key = certificate("other")[1]
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"junk")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    absent = str(tmp_path / "absent.pem")
    assert mistake_of(absent, key) == f"server.tls.certificate: {absent} cannot be read: No such file or directory"
    assert mistake_of(good, absent) == f"server.tls.key: {absent} cannot be read: No such file or directory"
    assert mistake_of(good, str(tmp_path)) == f"server.tls.key: {tmp_path} cannot be read: Is a directory"
    assert mistake_of(str(junk), key) == f"server.tls.certificate: {junk} holds no certificate in PEM form"
    assert mistake_of(good, str(junk)) == f"server.tls.key: {junk} holds no private key in PEM form"
    assert mistake_of(good, None) == f"server.tls.certificate: {good} holds no private key in PEM form"
    assert mistake_of(good, other_key) == f"server.tls.key: {other_key} is not the key of {good}"
    assert mistake_of(str(broken), key).startswith(f"server.tls.certificate: {broken} cannot be used with the key in")


def test_tls_context_of_an_encrypted_key_asks_nobody(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """OpenSSL would prompt on the terminal; a server says what is wrong."""
    files = certificate("secret", password=b"secret")
    assert mistake_of(*files) == f"server.tls.key: {files[1]} is encrypted; the server cannot ask for a passphrase"
    assert capfd.readouterr() == ("", "")
