"""Stands in for Portkey's package, which the tests cannot install: OpenAI's request with Portkey's headers."""

import platform

from openai import OpenAI


class Portkey(OpenAI):
    def __init__(self, base_url, provider, Authorization):
        super().__init__(
            Authorization,
            base_url,
            {
                "x-portkey-provider": provider,
                "x-portkey-strict-open-ai-compliance": "false",
                "x-portkey-package-version": "portkey-ai-2.2.0",
                "x-portkey-runtime": "CPython",
                "x-portkey-runtime-version": platform.python_version(),
            },
        )
