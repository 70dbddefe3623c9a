"""Stands in for requests: just the download that the examples make."""

import urllib.request
from types import SimpleNamespace


def get(url):
    with urllib.request.urlopen(url) as response:
        return SimpleNamespace(status_code=response.status, content=response.read())
