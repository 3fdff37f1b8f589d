"""TLS that trusts the pinned root CA and nothing else, also while the guest's clock is unset."""

from __future__ import annotations

import hashlib
import ssl
from typing import List

_END = "-----END CERTIFICATE-----"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the ssl module does not name
_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID


def certificates(bundle: str) -> List[str]:
    """The PEM certificates of a bundle. Raises ValueError where one is damaged."""
    found = []
    for part in bundle.split(_END)[:-1]:
        pem = part[part.find("-----BEGIN") :] + _END + "\n"
        ssl.PEM_cert_to_DER_cert(pem)
        found.append(pem)
    return found


def pinned(bundle: str, pin: str) -> str:
    """The certificate of the bundle whose SHA-256 is the pin. Raises ValueError where there is none."""
    for pem in certificates(bundle):
        if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == pin:
            return pem
    raise ValueError("no certificate with the pin")


def context(bundle: str, check_time: bool = True) -> ssl.SSLContext:
    """A client's context that trusts only this bundle. Raises ssl.SSLError where it holds no certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(cadata=bundle)
    if not check_time:
        made.verify_flags |= _NO_CHECK_TIME
    return made


def unverified() -> ssl.SSLContext:
    """A context for fetching the CA that is then compared with the pin."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def clock_is_behind(error: BaseException) -> bool:
    """Whether a handshake failed because a certificate is not valid *yet*: nobody issues for the future, so the clock
    is unset. To check no times then gives nothing away: what is not yet valid was not seen as expired either."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == _NOT_YET_VALID
