# Seed 002, download and save image. Needs `pip install portkey-ai requests`. The tests have no access to PyPI: they replay the requests that the package sends.
import os
from pathlib import Path

import requests
from portkey_ai import Portkey

client = Portkey(
    provider="openai",
    Authorization=os.environ["ATELIER_API_KEY"],
    base_url=os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1",
)

response = client.images.generate(
    prompt="A serene mountain landscape",
    model="dall-e-3",
)

image_url = response.data[0].url

# Download and save
image_data = requests.get(image_url).content
Path("generated_image.png").write_bytes(image_data)
print("Image saved as generated_image.png")
