"""Stands in for OpenAI's package, which the tests cannot install: sends the request that version 3.22.1 sends, headers included."""

import json
import platform
import urllib.request
from types import SimpleNamespace


class OpenAI:
    def __init__(self, api_key, base_url, default_headers=None):
        self.images = SimpleNamespace(generate=lambda **body: self._post("/images/generations", body))
        self._base_url = base_url
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "OpenAI/Python 3.22.1",
            "X-Stainless-Lang": "python",
            "X-Stainless-Package-Version": "3.22.1",
            "X-Stainless-OS": "Linux",
            "X-Stainless-Arch": "x64",
            "X-Stainless-Runtime": "CPython",
            "X-Stainless-Runtime-Version": platform.python_version(),
            "X-Stainless-Async": "false",
            "X-Stainless-Retry-Count": "0",
            "X-Stainless-Read-Timeout": "600",
            "Authorization": "Bearer " + api_key,
            **(default_headers or {}),
        }

    def _post(self, path, body):
        data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        request = urllib.request.Request(self._base_url + path, data, self._headers, method="POST")
        with urllib.request.urlopen(request) as response:
            return json.loads(response.read(), object_hook=lambda fields: _Fields(**fields))


class _Fields(SimpleNamespace):
    def __getattr__(self, name):
        if name in ("url", "b64_json", "revised_prompt"):
            return None
        raise AttributeError(name)
