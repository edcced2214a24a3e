"""Lists in pages: sizes, and tokens that say where the next page begins."""

from __future__ import annotations

import base64
import binascii

from speakerd_server.errors import FieldInvalid, PageTokenInvalid

MAXIMUM_PAGE = 1000
DEFAULT_PAGE = 100


def page_size(wanted: int) -> int:
    """Give how many a page has, 0 meaning the default; raises FieldInvalid."""
    size = wanted or DEFAULT_PAGE
    if not 1 <= size <= MAXIMUM_PAGE:
        raise FieldInvalid("page_size", f"{size} is not between 1 and {MAXIMUM_PAGE}")
    return size


def token(last: str) -> str:
    """Give the token of the page that begins after the entry of this name."""
    return base64.urlsafe_b64encode(b"1:" + last.encode()).decode()


def token_read(text: str) -> str | None:
    """Give the name after which the page begins; None: the first. Raises PageTokenInvalid."""
    if not text:
        return None
    try:
        plain = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise PageTokenInvalid from None
    version, separator, last = plain.partition(":")
    if (version, separator) != ("1", ":") or not last:
        raise PageTokenInvalid
    return last
