"""Stands in for requests: just the calls that the examples make."""

import json as encoder
import urllib.error
import urllib.request
from types import SimpleNamespace


def get(url):
    return _send(urllib.request.Request(url))


def post(url, json, headers):
    return _send(urllib.request.Request(url, data=encoder.dumps(json).encode(), headers=headers, method="POST"))


def _send(request):
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        content = answer.read()
        return SimpleNamespace(status_code=answer.status, content=content, text=content.decode(errors="replace"))
