# Seed 003, basic usage. Needs `pip install requests`. The tests have no access to PyPI: they send what the package sends.
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
    "prompt": "A cute baby sea otter"
}

response = requests.post(url, json=payload, headers=headers)
print(response.text)
