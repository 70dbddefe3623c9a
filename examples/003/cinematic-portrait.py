# Seed 003, scenario 1: cinematic portrait. Needs `pip install requests`. The tests have no access to PyPI: they send what the package sends.
import os

import requests

url = os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1/openai/images/generations"

headers = {
    "accept": "application/json",
    "authorization": "Bearer " + os.environ["ATELIER_API_KEY"],
    "content-type": "application/json"
}

payload = {
    "model": "gpt-image-2",
    "prompt": "A cinematic portrait of a young woman standing in a convenience store at night, illuminated by soft pink and cyan neon signs through the window. Shot on 35mm film, shallow depth of field, slight grain, melancholic mood.",
    "size": "1024x1536"
}

response = requests.post(url, json=payload, headers=headers)
print(response.text)
