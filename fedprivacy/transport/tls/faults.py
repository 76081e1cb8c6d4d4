"""What went wrong on a connection, from the words of OpenSSL and of the operating system."""

from __future__ import annotations

import ssl

from fedprivacy.errors import ConfigurationError, PeerError, Reason

__all__ = ["channel_error"]

_AT_VERIFICATION = {
    3: (Reason.CHANNEL_REVOCATION_LIST, "there is no list of revoked certificates"),
    9: (Reason.CHANNEL_NOT_YET_VALID, "the certificate is not valid yet: compare the clocks"),
    10: (Reason.CHANNEL_EXPIRED, "the certificate has expired: it is to be rotated"),
    11: (Reason.CHANNEL_REVOCATION_LIST, "the list of revoked certificates is not valid yet"),
    12: (Reason.CHANNEL_REVOCATION_LIST, "the list of revoked certificates is out of date"),
    18: (Reason.CHANNEL_AUTHORITY, "the certificate is signed by itself"),
    19: (Reason.CHANNEL_AUTHORITY, "the certificate is of an authority that is not trusted here"),
    20: (Reason.CHANNEL_AUTHORITY, "the certificate is of an authority that is not trusted here"),
    21: (Reason.CHANNEL_AUTHORITY, "the certificate is of an authority that is not trusted here"),
    7: (Reason.CHANNEL_AUTHORITY, "the certificate is not signed by the authority it names"),
    23: (Reason.CHANNEL_REVOKED, "the certificate is revoked"),
    62: (Reason.CHANNEL_NAME, "the certificate is for another host"),
    64: (Reason.CHANNEL_NAME, "the certificate is for another address"),
}
"""By X509_V_ERR_*, of OpenSSL's x509_vfy.h."""

_REFUSED = "the peer refuses this side's certificate"
_IN_HANDSHAKE = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (Reason.CHANNEL_ANONYMOUS, "no certificate was shown"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        Reason.CHANNEL_ANONYMOUS,
        "the peer asks for a certificate, and none was shown",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (Reason.CHANNEL_AUTHORITY, f"{_REFUSED}: of an unknown authority"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        Reason.CHANNEL_EXPIRED,
        f"{_REFUSED}: expired, or the peer's list of revoked certificates is out of date",
    ),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": (Reason.CHANNEL_REVOKED, f"{_REFUSED}: revoked"),
    "SSLV3_ALERT_BAD_CERTIFICATE": (Reason.CHANNEL_CERTIFICATE, _REFUSED),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (Reason.CHANNEL_CERTIFICATE, _REFUSED),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": (Reason.CHANNEL_CERTIFICATE, _REFUSED),
    "TLSV1_ALERT_ACCESS_DENIED": (Reason.CHANNEL_CERTIFICATE, _REFUSED),
}
_OLD = ("the peer does not speak TLS 1.3", Reason.CHANNEL_TLS_VERSION)
_OLDER_TLS = (
    "UNSUPPORTED_PROTOCOL",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "VERSION_TOO_LOW",
    "WRONG_SSL_VERSION",
    "NO_SHARED_CIPHER",
)
_NO_TLS = (
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "WRONG_VERSION_NUMBER",
    "RECORD_TOO_SMALL",
    "PACKET_LENGTH_TOO_LONG",
)


def channel_error(error: BaseException) -> PeerError:
    """The registered reason behind what a connection raised; its own text is not repeated."""
    match error:
        case PeerError():
            return error
        case ConfigurationError():
            return PeerError(Reason.CHANNEL_CERTIFICATE, f"this side's own files: {error}")
        case ssl.SSLCertVerificationError():
            unknown = (Reason.CHANNEL_CERTIFICATE, f"the certificate ({error.verify_message})")
            return PeerError(*_AT_VERIFICATION.get(error.verify_code, unknown))
        case ssl.SSLError():
            return _of_tls(error.reason or "")
        case TimeoutError():
            return PeerError(Reason.CHANNEL_SILENT, "the peer said nothing for too long")
        case _:
            text = getattr(error, "strerror", None) or "the connection ended without a word"
            return PeerError(Reason.CHANNEL_CUT, text.lower())


def _of_tls(reason: str) -> PeerError:
    if reason in _IN_HANDSHAKE:
        return PeerError(*_IN_HANDSHAKE[reason])
    if reason in _OLDER_TLS:
        return PeerError(_OLD[1], _OLD[0])
    if reason in _NO_TLS:
        return PeerError(Reason.CHANNEL_PLAINTEXT, "what came is not TLS")
    if "EOF" in reason:
        return PeerError(Reason.CHANNEL_CUT, "the connection ended without a word")
    what = reason.lower().replace("_", " ") or "no reason given"
    return PeerError(Reason.CHANNEL_DAMAGED, f"TLS gave up ({what})")
