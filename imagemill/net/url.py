"""The form that a URL from a user must have, wherever one is taken or used."""

from __future__ import annotations

import re
from ipaddress import ip_address

from yarl import URL

MAX_URL_CHARACTERS = 4096
# Browsers take hosts such as 2130706433 or 0x7f.1 for IPv4 addresses (WHATWG URL, "ends in a
# number"). No host name ends in a number, so nothing is lost by refusing them all.
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")


def parse_url(text: str) -> URL:
    """Parse a URL that a user gave; `imagemill.net.url.parse_url` is the only judge of its form.

    The API calls it when a URL is submitted, `UrlGuard` before each request and redirect. It looks
    nothing up and knows no policy: `UrlGuard` decides which addresses may be connected to.

    Raises:
        ValueError: the URL is not absolute http or https, is too long, names a user, contains
            spaces, control characters or backslashes, or spells an address in an odd way. The
            text is a sentence for the user.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise ValueError(f"The URL is longer than {MAX_URL_CHARACTERS} characters.")
    # Parsers differ in whether they drop these or take them for a slash, and then in the host.
    if "\\" in text or " " in text or not text.isprintable():
        raise ValueError("The URL contains a backslash, a space or a control character.")
    try:
        # An ASCII URL is quoted already; quoting it again would break a signature in its query.
        url = URL(text, encoded=text.isascii())
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise ValueError("The URL is malformed.") from error
    if url.scheme not in ("http", "https"):
        raise ValueError("The URL must begin with http:// or https://.")
    # Searched in the text, because the parser drops an empty user name.
    if "@" in re.split("[/?#]", text.partition("//")[2], maxsplit=1)[0]:
        raise ValueError("The URL may not contain a user name or password.")
    if not host or not port or "%" in host:
        raise ValueError("The URL is malformed.")
    if not is_literal_address(host) and _ENDS_IN_NUMBER.search(host):
        raise ValueError("The URL's host is a number that is no address such as 192.0.2.1.")
    return url


def is_literal_address(host: str) -> bool:
    """Return whether the host is an IPv4 or IPv6 address, which needs no lookup."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
