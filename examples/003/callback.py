# Seed 003, asynchronous callback. Needs `pip install requests`, and receiver.ts running: its address must stand in `egress.allow` as
# "127.0.0.1:3000", because it is a private one. The tests have no access to PyPI: they send what the package sends.
import os

import requests

url = os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1/openai/images/generations"

headers = {
    "accept": "application/json",
    "authorization": "Bearer " + os.environ["ATELIER_API_KEY"],
    "content-type": "application/json"
}

payload = {
    "model": "dall-e-3",
    "prompt": "A cute baby sea otter",
    "callback_url": os.environ.get("CALLBACK_URL", "http://127.0.0.1:3000/")
}

response = requests.post(url, json=payload, headers=headers)
print(response.text)
